use std::sync::Arc;

use kube::core::{ObjectMeta, PartialObjectMeta};
use serde_json::json;

use super::example::{config, endpoint, fresh_keys, named_deployment, now, seen_endpoint};
use crate::api::condition;
use crate::api::endpoint::EndpointState;
use crate::api::endpoint_route::EndpointRoute;
use crate::plan::build::secret::fresh_digests;
use crate::plan::change::{Change, Child};
use crate::plan::endpoint::{Plan, plan};
use crate::plan::seen::{Found, SeenEndpoint, SeenKeys, SeenMember};

fn kinds(plan: &Plan) -> Vec<&'static str> {
    let kind = |change: &Change| match change {
        Change::Apply(Child::ServiceAccount(_)) => "account",
        Change::Apply(Child::Keys(_)) => "keys",
        Change::Apply(Child::Service(_)) => "service",
        Change::Apply(Child::Route(_)) => "route",
        Change::Apply(Child::Ingress(_)) => "ingress",
        Change::Apply(Child::HttpRoute(_)) => "httproute",
        Change::Apply(Child::Deployment(_)) => "deployment",
        Change::Delete(_) => "delete",
    };
    plan.changes.iter().map(kind).collect()
}

fn route_of(plan: &Plan) -> Option<EndpointRoute> {
    plan.changes.iter().find_map(|change| match change {
        Change::Apply(Child::Route(route)) => Some((**route).clone()),
        _ => None,
    })
}

fn member(resource: &str, name: &str, reachable_instances: usize) -> SeenMember {
    SeenMember { object: Arc::new(named_deployment(resource, name, &json!({}))), reachable_instances }
}

fn decide(seen: &SeenEndpoint) -> Plan {
    plan(now(), &config(), seen, &fresh_keys())
}

/// What stands after a plan has been carried out.
fn carried_out(seen: SeenEndpoint, plan: &Plan) -> SeenEndpoint {
    let mut after = seen;
    let mut object = (*after.object).clone();
    object.status = Some(plan.status.clone());
    after.object = Arc::new(object);
    for change in &plan.changes {
        match change {
            Change::Apply(Child::ServiceAccount(account)) => {
                let metadata = account.metadata.clone();
                after.service_account = Found::Ours(Arc::new(partial(metadata)));
            }
            Change::Apply(Child::Keys(secret)) => {
                after.generated_secret = Found::Ours(Arc::new(partial(secret.metadata.clone())));
                after.keys = fresh_digests(&fresh_keys());
            }
            Change::Apply(Child::Service(service)) => after.service = Found::Ours(Arc::new((**service).clone())),
            Change::Apply(Child::Route(route)) => after.route = Found::Ours(Arc::new((**route).clone())),
            Change::Apply(Child::HttpRoute(route)) => after.http_route = Some(Found::Ours(Arc::new((**route).clone()))),
            Change::Apply(Child::Ingress(ingress)) => after.ingress = Found::Ours(Arc::new((**ingress).clone())),
            Change::Apply(Child::Deployment(_)) | Change::Delete(_) => {}
        }
    }
    after
}

fn partial<K>(metadata: ObjectMeta) -> PartialObjectMeta<K> {
    PartialObjectMeta { types: None, metadata, _phantom: std::marker::PhantomData }
}

fn reason<'a>(plan: &'a Plan, kind: &str) -> Option<(&'a str, &'a str)> {
    let condition = plan.status.conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((&condition.status, &condition.reason))
}

#[test]
fn the_keys_are_written_before_the_table_that_knows_their_digests() {
    let plan = decide(&seen_endpoint(endpoint(&json!({}))));
    assert_eq!(kinds(&plan), ["account", "keys", "service", "route"]);
    let route = route_of(&plan).unwrap();
    assert_eq!(SeenKeys::Digests(route.spec.auth.key_digests.clone()), fresh_digests(&fresh_keys()));
    assert!(!serde_json::to_string(&route).unwrap().contains("first"), "a key is in the table");
}

#[test]
fn a_second_pass_changes_nothing() {
    let mut seen = seen_endpoint(endpoint(&json!({"traffic": {"blue": 100}})));
    seen.deployments = vec![member("iris-blue", "blue", 1)];
    let first = decide(&seen);
    let second = decide(&carried_out(seen, &first));
    assert_eq!(kinds(&second), [""; 0]);
    assert_eq!(second.status, first.status);
    assert_eq!(second.status.provisioning_state, Some(EndpointState::Succeeded));
}

#[test]
fn a_deployment_is_in_the_table_before_it_has_weight() {
    let mut seen = seen_endpoint(endpoint(&json!({"traffic": {"BLUE": 100}})));
    seen.deployments = vec![member("iris-blue", "blue", 0)];
    let waiting = decide(&seen);
    assert_eq!(route_of(&waiting).unwrap().spec.deployments[0].weight.0, 0);
    assert_eq!(reason(&waiting, condition::TRAFFIC_ASSIGNED), Some(("False", "DeploymentNotReady")));
    seen.deployments = vec![member("iris-blue", "blue", 1)];
    let serving = decide(&seen);
    assert_eq!(route_of(&serving).unwrap().spec.deployments[0].weight.0, 100);
    assert_eq!(reason(&serving, condition::TRAFFIC_ASSIGNED), Some(("True", "Succeeded")));
    assert_eq!(serving.status.traffic.get("blue"), Some(&100));
}

#[test]
fn what_pages_may_do_and_the_share_of_the_mirror_stand_in_the_table() {
    let cors = json!({"allowOrigins": ["https://app.example.com"], "maxAge": 5});
    let mut seen = seen_endpoint(endpoint(&json!({"mirrorTraffic": {"Green": 10}, "cors": cors})));
    seen.deployments = vec![member("iris-green", "green", 1)];
    let route = route_of(&decide(&seen)).unwrap();
    assert_eq!(route.spec.deployments[0].mirror.0, 10);
    assert_eq!(serde_json::to_value(&route.spec.cors).unwrap(), cors);
    let without = route_of(&decide(&seen_endpoint(endpoint(&json!({}))))).unwrap();
    assert_eq!(serde_json::to_value(&without).unwrap()["spec"].get("cors"), None);
}

#[test]
fn traffic_for_a_deployment_that_does_not_exist_is_named() {
    let plan = decide(&seen_endpoint(endpoint(&json!({"traffic": {"blue": 100}}))));
    assert_eq!(reason(&plan, condition::TRAFFIC_ASSIGNED), Some(("False", "DeploymentNotFound")));
    assert_eq!(plan.status.provisioning_state, Some(EndpointState::Creating));
}

#[test]
fn a_deployment_on_its_way_out_is_no_longer_in_the_table() {
    let mut seen = seen_endpoint(endpoint(&json!({"traffic": {"blue": 100}})));
    let mut leaving = (*member("iris-blue", "blue", 1).object).clone();
    leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
    seen.deployments = vec![SeenMember { object: Arc::new(leaving), reachable_instances: 1 }];
    assert!(route_of(&decide(&seen)).unwrap().spec.deployments.is_empty());
}

#[test]
fn the_entry_of_a_deployment_that_cannot_be_read_stays() {
    let mut seen = seen_endpoint(endpoint(&json!({"traffic": {"blue": 100}})));
    seen.deployments = vec![member("iris-blue", "blue", 1)];
    let first = decide(&seen);
    let mut seen = carried_out(seen, &first);
    seen.deployments.clear();
    seen.unreadable = vec!["iris-blue".to_owned()];
    assert_eq!(kinds(&decide(&seen)), [""; 0]);
}

#[test]
fn own_keys_replace_the_generated_ones() {
    let first = decide(&seen_endpoint(endpoint(&json!({}))));
    let mut seen = carried_out(seen_endpoint(endpoint(&json!({"keysSecretName": "mine"}))), &first);
    if let Found::Ours(secret) = &mut seen.generated_secret {
        Arc::make_mut(secret).metadata.uid = Some("uid".to_owned());
    }
    seen.keys = SeenKeys::Incomplete(vec!["secondaryKey"]);
    let plan = decide(&seen);
    assert_eq!(kinds(&plan), ["delete", "route"]);
    assert!(route_of(&plan).unwrap().spec.auth.key_digests.is_empty(), "nobody gets in without keys");
    assert_eq!(reason(&plan, condition::AUTH_READY), Some(("False", "KeysMissing")));
}

#[test]
fn a_foreign_service_stops_everything() {
    let seen = SeenEndpoint { service: Found::Foreign, ..seen_endpoint(endpoint(&json!({}))) };
    let plan = decide(&seen);
    assert_eq!(kinds(&plan), [""; 0]);
    assert_eq!(reason(&plan, condition::READY), Some(("False", "NameConflict")));
    assert_eq!(plan.status.provisioning_state, Some(EndpointState::Failed));
}

#[test]
fn an_ingress_host_is_a_host_of_the_table_only_while_access_is_enabled() {
    let with = |access: &str| {
        let spec = json!({"publicNetworkAccess": access, "ingress": {"host": "Iris.Example.com"}});
        route_of(&decide(&seen_endpoint(endpoint(&spec)))).unwrap().spec.hosts
    };
    assert_eq!(with("Enabled"), ["iris.example.com"]);
    assert!(with("Disabled").is_empty());
}

#[test]
fn an_endpoint_that_wants_tokens_has_no_keys_and_says_which_tokens() {
    let seen = seen_endpoint(endpoint(&json!({"authMode": "AMLToken", "traffic": {}})));
    let first = decide(&seen);
    assert_eq!(kinds(&first), ["account", "service", "route"]);
    let auth = route_of(&first).unwrap().spec.auth;
    let namespace = seen.object.metadata.namespace.clone().unwrap();
    let audience = format!("mooring.dev/{namespace}/iris");
    assert_eq!((auth.token_audience.as_deref(), auth.key_digests.len()), (Some(audience.as_str()), 0));
    assert_eq!(first.status.keys_secret_name, None);
    let seen = carried_out(seen, &first);
    let status = decide(&seen).status;
    assert_eq!(status.provisioning_state, Some(EndpointState::Succeeded));
    let ready = status.conditions.iter().find(|condition| condition.type_ == condition::AUTH_READY).unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("True", "Succeeded"));
    for words in [audience.as_str(), "verb score on onlineendpoints/iris", "within 60 s"] {
        assert!(ready.message.contains(words), "{}", ready.message);
    }
}

#[test]
fn an_ingress_comes_and_goes_with_the_wish_for_it() {
    let spec = json!({"ingress": {
        "className": "nginx", "host": "Iris.example.com".to_lowercase(), "tlsSecretName": "iris-tls", "annotations": {"a/b": "c"},
    }});
    let first = decide(&seen_endpoint(endpoint(&spec)));
    assert_eq!(kinds(&first), ["account", "keys", "service", "route", "ingress"]);
    let Some(Change::Apply(Child::Ingress(made))) = first.changes.last() else { panic!("{:?}", first.changes) };
    assert_eq!(made.metadata.annotations.as_ref().unwrap()["a/b"], "c");
    assert_eq!(
        serde_json::to_value(&made.spec).unwrap(),
        json!({
            "ingressClassName": "nginx",
            "tls": [{"hosts": ["iris.example.com"], "secretName": "iris-tls"}],
            "rules": [{"host": "iris.example.com", "http": {"paths": [{
                "path": "/", "pathType": "Prefix", "backend": {"service": {"name": "iris", "port": {"number": 80}}},
            }]}}],
        })
    );
    let mut after = carried_out(seen_endpoint(endpoint(&spec)), &first);
    assert_eq!(kinds(&decide(&after)), [] as [&str; 0]);
    let mut hidden = spec.clone();
    hidden["publicNetworkAccess"] = json!("Disabled");
    if let Found::Ours(made) = &mut after.ingress {
        Arc::make_mut(made).metadata.uid = Some("uid-of-the-ingress".to_owned());
    }
    for without in [hidden, json!({})] {
        after.object = Arc::new(endpoint(&without));
        assert_eq!(kinds(&decide(&after)), ["route", "delete"], "{without}");
    }
    let foreign = SeenEndpoint { ingress: Found::Foreign, ..seen_endpoint(endpoint(&spec)) };
    assert_eq!(kinds(&decide(&foreign)), [] as [&str; 0], "nothing is made beside what belongs to somebody else");
    let elsewhere = SeenEndpoint { ingress: Found::Foreign, ..seen_endpoint(endpoint(&json!({}))) };
    assert!(!kinds(&decide(&elsewhere)).is_empty());
}

#[test]
fn a_way_through_a_gateway_is_a_route_to_our_own() {
    let spec = json!({"ingress": {
        "host": "iris.example.com", "gateway": {"name": "public", "namespace": "gateways", "sectionName": "https"},
    }});
    let first = decide(&seen_endpoint(endpoint(&spec)));
    assert_eq!(kinds(&first), ["account", "keys", "service", "route", "httproute"]);
    let Some(Change::Apply(Child::HttpRoute(made))) = first.changes.last() else { panic!("{:?}", first.changes) };
    assert_eq!(
        serde_json::to_value(&made.spec).unwrap(),
        json!({
            "parentRefs": [{"name": "public", "namespace": "gateways", "sectionName": "https"}],
            "hostnames": ["iris.example.com"],
            "rules": [{
                "backendRefs": [{"name": "mooring-gateway", "namespace": "mooring-system", "port": 80}],
                "timeouts": {"request": "0s"},
            }],
        })
    );
    let mut after = carried_out(seen_endpoint(endpoint(&spec)), &first);
    assert_eq!(kinds(&decide(&after)), [] as [&str; 0]);
    if let Some(Found::Ours(made)) = &mut after.http_route {
        Arc::make_mut(made).metadata.uid = Some("uid-of-the-route".to_owned());
    }
    after.object = Arc::new(endpoint(&json!({"ingress": {"host": "iris.example.com"}})));
    assert_eq!(kinds(&decide(&after)), ["ingress", "delete"], "one way in place of the other");
}

#[test]
fn a_cluster_without_gateways_is_named() {
    let spec = json!({"ingress": {"host": "iris.example.com", "gateway": {"name": "public"}}});
    let seen = SeenEndpoint { http_route: None, ..seen_endpoint(endpoint(&spec)) };
    let plan = decide(&seen);
    assert_eq!(kinds(&plan), ["account", "keys", "service", "route"], "what is inside the cluster works");
    let ready = plan.status.conditions.iter().find(|condition| condition.type_ == "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("False", "InvalidSpec"));
    assert!(ready.message.contains("spec.ingress.gateway"), "{}", ready.message);
    assert_eq!(plan.status.provisioning_state, Some(EndpointState::Failed));
}
