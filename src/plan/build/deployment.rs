//! The Deployment that keeps a deployment's instances running.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::cache;
use super::pod::{self, Given};
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::label;
use crate::plan::seen::Found;
use crate::plan::validate::Valid;
use crate::plan::{Config, change};

/// Revisions that are kept beside the current one, for `kubectl rollout undo` by hand.
const REVISION_HISTORY_LIMIT: i32 = 2;

/// The Deployment. While the parts of the spec that pods are made from stay the same, the revision keeps what the
/// installation gave it when it was made: neither an upgrade of the operator nor another setting of it restarts a model.
#[must_use]
pub fn of(
    object: &OnlineDeployment,
    valid: &Valid<'_>,
    endpoint: &OnlineEndpoint,
    found: &Found<Deployment>,
    config: &Config,
) -> Deployment {
    let labels = label::of_deployment(&valid.spec.endpoint_name, valid.resource);
    let given = Given { fetch_image: &config.fetch_image, cache_claim: config.cache_claim.as_deref() };
    // Everything but what the installation gives, which is the same in both digests.
    let inputs = change::digest(&pod::template(valid, endpoint, Given::default()));
    let given = found.ours().and_then(|there| pinned(there, &inputs)).unwrap_or(given);
    let template = pod::template(valid, endpoint, given);
    let mut metadata = super::owned_by(object, valid.resource.to_owned(), labels);
    metadata.annotations = Some([(label::TEMPLATE_INPUTS.to_owned(), inputs)].into());
    Deployment {
        metadata,
        spec: Some(DeploymentSpec {
            replicas: Some(valid.spec.instance_count),
            revision_history_limit: Some(REVISION_HISTORY_LIMIT),
            selector: LabelSelector {
                match_labels: Some(label::instance_selector(valid.resource)),
                ..LabelSelector::default()
            },
            strategy: Some(DeploymentStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDeployment {
                    max_surge: Some(IntOrString::Int(valid.spec.rollout.max_surge)),
                    max_unavailable: Some(IntOrString::Int(valid.spec.rollout.max_unavailable)),
                }),
            }),
            template,
            ..DeploymentSpec::default()
        }),
        ..Deployment::default()
    }
}

/// What was given to a Deployment that was made from the same inputs.
fn pinned<'a>(there: &'a Deployment, inputs: &str) -> Option<Given<'a>> {
    if there.annotations().get(label::TEMPLATE_INPUTS).map(String::as_str) != Some(inputs) {
        return None;
    }
    let pod = there.spec.as_ref()?.template.spec.as_ref()?;
    let initializer = pod.init_containers.iter().flatten().find(|container| container.name == pod::INITIALIZER)?;
    Some(Given { fetch_image: initializer.image.as_deref()?, cache_claim: cache::claim(pod) })
}
