use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, PodTemplateSpec, ServiceAccount};
use kube::core::{ObjectMeta, PartialObjectMeta};
use serde_json::{Value, json};

use super::example::{
    config, deployment, endpoint, fresh_keys, kept_deployment, kept_service, now, seen_deployment, seen_endpoint,
};
use crate::api::endpoint::OnlineEndpoint;
use crate::plan::change::{Change, Child};
use crate::plan::deployment::{Plan, plan};
use crate::plan::seen::{Found, SeenDeployment, SeenEndpoint, SeenOwner};

const CLIENT: &str = "azure.workload.identity/client-id";
const TENANT: &str = "azure.workload.identity/tenant-id";
const ROLE: &str = "eks.amazonaws.com/role-arn";
const GOOGLE: &str = "iam.gke.io/gcp-service-account";

fn annotations(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn annotated(of: &[(&str, &str)]) -> OnlineEndpoint {
    let mut endpoint = endpoint(&json!({}));
    endpoint.metadata.annotations = Some(annotations(of));
    endpoint
}

fn user_assigned(account: Option<&[(&str, &str)]>, changes: &Value) -> SeenDeployment {
    let identity = json!({"identity": {"type": "UserAssigned", "serviceAccountName": "models"}});
    SeenDeployment {
        endpoint: SeenOwner::Present(Arc::new(endpoint(&identity))),
        user_account: account.map(annotations),
        ..seen_deployment(deployment(changes))
    }
}

fn system_assigned(of: &[(&str, &str)], changes: &Value) -> SeenDeployment {
    SeenDeployment { endpoint: SeenOwner::Present(Arc::new(annotated(of))), ..seen_deployment(deployment(changes)) }
}

fn decide(seen: &SeenDeployment) -> Plan {
    plan(now(), &config(), seen)
}

fn template(seen: &SeenDeployment) -> PodTemplateSpec {
    kept_deployment(&decide(seen).changes, 0, 0, 0).unwrap().spec.unwrap().template
}

/// The same surroundings once the plan for `first` has been carried out.
fn carried_out(first: &SeenDeployment, then: SeenDeployment) -> SeenDeployment {
    let made = decide(first).changes;
    SeenDeployment {
        deployment: Found::Ours(Arc::new(kept_deployment(&made, 1, 1, 1).unwrap())),
        service: Found::Ours(Arc::new(kept_service(&made).unwrap())),
        ..then
    }
}

fn variables(container: &Container) -> BTreeMap<&str, &str> {
    let pairs = container.env.iter().flatten();
    pairs.filter_map(|variable| Some((variable.name.as_str(), variable.value.as_deref()?))).collect()
}

/// Audience and folder of each token that a pod has, and the containers that see it.
fn tokens(template: &PodTemplateSpec) -> Vec<(String, String, Vec<String>)> {
    let pod = template.spec.as_ref().unwrap();
    let all: Vec<&Container> = pod.init_containers.iter().flatten().chain(&pod.containers).collect();
    let mut tokens = Vec::new();
    for volume in pod.volumes.iter().flatten() {
        let Some(projected) = &volume.projected else { continue };
        let token = projected.sources.as_ref().unwrap()[0].service_account_token.clone().unwrap();
        assert_eq!((token.expiration_seconds, token.path.as_str()), (Some(3600), "token"));
        let mounts = all.iter().flat_map(|container| {
            let mounts = container.volume_mounts.iter().flatten().filter(|mount| mount.name == volume.name);
            mounts.map(|mount| (container.name.clone(), mount.mount_path.clone(), mount.read_only))
        });
        let mounts: Vec<_> = mounts.collect();
        assert!(mounts.iter().all(|(.., read_only)| *read_only == Some(true)));
        let seen_by = mounts.iter().map(|(container, ..)| container.clone()).collect();
        tokens.push((token.audience.unwrap(), mounts[0].1.clone(), seen_by));
    }
    tokens
}

#[test]
fn an_azure_identity_reaches_the_storage_initializer_and_nobody_else() {
    let template = template(&system_assigned(&[(CLIENT, "c1"), (TENANT, "t1")], &json!({})));
    let (audience, folder) = ("api://AzureADTokenExchange".to_owned(), "/var/run/mooring/identity/azure".to_owned());
    assert_eq!(tokens(&template), [(audience, folder.clone(), vec!["storage-initializer".to_owned()])]);
    let annotation = template.metadata.as_ref().unwrap().annotations.as_ref().unwrap();
    assert_eq!(annotation["azure.workload.identity/skip-containers"], "inference-server");
    let pod = template.spec.unwrap();
    assert_eq!(pod.automount_service_account_token, Some(false));
    let initializers = pod.init_containers.unwrap();
    let told = variables(&initializers[0]);
    assert_eq!((told["AZURE_CLIENT_ID"], told["AZURE_TENANT_ID"]), ("c1", "t1"));
    assert_eq!(told["AZURE_FEDERATED_TOKEN_FILE"], format!("{folder}/token"));
    // The storage initializer knows the authority by the cloud of the account.
    assert!(!told.contains_key("AZURE_AUTHORITY_HOST"));
    assert!(variables(&pod.containers[0]).keys().all(|name| !name.starts_with("AZURE_")));
}

#[test]
fn an_aws_role_reaches_the_storage_initializer_with_its_audience_and_endpoints() {
    let role = "arn:aws:iam::1:role/models";
    let plain = template(&user_assigned(Some(&[(ROLE, role)]), &json!({})));
    assert_eq!(tokens(&plain)[0].0, "sts.amazonaws.com");
    let annotation = plain.metadata.as_ref().unwrap().annotations.as_ref().unwrap();
    assert_eq!(annotation["eks.amazonaws.com/skip-containers"], "inference-server");
    let of_account =
        [(ROLE, role), ("eks.amazonaws.com/audience", "own"), ("eks.amazonaws.com/sts-regional-endpoints", "true")];
    let asked = template(&user_assigned(Some(&of_account), &json!({})));
    assert_eq!(tokens(&asked)[0].0, "own");
    let pod = asked.spec.unwrap();
    assert_eq!(pod.service_account_name.as_deref(), Some("models"));
    let initializers = pod.init_containers.unwrap();
    let told = variables(&initializers[0]);
    assert_eq!(told["AWS_ROLE_ARN"], role);
    assert_eq!(told["AWS_WEB_IDENTITY_TOKEN_FILE"], "/var/run/mooring/identity/aws/token");
    assert_eq!(told["AWS_STS_REGIONAL_ENDPOINTS"], "regional");
    assert!(variables(&pod.containers[0]).keys().all(|name| !name.starts_with("AWS_")));
}

#[test]
fn who_downloads_nothing_gets_no_token() {
    let claim = json!({"model": {"uri": "pvc://models/iris"}});
    let template = template(&system_assigned(&[(CLIENT, "c1"), (ROLE, "r")], &claim));
    assert_eq!(tokens(&template), []);
    let annotations = template.metadata.unwrap().annotations.unwrap();
    assert!(annotations.keys().all(|key| !key.ends_with("/skip-containers")), "{annotations:?}");
}

#[test]
fn google_needs_nothing_from_the_pod() {
    let plain = template(&system_assigned(&[], &json!({})));
    assert_eq!(template(&system_assigned(&[(GOOGLE, "models@project.iam")], &json!({}))), plain);
}

#[test]
fn only_an_annotation_that_means_something_makes_a_new_revision() {
    let object = json!({});
    let first = system_assigned(&[(CLIENT, "c1")], &object);
    let unrelated = system_assigned(&[(CLIENT, "c1"), ("team", "vision"), (GOOGLE, "x")], &object);
    assert!(decide(&carried_out(&first, unrelated)).changes.is_empty());
    let other = carried_out(&first, system_assigned(&[(CLIENT, "c2")], &object));
    assert!(matches!(decide(&other).changes.as_slice(), [Change::Apply(Child::Deployment(_))]));
    // The image of the initializer stays with the revision, identity or not.
    let upgraded = crate::plan::Config { fetch_image: "registry/mooring/fetch:2".to_owned(), ..config() };
    assert!(plan(now(), &upgraded, &carried_out(&first, first.clone())).changes.is_empty());
}

#[test]
fn a_user_assigned_account_that_is_missing_is_named_and_what_runs_goes_on() {
    let missing = user_assigned(None, &json!({}));
    let first = decide(&missing);
    assert!(first.changes.is_empty());
    let error = first.status.error.unwrap();
    assert_eq!((error.reason.as_str(), error.is_final), ("ServiceAccountNotFound", false));
    assert!(error.message.contains("\"models\"") && error.message.contains("\"iris\""), "{}", error.message);
    let there = user_assigned(Some(&[(CLIENT, "c1")]), &json!({}));
    assert!(!decide(&there).changes.is_empty());
    assert!(decide(&carried_out(&there, missing)).changes.is_empty());
}

fn account_of(seen: &SeenEndpoint) -> Option<ServiceAccount> {
    let changes = crate::plan::endpoint::plan(now(), &config(), seen, &fresh_keys()).changes;
    changes.into_iter().find_map(|change| match change {
        Change::Apply(Child::ServiceAccount(account)) => Some(*account),
        _ => None,
    })
}

#[test]
fn the_endpoints_own_account_has_its_identities_and_loses_them_with_it() {
    let told = [(CLIENT, "c1"), (ROLE, "r"), (GOOGLE, "g"), ("team", "vision")];
    let account = account_of(&seen_endpoint(annotated(&told))).unwrap();
    let of_account = account.metadata.annotations.clone().unwrap();
    let mut passed_on = of_account.clone();
    passed_on.remove("mooring.dev/applied");
    assert_eq!(passed_on, annotations(&[(CLIENT, "c1"), (ROLE, "r"), (GOOGLE, "g")]));

    let metadata = ObjectMeta { uid: Some("uid-of-the-account".to_owned()), ..account.metadata };
    let there = PartialObjectMeta { types: None, metadata, _phantom: std::marker::PhantomData };
    let seen = |of: &[(&str, &str)]| SeenEndpoint {
        service_account: Found::Ours(Arc::new(there.clone())),
        ..seen_endpoint(annotated(of))
    };
    assert_eq!(account_of(&seen(&told)), None);
    let without = account_of(&seen(&[("team", "vision")])).unwrap().metadata.annotations.unwrap();
    assert_eq!(without.keys().collect::<Vec<_>>(), ["mooring.dev/applied"]);
}
