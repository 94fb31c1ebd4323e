//! The claim on which instances share their downloads. The inference server never sees it.

use k8s_openapi::api::core::v1::{PersistentVolumeClaimVolumeSource, PodSpec, Volume, VolumeMount};

use crate::api::artifact::CachePlace;
use crate::api::deployment::Cache;

/// Name of the volume.
pub const VOLUME: &str = "cache";
/// Where it is mounted in the storage initializer.
const DIRECTORY: &str = "/mooring/cache";

/// What a cache adds to a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct SharedDownloads {
    /// The claim.
    pub volume: Volume,
    /// Its place in the storage initializer.
    pub mount: VolumeMount,
    /// What the storage initializer is told of it.
    pub place: CachePlace,
}

/// The cache that the user names, which may be none, or else the one that is given.
#[must_use]
pub fn of(named: Option<&Cache>, given: Option<&str>) -> Option<SharedDownloads> {
    let claim_name = named.map_or(given, |cache| cache.claim_name.as_deref())?.to_owned();
    let most = named.and_then(|cache| cache.max_size.as_ref()?.millis().ok());
    Some(SharedDownloads {
        volume: Volume {
            name: VOLUME.to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource { claim_name, read_only: None }),
            ..Volume::default()
        },
        mount: VolumeMount { name: VOLUME.to_owned(), mount_path: DIRECTORY.to_owned(), ..VolumeMount::default() },
        place: CachePlace {
            directory: DIRECTORY.to_owned(),
            max_bytes: most.and_then(|thousandths| u64::try_from(thousandths / 1000).ok()),
        },
    })
}

/// The claim that a pod has its cache on.
#[must_use]
pub fn claim(pod: &PodSpec) -> Option<&str> {
    let volume = pod.volumes.iter().flatten().find(|volume| volume.name == VOLUME)?;
    volume.persistent_volume_claim.as_ref().map(|source| source.claim_name.as_str())
}
