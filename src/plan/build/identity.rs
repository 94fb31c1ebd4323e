//! The cloud identity of a service account: what the storage initializer gets of it. The inference server gets nothing.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    EnvVar, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume, VolumeMount, VolumeProjection,
};

use super::pod::{SERVER, variable};

/// Where tokens for clouds are mounted in the storage initializer.
const TOKEN_ROOT: &str = "/var/run/mooring/identity";
/// The file of a token in its folder.
const TOKEN: &str = "token";
/// Seconds that a token is good for, as with Azure's own webhook; the kubelet renews it in time.
const TOKEN_SECONDS: i64 = 3600;

/// Audience of the tokens that Microsoft Entra ID takes for its own (learn.microsoft.com, workload identity federation).
const AZURE_AUDIENCE: &str = "api://AzureADTokenExchange";
/// Audience of the tokens that AWS takes (amazon-eks-pod-identity-webhook).
const AWS_AUDIENCE: &str = "sts.amazonaws.com";

/// What the identity at one cloud adds to a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// The token, renewed by the kubelet.
    pub volume: Volume,
    /// Its place in the storage initializer.
    pub mount: VolumeMount,
    /// Where the storage initializer finds it, and what it stands for.
    pub variables: Vec<EnvVar>,
    /// Keeps the cloud's own webhook from giving the inference server what it must not have.
    pub annotation: (String, String),
}

/// What the annotations of a service account ask for. Google's metadata server needs nothing from the pod.
#[must_use]
pub fn of(annotations: &BTreeMap<String, String>) -> Vec<Access> {
    azure(annotations).into_iter().chain(aws(annotations)).collect()
}

fn azure(annotations: &BTreeMap<String, String>) -> Option<Access> {
    let said = |key: &str| said(annotations, &format!("azure.workload.identity/{key}"));
    let mut variables = vec![
        variable("AZURE_CLIENT_ID", said("client-id")?),
        variable("AZURE_FEDERATED_TOKEN_FILE", token_file("azure")),
    ];
    variables.extend(said("tenant-id").map(|tenant| variable("AZURE_TENANT_ID", tenant)));
    Some(access("azure", AZURE_AUDIENCE.to_owned(), variables, "azure.workload.identity"))
}

fn aws(annotations: &BTreeMap<String, String>) -> Option<Access> {
    let said = |key: &str| said(annotations, &format!("eks.amazonaws.com/{key}"));
    let mut variables =
        vec![variable("AWS_ROLE_ARN", said("role-arn")?), variable("AWS_WEB_IDENTITY_TOKEN_FILE", token_file("aws"))];
    // The annotation says whether, the variable says how.
    let is_regional = said("sts-regional-endpoints").is_some_and(|regional| regional == "true");
    variables.extend(is_regional.then(|| variable("AWS_STS_REGIONAL_ENDPOINTS", "regional".to_owned())));
    let audience = said("audience").unwrap_or_else(|| AWS_AUDIENCE.to_owned());
    Some(access("aws", audience, variables, "eks.amazonaws.com"))
}

fn said(annotations: &BTreeMap<String, String>, key: &str) -> Option<String> {
    annotations.get(key).map(|value| value.trim()).filter(|value| !value.is_empty()).map(str::to_owned)
}

fn token_file(cloud: &str) -> String {
    format!("{TOKEN_ROOT}/{cloud}/{TOKEN}")
}

fn access(cloud: &str, audience: String, variables: Vec<EnvVar>, webhook: &str) -> Access {
    let name = format!("{cloud}-token");
    let token = ServiceAccountTokenProjection {
        audience: Some(audience),
        expiration_seconds: Some(TOKEN_SECONDS),
        path: TOKEN.to_owned(),
    };
    let source = VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() };
    Access {
        volume: Volume {
            name: name.clone(),
            projected: Some(ProjectedVolumeSource { sources: Some(vec![source]), ..ProjectedVolumeSource::default() }),
            ..Volume::default()
        },
        mount: VolumeMount {
            name,
            mount_path: format!("{TOKEN_ROOT}/{cloud}"),
            read_only: Some(true),
            ..VolumeMount::default()
        },
        variables,
        annotation: (format!("{webhook}/skip-containers"), SERVER.to_owned()),
    }
}
