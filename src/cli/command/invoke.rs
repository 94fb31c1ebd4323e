//! A scoring request, and its answer as it comes.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::ext::ReasonPhrase;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::http::response::Parts;
use hyper::{Request, StatusCode, Uri};

use super::credentials;
use crate::cli::CliError;
use crate::cli::arguments::endpoint::Invoke;
use crate::cli::talk::tell;
use crate::cli::target::Target;
use crate::cli::wire::{self, Wire};
use crate::cli::{input, print};

/// Longest wait for a model: more than any endpoint's own limit, so that the gateway's answer comes first.
const SCORING_PATIENCE: Duration = Duration::from_secs(330);
/// Pins a request to a deployment, and tells which one has answered.
const DEPLOYMENT: &str = "azureml-model-deployment";
/// The gateway's id of a request.
const REQUEST_ID: &str = "x-request-id";

pub(super) async fn invoke(target: &Target, arguments: Invoke) -> Result<(), CliError> {
    let (_, body) = input::read(&arguments.request_file, "--request-file")?;
    let credential = credential(target, &arguments).await?;
    let request = request(target.namespace(), &arguments, &credential.bearer, body)?;
    let longest = target.patience().unwrap_or(SCORING_PATIENCE);

    let begun = Instant::now();
    let wire = open(target, &arguments, longest).await?;
    let (to, opened) = (wire.to.clone(), begun.elapsed());
    let (head, body) = wire::scored(longest, wire.send(request)).await??.into_parts();
    let answered = begun.elapsed();
    if arguments.verbose {
        show(&head);
    }
    let whole = print_body(longest, body).await.map_err(|error| match error {
        Broken::Connection(source) => CliError::Send { to: to.clone(), source: source.into() },
        Broken::Other(error) => error,
    });
    if arguments.verbose {
        let (opened, answered, ended) = (opened.as_millis(), answered.as_millis(), begun.elapsed().as_millis());
        tell!("{to}: connected after {opened} ms, answered after {answered} ms, ended after {ended} ms");
    }
    whole?;
    if head.status == StatusCode::OK {
        Ok(())
    } else {
        Err(refused(&arguments.name, &credential.check, &target.arguments(), &head))
    }
}

/// What a request is signed with.
struct Credential {
    bearer: String,
    /// What to look at when it is refused.
    check: String,
}

async fn credential(target: &Target, arguments: &Invoke) -> Result<Credential, CliError> {
    let name = &arguments.name;
    if let Some(file) = &arguments.credential_file {
        let stdin = |path: &Path| path.as_os_str() == "-";
        if stdin(file) && stdin(&arguments.request_file) {
            let both = "--request-file and --credential-file can't both be standard input".to_owned();
            return Err(CliError::Usage(both));
        }
        let (path, text) = input::read(file, "--credential-file")?;
        let bearer = String::from_utf8_lossy(&text).trim().to_owned();
        return Ok(Credential { bearer, check: format!("check what {path} holds") });
    }
    let found = credentials::of(target, name, &arguments.caller, credentials::ONE_REQUEST).await?;
    let check = match found.account() {
        None => format!(
            "check that this is its gateway, and its keys: `mooring endpoint show {} -n {name}`",
            target.arguments()
        ),
        Some(account) => format!(
            "check that this is its gateway, and that the account may score: `kubectl auth can-i score \
             onlineendpoints.mooring.dev/{name} --namespace {} --as {}`",
            target.namespace(),
            account.user()
        ),
    };
    Ok(Credential { bearer: found.bearer().to_owned(), check })
}

/// Opens the way to the gateway: of this machine, at an address, or in the cluster.
async fn open(target: &Target, arguments: &Invoke, longest: Duration) -> Result<Wire, CliError> {
    match (target, &arguments.url) {
        (_, Some(url)) => wire::to_address(longest, url).await,
        (Target::Cluster(connection), None) => {
            wire::to_gateway(connection, arguments.gateway_namespace.as_deref()).await
        }
        (Target::Local(machine), None) => {
            wire::to_socket(longest, machine.store.ensure_agent(&arguments.name).await?).await
        }
    }
}

fn request(namespace: &str, arguments: &Invoke, bearer: &str, body: Vec<u8>) -> Result<Request<Full<Bytes>>, CliError> {
    let (host, path) = host_and_path(&arguments.name, namespace, arguments.url.as_ref());
    let mut request = Request::post(path)
        .header(HOST, host)
        .header(AUTHORIZATION, format!("Bearer {bearer}"))
        .header(CONTENT_TYPE, &arguments.content_type);
    if let Some(deployment) = &arguments.deployment {
        request = request.header(DEPLOYMENT, deployment);
    }
    request.body(Full::new(Bytes::from(body))).map_err(|error| CliError::Request(error.into()))
}

/// Host and path: those of a scoring URI, or the endpoint's own when only a gateway is named.
fn host_and_path(endpoint: &str, namespace: &str, url: Option<&Uri>) -> (String, String) {
    let scoring_uri = url.and_then(|url| {
        let path = url.path_and_query().filter(|path| path.as_str() != "/")?;
        Some((url.authority()?.to_string(), path.to_string()))
    });
    scoring_uri.unwrap_or_else(|| (format!("{endpoint}.{namespace}"), "/score".to_owned()))
}

/// Why a body did not come to its end.
enum Broken {
    Connection(hyper::Error),
    Other(CliError),
}

/// Prints the body as it comes, for models that stream.
async fn print_body(longest: Duration, mut body: Incoming) -> Result<(), Broken> {
    let mut last = None;
    while let Some(frame) = wire::scored(longest, body.frame()).await.map_err(Broken::Other)? {
        let frame = frame.map_err(Broken::Connection)?;
        if let Some(data) = frame.data_ref() {
            print::bytes(data).map_err(Broken::Other)?;
            last = data.last().copied().or(last);
        }
    }
    print::end_of_line(last).map_err(Broken::Other)
}

/// Status, ids and what the model side has to say of itself.
fn show(head: &Parts) {
    tell!("{:?} {} {}", head.version, head.status.as_u16(), phrase(head));
    for (name, value) in &head.headers {
        let prefixes = ["azureml-", "ms-azureml-", "x-ms-"];
        if name == REQUEST_ID || prefixes.iter().any(|prefix| name.as_str().starts_with(prefix)) {
            tell!("{name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
    }
}

fn phrase(head: &Parts) -> String {
    let usual = || head.status.canonical_reason().unwrap_or_default().to_owned();
    let own = head.extensions.get::<ReasonPhrase>();
    own.map_or_else(usual, |phrase| String::from_utf8_lossy(phrase.as_bytes()).into_owned())
}

fn refused(endpoint: &str, credential: &str, place: &str, head: &Parts) -> CliError {
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let phrase = phrase(head);
    let next_step = match head.status.as_u16() {
        401 => credential.to_owned(),
        404 => format!("look at its traffic and deployments: `mooring endpoint show {place} -n {endpoint}`"),
        408 => "make the model faster, or raise requestSettings.requestTimeoutMs of the deployment".to_owned(),
        413 => "send less, or raise limits.maxRequestBytes of the endpoint".to_owned(),
        424 if phrase.starts_with("Response Payload") => {
            "let the model answer less, or raise limits.maxResponseBytes of the endpoint".to_owned()
        }
        424 => match header(DEPLOYMENT) {
            Some(name) => {
                format!("read the model's log: `mooring deployment get-logs {place} -e {endpoint} -n {name}`")
            }
            None => format!("look at its deployments: `mooring deployment list {place} -e {endpoint}`"),
        },
        429 => "try again later, or add instances to the deployment".to_owned(),
        _ => "read the answer".to_owned(),
    };
    CliError::Refused {
        endpoint: endpoint.to_owned(),
        status: head.status.as_u16(),
        phrase,
        request_id: header(REQUEST_ID).map(|id| format!(" ({REQUEST_ID} {id})")).unwrap_or_default(),
        next_step,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_asked_for_the_endpoint_and_a_scoring_uri_is_taken_at_its_word() {
        for (url, host, path) in [
            (None, "iris.team", "/score"),
            (Some("http://127.0.0.1:8080"), "iris.team", "/score"),
            (Some("http://[::1]:8080/"), "iris.team", "/score"),
            (Some("https://iris.example.com/score"), "iris.example.com", "/score"),
            (
                Some("http://gateway:80/api/v1/endpoint/team/iris/score?a=1"),
                "gateway:80",
                "/api/v1/endpoint/team/iris/score?a=1",
            ),
        ] {
            let url = url.map(|url| url.parse::<Uri>().unwrap());
            assert_eq!(host_and_path("iris", "team", url.as_ref()), (host.to_owned(), path.to_owned()), "{url:?}");
        }
    }
}
