//! The volumes of a pod → what is mounted into its container from this machine.

use std::path::{Path, PathBuf};

use bollard::models::{Mount, MountType};
use k8s_openapi::api::core::v1::{Container, PodSpec, Volume, VolumeMount};

use super::folder::EndpointFolder;
use super::host_path;
use crate::api::artifact::{ArtifactKind, ArtifactPlan};

/// The volumes that can't be mounted, in the kubelet's words; `None` when all can.
#[must_use]
pub fn missing(pod: &PodSpec, place: &EndpointFolder) -> Option<String> {
    let failed =
        |volume: &Volume, why: String| format!("MountVolume.SetUp failed for volume {:?} : {why}", volume.name);
    pod.volumes.iter().flatten().find_map(|volume| {
        if let Some(map) = &volume.config_map {
            let is_there = place.config_map(&map.name).is_dir();
            return (!is_there).then(|| failed(volume, format!("configmap {:?} not found", map.name)));
        }
        let claim = &volume.persistent_volume_claim.as_ref()?.claim_name;
        (claim != host_path::CLAIM).then(|| failed(volume, format!("persistentvolumeclaim {claim:?} not found")))
    })
}

/// The mounts of the inference server. `fetched` tells where the files of an artifact are that was fetched.
#[must_use]
pub fn of_server(
    pod: &PodSpec,
    container: &Container,
    place: &EndpointFolder,
    fetched: impl Fn(&str) -> Option<PathBuf>,
) -> Vec<Mount> {
    let of = |mount: &VolumeMount| {
        let volume = pod.volumes.iter().flatten().find(|volume| volume.name == mount.name)?;
        if volume.persistent_volume_claim.is_some() {
            let source = host_path::of_claim(mount.sub_path.as_deref().unwrap_or_default());
            // A single file of code lies in the folder that the environment variables name.
            let is_code = mount.name == ArtifactKind::Code.as_str();
            let name = source.file_name().and_then(|name| name.to_str()).filter(|_| is_code && source.is_file());
            let target = name.map_or_else(|| mount.mount_path.clone(), |name| format!("{}/{name}", mount.mount_path));
            return Some(bind(&source, target, true));
        }
        if let Some(map) = &volume.config_map {
            return Some(bind(&place.config_map(&map.name), mount.mount_path.clone(), true));
        }
        Some(bind(&fetched(&mount.name)?, mount.mount_path.clone(), false))
    };
    container.volume_mounts.iter().flatten().filter_map(of).collect()
}

fn bind(source: &Path, target: String, read_only: bool) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target),
        read_only: Some(read_only),
        ..Mount::default()
    }
}

/// The plan of the storage initializer of a pod.
#[must_use]
pub fn artifact_plan(pod: &PodSpec) -> Option<ArtifactPlan> {
    let initializer = pod.init_containers.iter().flatten().next()?;
    let variable = initializer.env.iter().flatten().find(|it| it.name == crate::api::artifact::PLAN_VARIABLE)?;
    serde_json::from_str(variable.value.as_deref()?).ok()
}
