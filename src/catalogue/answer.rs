//! The answers of the scoring path that are not the model's own.

/// One answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its name for programs, as in the body's `error.code`.
    pub name: &'static str,
    /// Its HTTP status.
    pub status: u16,
    /// The reason phrase of the status line, where it is not the usual one of the status.
    pub phrase: Option<&'static str>,
    /// When it is given.
    pub when: &'static str,
    /// What a caller does now.
    pub next_step: &'static str,
}

impl Answer {
    /// The reason phrase of the status line.
    #[must_use]
    pub const fn reason_phrase(&self) -> &'static str {
        match self.phrase {
            Some(phrase) => phrase,
            None => match self.status {
                400 => "Bad Request",
                401 => "Unauthorized",
                404 => "Not Found",
                408 => "Request Timeout",
                413 => "Payload Too Large",
                _ => "Internal Server Error",
            },
        }
    }
}

macro_rules! answers {
    ($($constant:ident $name:literal $status:literal $phrase:expr, $when:literal $next_step:literal;)+) => {
        $(#[doc = $next_step] pub const $constant: Answer =
            Answer { name: $name, status: $status, phrase: $phrase, when: $when, next_step: $next_step };)+

        /// All answers, by status.
        pub const ALL: &[Answer] = &[$($constant,)+];
    };
}

answers! {
    BAD_REQUEST "BadRequest" 400 None, "No endpoint can be told from the request." "Send one Host, a path, and no transfer coding but chunked.";
    BAD_REQUEST_BODY "BadRequestBody" 400 None, "The body breaks off, or is not what its head says." "Send a whole, well-formed request.";
    UNAUTHORIZED "Unauthorized" 401 None, "There is no key or token, a wrong one, one that has expired, or one whose user may not score." "Send one of the endpoint's keys as Authorization: Bearer KEY; for an endpoint that wants tokens, one for its audience whose user may score.";
    ENDPOINT_NOT_FOUND "EndpointNotFound" 404 None, "There is no endpoint of this name or host." "Use the scoringUri in the endpoint's status.";
    DEPLOYMENT_NOT_FOUND "DeploymentNotFound" 404 None, "The header azureml-model-deployment names a deployment that the endpoint does not have." "Name a deployment of the endpoint in the header azureml-model-deployment, or leave it out.";
    NO_TRAFFIC "NoTraffic" 404 None, "No deployment of the endpoint gets any traffic." "Give a deployment a share in the endpoint's spec.traffic.";
    REQUEST_TIMEOUT "RequestTimeout" 408 None, "The model took longer than requestSettings.requestTimeoutMs." "Make the model faster, or raise requestSettings.requestTimeoutMs.";
    REQUEST_BODY_TIMEOUT "RequestBodyTimeout" 408 None, "The body did not come in time." "Send the request body without long pauses.";
    PAYLOAD_TOO_LARGE "PayloadTooLarge" 413 None, "The request is larger than limits.maxRequestBytes, 1.5 MiB by default." "Send less, or raise the endpoint's limits.maxRequestBytes.";
    MODEL_CONNECTION_FAILED "ModelConnectionFailed" 424 Some("Model Error; original-code=0"), "The model broke the connection before it had answered." "Read the log of the inference server: it broke the connection.";
    MODEL_NOT_READY "ModelNotReady" 424 Some("Model Error; original-code=0"), "No instance of the deployment can serve." "Try again later; look at the deployment's status.";
    RESPONSE_TOO_LARGE "ResponsePayloadTooLarge" 424 Some("Response Payload Too Large"), "The answer of the model is larger than limits.maxResponseBytes, 1.5 MiB by default." "Answer with less, or raise the endpoint's limits.maxResponseBytes.";
    RATE_LIMITED "RateLimited" 429 Some("Rate Limited"), "More requests came in a second than limits.requestsPerSecond, 100 by default." "Try again after Retry-After, or raise the endpoint's limits.requestsPerSecond.";
    TOO_MANY_PENDING "TooManyPendingRequests" 429 Some("Too Many Pending Requests"), "More requests wait than 2 × maxConcurrentRequestsPerInstance × instances, or one has waited longer than maxQueueWaitMs." "Try again after Retry-After with growing pauses; add instances or raise requestSettings.maxConcurrentRequestsPerInstance.";
    INTERNAL "ERR_5000" 500 None, "The gateway failed, or could not ask the API server about a token." "Try again; when it stays, report it with the x-request-id.";
}
