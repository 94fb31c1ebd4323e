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
    /// What a caller does now.
    pub next_step: &'static str,
}

macro_rules! answers {
    ($($constant:ident $name:literal $status:literal $phrase:expr, $next_step:literal;)+) => {
        $(#[doc = $next_step] pub const $constant: Answer =
            Answer { name: $name, status: $status, phrase: $phrase, next_step: $next_step };)+

        /// All answers, by status.
        pub const ALL: &[Answer] = &[$($constant,)+];
    };
}

answers! {
    BAD_REQUEST "BadRequest" 400 None, "Send one Host, a path, and no transfer coding but chunked.";
    BAD_REQUEST_BODY "BadRequestBody" 400 None, "Send a whole, well-formed request.";
    UNAUTHORIZED "Unauthorized" 401 None, "Send one of the endpoint's keys as Authorization: Bearer KEY; for an endpoint that wants tokens, one for its audience whose user may score.";
    ENDPOINT_NOT_FOUND "EndpointNotFound" 404 None, "Use the scoringUri in the endpoint's status.";
    DEPLOYMENT_NOT_FOUND "DeploymentNotFound" 404 None, "Name a deployment of the endpoint in the header azureml-model-deployment, or leave it out.";
    NO_TRAFFIC "NoTraffic" 404 None, "Give a deployment a share in the endpoint's spec.traffic.";
    REQUEST_TIMEOUT "RequestTimeout" 408 None, "Make the model faster, or raise requestSettings.requestTimeoutMs.";
    REQUEST_BODY_TIMEOUT "RequestBodyTimeout" 408 None, "Send the request body without long pauses.";
    PAYLOAD_TOO_LARGE "PayloadTooLarge" 413 None, "Send less, or raise the endpoint's limits.maxRequestBytes.";
    MODEL_CONNECTION_FAILED "ModelConnectionFailed" 424 Some("Model Error; original-code=0"), "Read the log of the inference server: it broke the connection.";
    MODEL_NOT_READY "ModelNotReady" 424 Some("Model Error; original-code=0"), "Try again later; look at the deployment's status.";
    RESPONSE_TOO_LARGE "ResponsePayloadTooLarge" 424 Some("Response Payload Too Large"), "Answer with less, or raise the endpoint's limits.maxResponseBytes.";
    RATE_LIMITED "RateLimited" 429 Some("Rate Limited"), "Try again after Retry-After, or raise the endpoint's limits.requestsPerSecond.";
    TOO_MANY_PENDING "TooManyPendingRequests" 429 Some("Too Many Pending Requests"), "Try again after Retry-After with growing pauses; add instances or raise requestSettings.maxConcurrentRequestsPerInstance.";
    INTERNAL "ERR_5000" 500 None, "Try again; when it stays, report it with the x-request-id.";
}
