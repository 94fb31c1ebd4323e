//! How the API server is told whom to ask about what.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MatchCondition, RuleWithOperations, ServiceReference, ValidatingWebhook, WebhookClientConfig,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::Resource;

use super::review::{COLLECTORS, TrafficGuard};
use crate::api::endpoint::OnlineEndpoint;
use crate::api::label;

/// The path that is asked.
pub const PATH: &str = "/validate";
/// The longest that the API server waits for an answer, in seconds.
const TIMEOUT_SECONDS: i32 = 5;
/// The label by which the API server itself names each namespace.
const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";
/// Where the Service listens.
const SERVICE_PORT: i32 = 443;

/// How the API server reaches the webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// By a Service of the cluster.
    Service {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// By an address that it can connect to, as `127.0.0.1:9443`: where it runs beside the webhook.
    Address(std::net::SocketAddr),
}

impl Reached {
    /// The names that the certificate must have.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Service { namespace, name } => vec![format!("{name}.{namespace}.svc")],
            Self::Address(address) => vec![address.ip().to_string()],
        }
    }

    fn client_config(&self, trusted: &str) -> WebhookClientConfig {
        let (service, url) = match self {
            Self::Service { namespace, name } => {
                let (namespace, name, path) = (namespace.clone(), name.clone(), Some(PATH.to_owned()));
                (Some(ServiceReference { namespace, name, path, port: Some(SERVICE_PORT) }), None)
            }
            Self::Address(address) => (None, Some(format!("https://{address}{PATH}"))),
        };
        WebhookClientConfig { ca_bundle: Some(ByteString(trusted.as_bytes().to_vec())), service, url }
    }
}

/// The webhooks as they have to be registered, with all that the API server would fill in, so that a comparison with what
/// it has finds only what differs. Only objects of `namespace` are asked about, when there is one.
#[must_use]
pub fn webhooks(
    reached: &Reached,
    trusted: &str,
    guard: TrafficGuard,
    namespace: Option<&str>,
) -> Vec<ValidatingWebhook> {
    let of_namespace = |name: &str| BTreeMap::from([(NAMESPACE_LABEL.to_owned(), name.to_owned())]);
    let asked = LabelSelectorRequirement {
        key: label::ADMISSION.to_owned(),
        operator: "NotIn".to_owned(),
        values: Some(vec![label::ADMISSION_OFF.to_owned()]),
    };
    let namespaces = LabelSelector { match_labels: namespace.map(of_namespace), match_expressions: Some(vec![asked]) };
    let group = OnlineEndpoint::group(&());
    let webhook =
        |name: &str, failure_policy: &str, operations: &[&str], resources: &[&str], only_when: &[(&str, &str)]| {
            let owned = |texts: &[&str]| Some(texts.iter().map(|text| (*text).to_owned()).collect());
            ValidatingWebhook {
                name: format!("{name}.{group}"),
                admission_review_versions: vec!["v1".to_owned()],
                client_config: reached.client_config(trusted),
                failure_policy: Some(failure_policy.to_owned()),
                match_conditions: Some(
                    only_when
                        .iter()
                        .map(|(name, expression)| MatchCondition {
                            name: (*name).to_owned(),
                            expression: (*expression).to_owned(),
                        })
                        .collect(),
                ),
                match_policy: Some("Equivalent".to_owned()),
                namespace_selector: Some(namespaces.clone()),
                object_selector: Some(LabelSelector::default()),
                rules: Some(vec![RuleWithOperations {
                    api_groups: owned(&[&*group]),
                    api_versions: owned(&["*"]),
                    operations: owned(operations),
                    resources: owned(resources),
                    scope: Some("Namespaced".to_owned()),
                }]),
                side_effects: "None".to_owned(),
                timeout_seconds: Some(TIMEOUT_SECONDS),
            }
        };
    // Labels, finalizers and whatever else is no spec must pass whether somebody answers or not.
    let changes = webhook(
        "changes",
        "Fail",
        &["CREATE", "UPDATE"],
        &["onlineendpoints", "onlinedeployments"],
        &[
            ("the-spec-changes", "request.operation == 'CREATE' || object.spec != oldObject.spec"),
            ("it-stays", "!has(object.metadata.deletionTimestamp)"),
        ],
    );
    if guard == TrafficGuard::Off {
        return vec![changes];
    }
    let collectors = COLLECTORS.map(|name| format!("'{name}'")).join(", ");
    let by_somebody = format!("!(request.userInfo.username in [{collectors}])");
    // Whoever wants to be rid of something is not held up by a webhook that is away.
    let deletions = webhook(
        "deletions",
        "Ignore",
        &["DELETE"],
        &["onlinedeployments"],
        &[("by-somebody", &by_somebody), ("it-stays", "!has(oldObject.metadata.deletionTimestamp)")],
    );
    vec![changes, deletions]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_spec_passes_and_nobody_is_asked_about_other_kinds() {
        let reached = Reached::Service { namespace: "mooring-system".to_owned(), name: "mooring-webhook".to_owned() };
        insta::assert_yaml_snapshot!(webhooks(&reached, "PEM", TrafficGuard::Deny, Some("team")));
        let names = |guard| -> Vec<_> { webhooks(&reached, "", guard, None).into_iter().map(|it| it.name).collect() };
        assert_eq!(names(TrafficGuard::Off), ["changes.mooring.dev"]);
        assert_eq!(names(TrafficGuard::Warn), ["changes.mooring.dev", "deletions.mooring.dev"]);
    }
}
