//! What the operator may do is what the chart grants: with that it works, and what is missing is named.

use std::fmt;
use std::path::Path;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, DeleteParams, PostParams};
use kube_runtime::wait::await_condition;
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use mooring_operator::api::instance_type::InstanceType;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::support::documents::{deployment, endpoint, with};
use crate::support::kubelet::Kubelet;
use crate::support::operator::Operator;
use crate::support::outcomes::deployment_is;
use crate::support::place::{Place, setting};
use crate::support::waits::DEADLINE;

/// One verb on one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Right {
    group: String,
    resource: String,
    verb: String,
}

impl fmt::Display for Right {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}.{}", self.verb, self.resource, self.group)
    }
}

impl Right {
    /// Whether there is an object to name it on, and a need to: not where it would be told itself; finalizers are asked for
    /// only where the cluster checks owner references; and an Event less is no reason to call an endpoint failed.
    fn is_told(&self) -> bool {
        let is_read = matches!(self.verb.as_str(), "get" | "list" | "watch");
        is_read || !(self.resource.contains('/') || self.resource == "events")
    }

    fn rule(&self) -> Value {
        json!({"apiGroups": [self.group], "resources": [self.resource], "verbs": [self.verb]})
    }
}

/// What the chart grants for the endpoints of a namespace.
async fn granted(namespace: &str) -> Vec<Right> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let helm = Command::new(root.join("deploy/cluster")).args(["tool", "helm"]).output().await.unwrap();
    let rendered = Command::new(String::from_utf8(helm.stdout).unwrap().trim())
        .args(["template", "mooring", "charts/mooring", "--namespace", namespace, "--set"])
        .arg(format!("namespace={namespace}"))
        .args(["--show-only", "templates/operator-rights.yaml", "--kube-version", "1.33.0"])
        .current_dir(root)
        .output()
        .await
        .unwrap();
    let rendered = String::from_utf8(rendered.stdout).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
    assert!(!rendered.contains("ClusterRole"), "{rendered}");
    let role = documents.iter().find(|it| it["metadata"]["name"] == "mooring-operator-endpoints").unwrap();
    let words = |list: &Value| -> Vec<String> { serde_json::from_value(list.clone()).unwrap() };
    let mut rights = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        for group in words(&rule["apiGroups"]) {
            for resource in words(&rule["resources"]) {
                for verb in words(&rule["verbs"]) {
                    rights.push(Right { group: group.clone(), resource: resource.clone(), verb });
                }
            }
        }
    }
    assert!(rights.len() > 40, "{rights:?}");
    rights
}

/// A namespace whose operator may do only what it is granted.
struct Bound {
    place: Place,
    kubelet: Kubelet,
    /// Who it is.
    kubeconfig: NamedTempFile,
}

impl Bound {
    async fn new(name: &str) -> Self {
        let place = Place::new(name).await;
        let user = format!("operator-of-{}", place.namespace);
        place
            .apply(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "operator"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "operator"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
            }))
            .await;
        let mut kubeconfig = kube::config::Kubeconfig::read_from(setting("MOORING_TEST_KUBECONFIG")).unwrap();
        for named in &mut kubeconfig.auth_infos {
            named.auth_info.get_or_insert_default().impersonate = Some(user.clone());
        }
        let file = NamedTempFile::new().unwrap();
        serde_json::to_writer(&file, &kubeconfig).unwrap();
        let kubelet = Kubelet::start(&place).await;
        Self { place, kubelet, kubeconfig: file }
    }

    async fn grant(&self, rights: impl IntoIterator<Item = &Right>) {
        let rules: Vec<Value> = rights.into_iter().map(Right::rule).collect();
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "operator"}, "rules": rules,
        });
        self.place.apply(role).await;
    }

    fn operator(&self) -> Operator {
        Operator::start(&self.place.namespace, self.kubeconfig.path())
    }

    async fn done(self) {
        self.place.done().await;
        self.kubelet.stop().await;
    }
}

/// An endpoint that needs every kind of object of ours.
fn whole() -> Value {
    with(endpoint(&json!({"blue": 100})), "/spec/ingress", json!({"host": "iris.example.com"}))
}

/// Waits until the endpoint or its deployment names a right that is missing.
async fn is_named(place: &Place, right: &Right) {
    let resource = right.resource.clone();
    let words = [format!("cannot {} resource", right.verb), format!("\"{resource}\"")];
    let names = move |conditions: &[Condition]| {
        conditions.iter().any(|it| {
            it.type_ == "Ready"
                && it.reason == "ERR_5000"
                && it.message.contains("OperatorPermissionDenied")
                && words.iter().all(|word| it.message.contains(word))
        })
    };
    let by_endpoint = names.clone();
    let endpoint = await_condition(place.api::<OnlineEndpoint>(), "iris", move |it: Option<&OnlineEndpoint>| {
        it.and_then(|it| it.status.as_ref()).is_some_and(|status| by_endpoint(&status.conditions))
    });
    let deployment =
        await_condition(place.api::<OnlineDeployment>(), "iris-blue", move |it: Option<&OnlineDeployment>| {
            it.and_then(|it| it.status.as_ref()).is_some_and(|status| names(&status.conditions))
        });
    let told = async {
        tokio::select! {
            it = endpoint => it.map(drop),
            it = deployment => it.map(drop),
        }
    };
    let outcome = tokio::time::timeout(DEADLINE, Box::pin(told)).await;
    assert!(matches!(outcome, Ok(Ok(()))), "without the right to {right} nothing names it: {outcome:?}");
}

#[tokio::test]
async fn an_operator_of_one_namespace_needs_roles_alone() {
    let bound = Bound::new("roles").await;
    let place = &bound.place;
    bound.grant(&granted(&place.namespace).await).await;
    let operator = bound.operator();
    place.apply(whole()).await;
    place.apply(deployment("blue", "good:1")).await;
    place.ready("iris", &["iris-blue"]).await;
    // What belongs to no namespace is beyond it, and it says that rather than that there is none.
    let name = format!("{}-gold", place.namespace);
    let kind = json!({
        "apiVersion": "mooring.dev/v1alpha1", "kind": "InstanceType", "metadata": {"name": name},
        "spec": {"resources": {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"cpu": 1, "memory": "1Gi"}}},
    });
    let types: Api<InstanceType> = Api::all(place.client.clone());
    types.create(&PostParams::default(), &serde_json::from_value(kind).unwrap()).await.unwrap();
    place.apply(with(deployment("gold", "good:1"), "/spec/instanceType", json!(name))).await;
    let status = deployment_is(place, "iris-gold", "ERR_5000").await.status.unwrap();
    let ready = status.conditions.iter().find(|it| it.type_ == "Ready").unwrap();
    assert!(ready.message.contains("cannot get resource \"instancetypes\""), "{}", ready.message);
    types.delete(&name, &DeleteParams::default()).await.unwrap();
    operator.stop().await;
    bound.done().await;
}

#[tokio::test]
async fn every_right_that_is_missing_is_named() {
    let all = granted("any").await;
    let told = all.iter().filter(|right| right.is_told());
    futures::stream::iter(told).for_each_concurrent(4, |missing| is_named_when_missing(missing, &all)).await;
}

async fn is_named_when_missing(missing: &Right, all: &[Right]) {
    let bound = Bound::new("missing").await;
    let place = &bound.place;
    let rest = || all.iter().filter(|right| *right != missing);
    let deletes = missing.verb == "delete";
    if deletes {
        bound.grant(all).await;
    } else {
        bound.grant(rest()).await;
    }
    let operator = bound.operator();
    let endpoint = if missing.resource == "httproutes" { through_a_gateway() } else { whole() };
    place.apply(endpoint.clone()).await;
    place.apply(deployment("blue", "good:1")).await;
    if deletes {
        // There has to be something first.
        place.ready("iris", &["iris-blue"]).await;
        bound.grant(rest()).await;
        delete_one(place, &missing.resource, endpoint).await;
    }
    is_named(place, missing).await;
    drop(operator);
    bound.done().await;
}

/// The same with a route in place of the Ingress.
fn through_a_gateway() -> Value {
    with(whole(), "/spec/ingress/gateway", json!({"name": "public"}))
}

/// Does what makes the operator delete one of its objects.
async fn delete_one(place: &Place, resource: &str, endpoint: Value) {
    let changed = match resource {
        "deployments" | "services" => {
            place.api::<OnlineEndpoint>().delete("iris", &DeleteParams::default()).await.unwrap();
            return;
        }
        "serviceaccounts" => {
            let identity = json!({"type": "UserAssigned", "serviceAccountName": "models"});
            with(endpoint, "/spec/identity", identity)
        }
        "secrets" => with(endpoint, "/spec/keysSecretName", json!("own")),
        "ingresses" | "httproutes" => with(endpoint, "/spec/publicNetworkAccess", json!("Disabled")),
        other => panic!("nothing deletes {other}"),
    };
    place.apply(changed).await;
}
