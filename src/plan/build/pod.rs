//! The pod of one instance: the storage initializer, then the inference server.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, HTTPGetAction,
    Lifecycle, LifecycleHandler, LocalObjectReference, PersistentVolumeClaimVolumeSource, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe as PodProbe, ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext,
    SleepAction, Volume as PodVolume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as PodQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::cache::{self, SharedDownloads};
use super::identity::{self, Access};
use crate::api::artifact::{self, ArtifactPlan};
use crate::api::deployment::{EnvironmentVariable, Probe, Route};
use crate::api::endpoint::OnlineEndpoint;
use crate::api::units::Quantity;
use crate::api::{label, name};
use crate::plan::validate::{DATA, Placed, Valid, Volume, credentials_directory, volume_directory};

/// Name of the init container that fetches model and code.
pub const INITIALIZER: &str = "storage-initializer";
/// Name of the container that answers.
pub const SERVER: &str = "inference-server";

/// Names of the volumes that hold model, code and what it takes to fetch them.
pub const ARTIFACT_VOLUMES: [&str; 7] =
    ["model", "code", "model-credentials", "code-credentials", cache::VOLUME, "azure-token", "aws-token"];

/// Seconds for gateways to learn that an instance is going, before its server may stop taking requests.
const ROUTE_SECONDS: i64 = 5;
/// Seconds that a server may take to end after SIGTERM; Kubernetes' own default.
const STOP_SECONDS: i64 = 30;

/// What the installation gives to new revisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given<'a> {
    /// Image of the storage initializer.
    pub fetch_image: &'a str,
    /// The claim for shared downloads, for those that name none.
    pub cache_claim: Option<&'a str>,
}

/// The template, made from the spec, the identity and what is given alone: the same ones give the same pods.
#[must_use]
pub fn template(valid: &Valid<'_>, endpoint: &OnlineEndpoint, given: Given<'_>) -> PodTemplateSpec {
    let spec = valid.spec;
    let user = spec.environment.run_as_user;
    let placed: Vec<&Placed> = valid.model.iter().chain(&valid.code).collect();
    let drain = drain_seconds(spec.request_settings.request_timeout_ms);
    let needs = if downloads(&placed) {
        Needs { access: identity::of(&valid.identity), cache: cache::of(spec.cache.as_ref(), given.cache_claim) }
    } else {
        Needs::default()
    };
    let mut annotations = BTreeMap::from([("kubectl.kubernetes.io/default-container".to_owned(), SERVER.to_owned())]);
    annotations.extend(needs.access.iter().map(|access| access.annotation.clone()));
    let mut all_volumes: Vec<PodVolume> = placed.iter().flat_map(|placed| volumes(placed)).collect();
    all_volumes.extend(needs.access.iter().map(|access| access.volume.clone()));
    all_volumes.extend(needs.cache.as_ref().map(|cache| cache.volume.clone()));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(label::of_deployment(&spec.endpoint_name, valid.resource)),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            service_account_name: Some(service_account(endpoint)),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_non_root: (user != 0).then_some(true),
                run_as_user: Some(user),
                fs_group: Some(user),
                // A cache may hold more files than anybody wants to be walked through at each start.
                fs_group_change_policy: needs.cache.as_ref().map(|_| "OnRootMismatch".to_owned()),
                seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
                ..PodSecurityContext::default()
            }),
            image_pull_secrets: some(
                spec.environment
                    .image_pull_secret_names
                    .iter()
                    .map(|name| LocalObjectReference { name: name.clone() })
                    .collect(),
            ),
            node_selector: (!valid.instance_type.node_selector.is_empty())
                .then(|| valid.instance_type.node_selector.clone()),
            tolerations: some(valid.instance_type.tolerations.clone()),
            termination_grace_period_seconds: Some(drain + STOP_SECONDS),
            volumes: some(all_volumes),
            init_containers: (!placed.is_empty()).then(|| vec![initializer(valid, &placed, &needs, given.fetch_image)]),
            containers: vec![server(valid, &placed, drain)],
            ..PodSpec::default()
        }),
    }
}

/// Seconds between the decision to stop an instance and its SIGTERM: every request that it may still have ends.
fn drain_seconds(request_timeout_ms: i32) -> i64 {
    (i64::from(request_timeout_ms) + 999) / 1000 + ROUTE_SECONDS
}

/// What the storage initializer needs for fetching, beside places and credentials.
#[derive(Default)]
struct Needs {
    access: Vec<Access>,
    cache: Option<SharedDownloads>,
}

/// Whether the storage initializer fetches anything; what is mounted it only looks at.
fn downloads(placed: &[&Placed]) -> bool {
    placed.iter().any(|placed| placed.volume == Volume::Empty)
}

fn service_account(endpoint: &OnlineEndpoint) -> String {
    let own = || name::service_account(endpoint.metadata.name.as_deref().unwrap_or_default());
    endpoint.spec.identity.user_account().map_or_else(own, str::to_owned)
}

fn initializer(valid: &Valid<'_>, placed: &[&Placed], needs: &Needs, image: &str) -> Container {
    let plan = ArtifactPlan {
        version: artifact::VERSION,
        artifacts: placed.iter().map(|placed| placed.artifact.clone()).collect(),
        cache: needs.cache.as_ref().map(|cache| cache.place.clone()),
    };
    // The plan holds texts and numbers only: writing it can't fail.
    let plan = serde_json::to_string(&plan).unwrap_or_default();
    let mut mounts: Vec<VolumeMount> = placed.iter().map(|placed| initializer_mount(placed)).collect();
    mounts.extend(placed.iter().filter(|placed| placed.credentials_secret.is_some()).map(|placed| VolumeMount {
        name: credentials_volume(placed),
        mount_path: credentials_directory(placed.artifact.kind),
        read_only: Some(true),
        ..VolumeMount::default()
    }));
    mounts.extend(needs.access.iter().map(|access| access.mount.clone()));
    mounts.extend(needs.cache.as_ref().map(|cache| cache.mount.clone()));
    let mut variables = vec![variable(artifact::PLAN_VARIABLE, plan)];
    variables.extend(
        downloads(placed).then(|| variable(artifact::PROGRESS_VARIABLE, format!("[::]:{}", artifact::PROGRESS_PORT))),
    );
    variables.extend(needs.access.iter().flat_map(|access| access.variables.clone()));
    // The server's own, without devices: the pod asks for no more than the server alone, whatever a quota demands.
    let own = |amounts: &BTreeMap<String, Quantity>| {
        amounts
            .iter()
            .filter(|(resource, _)| !resource.contains('/'))
            .map(|(resource, amount)| (resource.clone(), pod_quantity(amount)))
            .collect::<BTreeMap<_, _>>()
    };
    Container {
        name: INITIALIZER.to_owned(),
        image: Some(image.to_owned()),
        env: Some(variables),
        resources: Some(ResourceRequirements {
            requests: Some(own(&valid.resources.requests)),
            limits: Some(own(&valid.resources.limits)),
            ..ResourceRequirements::default()
        }),
        volume_mounts: Some(mounts),
        security_context: Some(SecurityContext { read_only_root_filesystem: Some(true), ..restricted() }),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn server(valid: &Valid<'_>, placed: &[&Placed], drain: i64) -> Container {
    let spec = valid.spec;
    let all = |amounts: &BTreeMap<String, Quantity>| {
        amounts.iter().map(|(resource, amount)| (resource.clone(), pod_quantity(amount))).collect::<BTreeMap<_, _>>()
    };
    let root = spec.environment.run_as_user == 0;
    Container {
        name: SERVER.to_owned(),
        image: Some(spec.environment.image.clone()),
        env: Some(environment(valid)),
        ports: Some(vec![ContainerPort {
            name: Some("scoring".to_owned()),
            container_port: valid.routes.scoring_route.port,
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(ResourceRequirements {
            requests: Some(all(&valid.resources.requests)),
            limits: Some(all(&valid.resources.limits)),
            ..ResourceRequirements::default()
        }),
        liveness_probe: Some(probe(&spec.liveness_probe, &valid.routes.liveness_route)),
        readiness_probe: Some(probe(&spec.readiness_probe, &valid.routes.readiness_route)),
        startup_probe: spec.startup_probe.map(|settings| probe(&settings, &valid.routes.liveness_route)),
        // Kubernetes itself waits: the image needs no shell, and the server may die at once on SIGTERM.
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: drain }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        volume_mounts: some(placed.iter().map(|placed| server_mount(placed)).collect()),
        // Root is what the user asked for: images that need it need its capabilities too.
        security_context: Some(if root {
            SecurityContext { allow_privilege_escalation: Some(false), ..SecurityContext::default() }
        } else {
            restricted()
        }),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

/// Azure ML's contract with the container, then the user's own variables, which win.
fn environment(valid: &Valid<'_>) -> Vec<EnvVar> {
    let spec = valid.spec;
    let mut contract = Vec::new();
    if let Some(model) = &valid.model {
        contract.push(variable("AZUREML_MODEL_DIR", model.directory.clone()));
    }
    if let (Some(code), Some(configuration)) = (&valid.code, &spec.code_configuration) {
        let (folder, script) = match configuration.scoring_script.rsplit_once('/') {
            Some((folder, script)) => (format!("{}/{folder}", code.directory), script),
            None => (code.directory.clone(), configuration.scoring_script.as_str()),
        };
        contract.push(variable("AML_APP_ROOT", folder));
        contract.push(variable("AZUREML_ENTRY_SCRIPT", script.to_owned()));
    }
    let workers = spec.request_settings.max_concurrent_requests_per_instance;
    contract.push(variable("WORKER_COUNT", workers.to_string()));
    contract.retain(|ours| spec.environment_variables.iter().all(|theirs| theirs.name != ours.name));
    contract
        .into_iter()
        .chain(spec.environment_variables.iter().map(|EnvironmentVariable { name, value, value_from }| EnvVar {
            name: name.clone(),
            value: value.clone(),
            value_from: value_from.clone(),
        }))
        .collect()
}

fn probe(settings: &Probe, route: &Route) -> PodProbe {
    PodProbe {
        http_get: Some(HTTPGetAction {
            path: Some(route.path.clone()),
            port: IntOrString::Int(route.port),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        initial_delay_seconds: Some(settings.initial_delay_seconds),
        period_seconds: Some(settings.period_seconds),
        timeout_seconds: Some(settings.timeout_seconds),
        success_threshold: Some(settings.success_threshold),
        failure_threshold: Some(settings.failure_threshold),
        ..PodProbe::default()
    }
}

fn volumes(placed: &Placed) -> Vec<PodVolume> {
    let mut volumes = vec![PodVolume { name: artifact_volume(placed), ..PodVolume::default() }];
    if let Some(volume) = volumes.first_mut() {
        match &placed.volume {
            Volume::Empty => volume.empty_dir = Some(EmptyDirVolumeSource::default()),
            Volume::ConfigMap { name } => {
                volume.config_map =
                    Some(ConfigMapVolumeSource { name: name.clone(), ..ConfigMapVolumeSource::default() });
            }
            Volume::Claim { claim, .. } => {
                volume.persistent_volume_claim =
                    Some(PersistentVolumeClaimVolumeSource { claim_name: claim.clone(), read_only: Some(true) });
            }
        }
    }
    volumes.extend(placed.credentials_secret.as_ref().map(|secret| PodVolume {
        name: credentials_volume(placed),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.clone()),
            // The storage initializer says better than a mount error what is missing.
            optional: Some(true),
            ..SecretVolumeSource::default()
        }),
        ..PodVolume::default()
    }));
    volumes
}

/// The server's view of an artifact: its files and nothing else.
fn server_mount(placed: &Placed) -> VolumeMount {
    let directory = placed.directory.clone();
    let volume = VolumeMount { name: artifact_volume(placed), mount_path: directory, ..VolumeMount::default() };
    match (&placed.volume, &placed.artifact.delivery) {
        (Volume::Claim { path, .. }, artifact::Delivery::Mounted { path: place }) => VolumeMount {
            mount_path: place.clone(),
            sub_path: (!path.is_empty()).then(|| path.clone()),
            read_only: Some(true),
            ..volume
        },
        (Volume::ConfigMap { .. }, _) => VolumeMount { read_only: Some(true), ..volume },
        (Volume::Empty, _) => VolumeMount { sub_path: Some(DATA.to_owned()), ..volume },
        (Volume::Claim { .. }, artifact::Delivery::Download { .. }) => volume,
    }
}

/// The storage initializer's view: the server's, but for a volume that it fills, which it has whole.
fn initializer_mount(placed: &Placed) -> VolumeMount {
    match placed.volume {
        Volume::Empty => VolumeMount {
            name: artifact_volume(placed),
            mount_path: volume_directory(placed.artifact.kind),
            ..VolumeMount::default()
        },
        Volume::ConfigMap { .. } | Volume::Claim { .. } => server_mount(placed),
    }
}

fn artifact_volume(placed: &Placed) -> String {
    placed.artifact.kind.as_str().to_owned()
}

fn credentials_volume(placed: &Placed) -> String {
    format!("{}-credentials", placed.artifact.kind.as_str())
}

/// What Pod Security "restricted" asks of a container.
fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

/// An environment variable.
pub(super) fn variable(name: &str, value: String) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value), value_from: None }
}

fn pod_quantity(amount: &Quantity) -> PodQuantity {
    PodQuantity(amount.as_str().to_owned())
}

fn some<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}
