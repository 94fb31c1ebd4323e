//! `s3://` without a key: the identities that EKS, ECS and EC2 give to a pod or to its node.

use mooring_operator::catalogue::Reason;

use crate::program::Job;
use crate::store;
use crate::web::{Answer, Web, response};

/// Of the store that checks signatures. A metadata service that is not there is not waited for.
fn locked(uri: &str) -> Job {
    let store = store::locked();
    let job = Job::model(uri).environment("AWS_ENDPOINT_URL", &store.endpoint);
    let job = job.environment("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1");
    store.session.values().fold(job, |job, secret| job.hiding(secret))
}

const URI: &str = "s3://models/iris/model/MLmodel";
const MODEL: &[(&str, &[u8])] = &[("MLmodel", b"flavors: {}\n")];

fn token() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "S3CR3T.of.pod").unwrap();
    file
}

fn federated(job: Job, sts: &str, file: &str) -> Job {
    job.environment("AWS_WEB_IDENTITY_TOKEN_FILE", file)
        .environment("AWS_ROLE_ARN", &store::locked().role)
        .environment("AWS_ENDPOINT_URL_STS", sts)
}

/// The session of the store's role, as Amazon's agents write it.
fn session(expiration: &str) -> String {
    let mut session = store::locked().session.clone();
    session.insert("Expiration".into(), expiration.into());
    serde_json::to_string(&session).unwrap()
}

/// Amazon's STS: gives the session of the store's role to who shows the pod's token. Not the one of moto, which only knows
/// requests that are signed.
fn sts() -> Web {
    // Source: AWS STS API reference, AssumeRoleWithWebIdentity, sample response.
    Web::start(|request, _| {
        let role = store::locked().role.replace(':', "%3A").replace('/', "%2F");
        let is_right = [
            "Action=AssumeRoleWithWebIdentity".to_owned(),
            format!("RoleArn={role}"),
            "RoleSessionName=session-1".to_owned(),
            "WebIdentityToken=S3CR3T.of.pod".to_owned(),
        ]
        .iter()
        .all(|part| request.contains(part));
        assert!(is_right && request.starts_with("POST "), "not the right request: {request}");
        let session = &store::locked().session;
        let body = format!(
            "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleWithWebIdentityResult><Credentials><SessionToken>{}</SessionToken>\
             <SecretAccessKey>{}</SecretAccessKey><Expiration>2100-01-01T00:00:00Z</Expiration>\
             <AccessKeyId>{}</AccessKeyId></Credentials></AssumeRoleWithWebIdentityResult>\
             </AssumeRoleWithWebIdentityResponse>",
            session["Token"], session["SecretAccessKey"], session["AccessKeyId"]
        );
        Answer::Bytes(response("200 OK", "", body.as_bytes()))
    })
}

#[test]
fn a_web_identity_takes_its_role() {
    let (sts, file) = (sts(), token());
    let job = |uri| {
        let job = federated(locked(uri), &sts.url(""), file.path().to_str().unwrap());
        job.environment("AWS_ROLE_SESSION_NAME", "session-1")
    };
    job(URI).run().has(MODEL);
    assert_eq!(sts.requests().len(), 1, "one session does for all");
    let ended = job("s3://models/both/key").run();
    ended.failed(Reason::ArtifactForbidden, &["s3:GetObject on arn:aws:s3:::models/both/key"]);
    ended.with_answer(403, Some("AccessDenied"));
}

#[test]
fn an_identity_service_that_refuses_is_told_with_its_code() {
    // Source: AWS STS API reference, AssumeRoleWithWebIdentity, and what it says without a trust relationship.
    let sts = Web::fixed(
        "403 Forbidden",
        "",
        b"<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
          <Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error>\
          <RequestId>1</RequestId></ErrorResponse>",
    );
    let file = token();
    let ended = federated(locked(URI), &sts.url(""), file.path().to_str().unwrap()).run();
    ended.failed(Reason::ArtifactUnauthenticated, &["sts:AssumeRoleWithWebIdentity", &sts.address()]);
    ended.with_answer(403, Some("AccessDenied"));
    let ended = federated(locked(URI), "http://127.0.0.1:1", file.path().to_str().unwrap()).run();
    ended.failed(Reason::ArtifactStoreUnreachable, &["127.0.0.1:1"]);
}

#[test]
fn an_identity_that_is_not_whole_is_told_what_is_missing() {
    let ended = federated(locked(URI), &store::locked().endpoint, "/absent/token").run();
    ended.failed(Reason::ArtifactCredentialsMissing, &["/absent/token"]);
    let job = locked(URI).environment("AWS_WEB_IDENTITY_TOKEN_FILE", "/absent/token");
    job.run().failed(Reason::ArtifactCredentialsMissing, &["AWS_ROLE_ARN"]);
    let job = locked(URI).environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/");
    job.run().failed(Reason::ArtifactCredentialsMissing, &["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]);
}

/// An agent that gives the session of the store's role to who shows the pod's token.
fn agent(expiration: &'static str) -> Web {
    Web::start(move |request, _| {
        let is_right = request.starts_with("GET /v1/credentials ")
            && request.to_lowercase().contains("authorization: s3cr3t.of.pod\r\n");
        assert!(is_right, "not the right request: {request}");
        Answer::Bytes(response("200 OK", "", session(expiration).as_bytes()))
    })
}

fn as_pod(uri: &str, agent: &Web, file: &str) -> Job {
    let job = locked(uri).environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.url("/v1/credentials"));
    job.environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file)
}

#[test]
fn the_identity_of_a_pod_comes_from_its_agent() {
    let (agent, file) = (agent("2100-01-01T00:00:00Z"), token());
    as_pod(URI, &agent, file.path().to_str().unwrap()).run().has(MODEL);
    assert_eq!(agent.requests().len(), 1, "one session does for all");
    as_pod(URI, &agent, "/absent/token").run().failed(Reason::ArtifactCredentialsMissing, &["/absent/token"]);
    // Source: Amazon EKS, "EKS Pod Identity", errors of the agent.
    let refusing = Web::fixed(
        "400 Bad Request",
        "",
        br#"{"code": "AccessDeniedException", "message": "Unauthorized Exception! EKS does not have permissions"}"#,
    );
    let ended = as_pod(URI, &refusing, file.path().to_str().unwrap()).run();
    ended.failed(Reason::ArtifactUnauthenticated, &["EKS does not have permissions"]);
    ended.with_answer(400, Some("AccessDeniedException"));
}

#[test]
fn credentials_that_expire_meanwhile_are_renewed() {
    let (agent, file) = (agent("2000-01-01T00:00:00Z"), token());
    as_pod(URI, &agent, file.path().to_str().unwrap()).run().has(MODEL);
    assert!(agent.requests().len() > 1, "{:?}", agent.requests());
}

/// The metadata service of an instance that has a role.
fn imds() -> Web {
    Web::start(|request, _| {
        let has_token = request.to_lowercase().contains("x-aws-ec2-metadata-token: of-imds\r\n");
        let answer = match request.split(' ').take(2).collect::<Vec<_>>()[..] {
            ["PUT", "/latest/api/token"] => response("200 OK", "", b"of-imds"),
            ["GET", "/latest/meta-data/iam/security-credentials/"] if has_token => response("200 OK", "", b"reader"),
            ["GET", "/latest/meta-data/iam/security-credentials/reader"] if has_token => {
                response("200 OK", "", session("2100-01-01T00:00:00Z").as_bytes())
            }
            _ => panic!("not the right request: {request}"),
        };
        Answer::Bytes(answer)
    })
}

#[test]
fn the_role_of_the_instance_is_only_asked_for_when_the_store_wants_one() {
    let imds = imds();
    let job = |endpoint: &str| {
        let job = locked(URI).environment("AWS_ENDPOINT_URL", endpoint);
        job.environment("AWS_METADATA_ENDPOINT", &imds.url("/"))
    };
    job(&store::open().endpoint).run().has(MODEL);
    assert!(imds.requests().is_empty(), "the node was asked for nothing: {:?}", imds.requests());
    let ended = job(&store::locked().endpoint).run();
    ended.has(MODEL);
    assert_eq!(ended.log_says("the node has some"), 1);
    job(&store::locked().endpoint).secret(&[("anonymous", "true")]).run().failed(Reason::ArtifactForbidden, &["asks"]);
    let ended = job(&store::locked().endpoint).environment("AWS_EC2_METADATA_DISABLED", "true").run();
    ended.failed(Reason::ArtifactForbidden, &["without credentials"]);
    assert_eq!(imds.requests().len(), 3);
}

#[test]
fn a_node_without_a_role_leaves_the_refusal_as_it_is() {
    let imds = Web::start(|request, _| {
        let is_token = request.starts_with("PUT ");
        Answer::Bytes(if is_token { response("200 OK", "", b"t") } else { response("404 Not Found", "", b"") })
    });
    let ended = locked(URI).environment("AWS_METADATA_ENDPOINT", &imds.url("")).run();
    ended.failed(Reason::ArtifactForbidden, &["without credentials", "404 Not Found"]);
    let ended = locked(URI).run();
    ended.failed(Reason::ArtifactForbidden, &["without credentials", "no Secret"]);
}
