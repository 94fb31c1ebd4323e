//! The Deployment that keeps a deployment's instances running.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::pod;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::label;
use crate::plan::seen::Found;
use crate::plan::validate::Valid;
use crate::plan::{Config, change};

/// Revisions that are kept beside the current one, for `kubectl rollout undo` by hand.
const REVISION_HISTORY_LIMIT: i32 = 2;

/// The Deployment. While the parts of the spec that pods are made from stay the same, the storage initializer keeps
/// the image that the revision was made with: an upgrade of the operator restarts no model.
#[must_use]
pub fn of(
    object: &OnlineDeployment,
    valid: &Valid<'_>,
    endpoint: &OnlineEndpoint,
    found: &Found<Deployment>,
    config: &Config,
) -> Deployment {
    let labels = label::of_deployment(&valid.spec.endpoint_name, valid.resource);
    let mut template = pod::template(valid, endpoint, &config.fetch_image);
    // Everything but the initializer's image, which is the same text in both digests.
    let inputs = change::digest(&pod::template(valid, endpoint, ""));
    if let Some(image) = found.ours().and_then(|there| pinned_image(there, &inputs)) {
        template = pod::template(valid, endpoint, image);
    }
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

/// The initializer's image of a Deployment that was made from the same inputs.
fn pinned_image<'a>(there: &'a Deployment, inputs: &str) -> Option<&'a str> {
    if there.annotations().get(label::TEMPLATE_INPUTS).map(String::as_str) != Some(inputs) {
        return None;
    }
    let pod = there.spec.as_ref()?.template.spec.as_ref()?;
    pod.init_containers.iter().flatten().find(|container| container.name == pod::INITIALIZER)?.image.as_deref()
}
