//! An endpoint that wants tokens: they are made by a real API server, which is asked in the end what they are good for.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenReview, TokenReviewStatus};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use kube::config::Kubeconfig;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::place::{Place, setting};
use crate::program::{Ended, mooring, mooring_with, run};

/// Endpoint iris, and the service accounts web, which may make tokens of its own, and other.
async fn iris() -> Place {
    let place = Place::new("tokens").await;
    place
        .apply(json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": {"name": "iris"},
            "spec": {"authMode": "AMLToken"},
        }))
        .await;
    for name in ["web", "other"] {
        place.apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})).await;
    }
    let rbac = "rbac.authorization.k8s.io/v1";
    place
        .apply(json!({
            "apiVersion": rbac, "kind": "Role", "metadata": {"name": "web"},
            "rules": [
                {"apiGroups": ["mooring.dev"], "resources": ["onlineendpoints"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["web"], "verbs": ["create"]},
            ],
        }))
        .await;
    place
        .apply(json!({
            "apiVersion": rbac, "kind": "RoleBinding", "metadata": {"name": "web"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "web"},
            "subjects": [{"kind": "ServiceAccount", "name": "web"}],
        }))
        .await;
    place
}

/// A kubeconfig by which a service account calls.
async fn kubeconfig_of(place: &Place, account: &str) -> NamedTempFile {
    let accounts = place.api::<ServiceAccount>();
    let made = accounts.create_token_request(account, &PostParams::default(), &TokenRequest::default()).await.unwrap();
    let mut kubeconfig = Kubeconfig::read_from(setting("MOORING_TEST_KUBECONFIG")).unwrap();
    for user in &mut kubeconfig.auth_infos {
        let token = &made.status.as_ref().unwrap().token;
        user.auth_info = Some(serde_json::from_value(json!({"token": token})).unwrap());
    }
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(serde_saphyr::to_string(&kubeconfig).unwrap().as_bytes()).unwrap();
    file
}

/// What the API server says of a token, asked as a gateway does.
async fn review(place: &Place, token: &str) -> TokenReviewStatus {
    let reviews: Api<TokenReview> = Api::all(place.client.clone());
    let audience = format!("mooring.dev/{}/iris", place.namespace);
    let asked = serde_json::from_value(json!({"metadata": {}, "spec": {"token": token, "audiences": [audience]}}));
    reviews.create(&PostParams::default(), &asked.unwrap()).await.unwrap().status.unwrap()
}

async fn is_of(place: &Place, token: &str, account: &str) {
    let status = review(place, token).await;
    let user = status.user.and_then(|user| user.username).unwrap_or_default();
    assert_eq!(user, format!("system:serviceaccount:{}:{account}", place.namespace), "{:?}", status.error);
}

/// Takes one request and answers 200 with `{}`: its address, and the request as it came.
fn taker() -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        // The body of each test ends so.
        while !request.ends_with(b"[1]}") {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0, "the request is cut off");
            request.extend_from_slice(&bytes[..count]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
        String::from_utf8(request).unwrap()
    });
    (format!("http://{address}"), thread)
}

/// Scores: how it ended, and the bearer that was sent.
async fn bearer(place: &Place, kubeconfig: Option<&NamedTempFile>, more: &[&str]) -> (Ended, String) {
    let (url, taken) = taker();
    let file = kubeconfig.map_or_else(|| setting("MOORING_TEST_KUBECONFIG"), |file| file.path().display().to_string());
    let there = ["--url", &url, "--namespace", &place.namespace, "--kubeconfig", &file];
    let invoke = ["endpoint", "invoke", "-n", "iris", "--request-file", "-"];
    let ended = run(&[&invoke[..], &there, more].concat(), "{\"data\": [1]}").await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(0), "{}"), "{ended}");
    let request = taken.join().unwrap();
    let sent = request.lines().find_map(|line| line.strip_prefix("authorization: Bearer ")).unwrap().to_owned();
    assert!(!ended.said.contains(&sent), "{ended}");
    (ended, sent)
}

#[tokio::test]
async fn a_service_account_that_calls_sends_a_token_of_its_own_for_this_endpoint() {
    let place = iris().await;
    let web = kubeconfig_of(&place, "web").await;
    let (ended, token) = bearer(&place, Some(&web), &["--verbose"]).await;
    is_of(&place, &token, "web").await;
    assert!(ended.said.contains("making a token of service account \"web\""), "{ended}");
    let (_, token) = bearer(&place, Some(&web), &["--debug"]).await;
    is_of(&place, &token, "web").await;

    let other = kubeconfig_of(&place, "web").await;
    let path = other.path().to_str().unwrap();
    let there = ["--namespace", &place.namespace, "--kubeconfig", path, "--service-account", "other"];
    let ended = run(&[&["endpoint", "get-credentials", "-n", "iris"], &there[..]].concat(), "").await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(1), ""), "{ended}");
    let refused = format!("making a token of service account \"other\" in namespace {:?} failed", place.namespace);
    assert!(ended.said.contains(&refused), "{ended}");
    assert!(ended.said.contains("ask the cluster's administrator for the right that is named below"), "{ended}");
    place.done().await;
}

#[tokio::test]
async fn whoever_is_no_service_account_names_one() {
    let place = iris().await;
    let ended = mooring(&place, &["endpoint", "get-credentials", "-n", "iris"]).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(1), ""), "{ended}");
    let wanted = format!("endpoint \"iris\" wants a token for mooring.dev/{}/iris", place.namespace);
    assert!(ended.said.contains(&wanted) && ended.said.contains("--service-account NAMESPACE:NAME"), "{ended}");

    let account = format!("{}:web", place.namespace);
    let (_, token) = bearer(&place, None, &["--service-account", &account]).await;
    is_of(&place, &token, "web").await;
    let get = ["endpoint", "get-credentials", "-n", "iris", "-o", "json", "--service-account", "web"];
    let shown: Value = serde_json::from_str(&mooring(&place, &get).await.data).unwrap();
    is_of(&place, shown["accessToken"].as_str().unwrap(), "web").await;
    let seconds = |field: &str| shown[field].as_i64().unwrap();
    assert_eq!(shown["tokenType"], "Bearer");
    assert!((700..=740).contains(&(seconds("expiryTimeUtc") - seconds("refreshAfterTimeUtc"))), "{shown}");

    let ended = mooring(&place, &["endpoint", "regenerate-keys", "-n", "iris"]).await;
    assert!(
        ended.said.contains("its authMode is AMLToken; `mooring endpoint get-credentials` makes a token"),
        "{ended}"
    );
    place.done().await;
}

#[tokio::test]
async fn a_credential_of_ones_own_is_sent_as_it_is() {
    let place = iris().await;
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(b"my own\n").unwrap();
    let (_, sent) = bearer(&place, None, &["--credential-file", file.path().to_str().unwrap()]).await;
    assert_eq!(sent, "my own");
    let both = ["endpoint", "invoke", "-n", "iris", "--request-file", "-", "--credential-file", "-"];
    let ended = mooring_with(&place, &both, "{}").await;
    assert_eq!(ended.code, Some(2), "{ended}");
    place.done().await;
}
