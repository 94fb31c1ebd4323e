//! How callers get in, and as whom instances run: what an endpoint may turn to, on a cluster with all its rights in force.

use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::PostParams;
use mooring_operator::api::http_route::HTTPRoute;
use mooring_operator::api::name;
use serde_json::{Value, json};

use crate::program::mooring_with;
use crate::support::documents::{abrupt, changed, endpoint};
use crate::support::place::{Place, setting};
use crate::support::scoring::Scorer;
use crate::support::waits::DEADLINE;

/// Waits until this credential opens the endpoint.
async fn opens(scorer: &Scorer, credential: &str) {
    let (scorer, begin) = (scorer.with_key(credential), Instant::now());
    loop {
        let answer = scorer.score("{}", None).await.unwrap();
        if answer.status == 200 {
            return;
        }
        assert!(begin.elapsed() < DEADLINE, "{} {}", answer.status, answer.body);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_endpoint_turns_to_keys_an_account_and_tokens_of_its_users() {
    let place = Place::new("callers").await;
    let with = |spec: Value| changed(endpoint("iris", &json!({"blue": 100})), json!({"spec": spec}));
    place.apply(with(json!({}))).await;
    place.apply(abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), 1)).await;
    place.ready("iris", &["iris-blue"]).await;
    let scorer = Scorer::new(&place, "iris").await;
    opens(&scorer, &place.key("iris").await).await;

    let keys = json!({"primaryKey": "a-key-of-our-own", "secondaryKey": "another-key-of-our-own"});
    place.apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ours"}, "stringData": keys})).await;
    place.apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "models"}})).await;
    let account = json!({"type": "UserAssigned", "serviceAccountName": "models"});
    place.apply(with(json!({"keysSecretName": "ours", "identity": account}))).await;
    opens(&scorer, "another-key-of-our-own").await;
    // What was made for it goes.
    let begin = Instant::now();
    let (secrets, accounts) = (place.api::<Secret>(), place.api::<ServiceAccount>());
    while secrets.get_opt(&name::keys_secret("iris")).await.unwrap().is_some()
        || accounts.get_opt(&name::service_account("iris")).await.unwrap().is_some()
    {
        assert!(begin.elapsed() < DEADLINE, "what the operator made is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    place.apply(with(json!({"authMode": "AMLToken", "ingress": {"host": "iris.example.com"}}))).await;
    place.until("iris", "made", |it: Option<&Ingress>| it.is_some()).await;
    // The Gateway API has come after the operator, which looks for it now and then.
    let ingress = json!({"host": "iris.example.com", "gateway": {"name": "public"}});
    place.apply(with(json!({"authMode": "AMLToken", "ingress": ingress}))).await;
    place.until("iris", "made", |it: Option<&HTTPRoute>| it.is_some()).await;
    let may_score = json!({"apiGroups": ["mooring.dev"], "resources": ["onlineendpoints"], "resourceNames": ["iris"], "verbs": ["score"]});
    let group = "rbac.authorization.k8s.io";
    let of_group = |kind: &str, fields: Value| {
        changed(json!({"apiVersion": format!("{group}/v1"), "kind": kind, "metadata": {"name": "caller"}}), fields)
    };
    place.apply(of_group("Role", json!({"rules": [may_score]}))).await;
    let subject = json!({"kind": "ServiceAccount", "name": "models", "namespace": place.namespace});
    let role = json!({"apiGroup": group, "kind": "Role", "name": "caller"});
    place.apply(of_group("RoleBinding", json!({"roleRef": role, "subjects": [subject]}))).await;
    let audience = format!("mooring.dev/{}/iris", place.namespace);
    let spec = TokenRequestSpec { audiences: vec![audience], ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let token = accounts.create_token_request("models", &PostParams::default(), &request).await.unwrap();
    opens(&scorer, &token.status.unwrap().token).await;
    // The command line makes its own.
    let invoke = ["endpoint", "invoke", "-n", "iris", "--request-file", "-", "--service-account", "models"];
    let answer = mooring_with(&place, &invoke, "{}").await;
    assert_eq!((answer.code, answer.data.as_str()), (Some(0), "one"), "{answer}");
    let stranger = mooring_with(&place, &[&invoke[..7], &["default"]].concat(), "{}").await;
    assert_eq!(stranger.code, Some(1), "{stranger}");
    assert!(stranger.to_string().contains("needs verb score on onlineendpoints/iris"), "{stranger}");
    place.apply(with(json!({"authMode": "AMLToken"}))).await;
    let begin = Instant::now();
    let (ingresses, routes) = (place.api::<Ingress>(), place.api::<HTTPRoute>());
    while ingresses.get_opt("iris").await.unwrap().is_some() || routes.get_opt("iris").await.unwrap().is_some() {
        assert!(begin.elapsed() < DEADLINE, "the ways in are still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    place.done().await;
}
