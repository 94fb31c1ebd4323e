//! Labels and annotations of the objects that the operator makes.

use std::collections::BTreeMap;

/// Marks everything that the operator makes.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`], and the operator's field manager.
pub const MANAGER: &str = "mooring";
/// Name of the `OnlineEndpoint`.
pub const ENDPOINT: &str = "mooring.dev/endpoint";
/// On a namespace: whether the webhook is asked about its objects.
pub const ADMISSION: &str = "mooring.dev/admission";
/// It is not: for whoever has to go on while no operator answers.
pub const ADMISSION_OFF: &str = "off";
/// Name of the `OnlineDeployment` object; with [`MANAGED_BY`] the selector of its instances.
pub const ONLINE_DEPLOYMENT: &str = "mooring.dev/online-deployment";
/// Annotation: digest of what the operator last applied, so that an equal plan writes nothing.
pub const APPLIED: &str = "mooring.dev/applied";
/// Annotation: digest of the parts of the spec that a pod template is made from.
pub const TEMPLATE_INPUTS: &str = "mooring.dev/template-inputs";
/// Prefixes of the annotations of a service account that give it an identity at Azure, AWS or Google.
pub const IDENTITY_PREFIXES: [&str; 3] = ["azure.workload.identity/", "eks.amazonaws.com/", "iam.gke.io/"];
/// The label that Kubernetes gives to the pods of each revision.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// The label of an `EndpointSlice` that names its Service.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Whether an annotation says something of a service account's identity at a cloud.
#[must_use]
pub fn is_identity(annotation: &str) -> bool {
    IDENTITY_PREFIXES.iter().any(|prefix| annotation.starts_with(prefix))
}

/// Those annotations that say something of an identity at a cloud.
#[must_use]
pub fn identity(annotations: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    let of_identity = annotations.into_iter().flatten().filter(|(key, _)| is_identity(key));
    of_identity.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Selects every object that the operator makes.
#[must_use]
pub fn managed_selector() -> String {
    format!("{MANAGED_BY}={MANAGER}")
}

/// Labels of the objects made for an endpoint.
#[must_use]
pub fn of_endpoint(endpoint: &str) -> BTreeMap<String, String> {
    labels([(MANAGED_BY, MANAGER), (ENDPOINT, endpoint)])
}

/// Labels of the objects made for a deployment.
#[must_use]
pub fn of_deployment(endpoint: &str, online_deployment: &str) -> BTreeMap<String, String> {
    labels([(MANAGED_BY, MANAGER), (ENDPOINT, endpoint), (ONLINE_DEPLOYMENT, online_deployment)])
}

/// The labels that select the instances of a deployment.
#[must_use]
pub fn instance_selector(online_deployment: &str) -> BTreeMap<String, String> {
    labels([(MANAGED_BY, MANAGER), (ONLINE_DEPLOYMENT, online_deployment)])
}

fn labels<const N: usize>(of: [(&str, &str); N]) -> BTreeMap<String, String> {
    of.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
