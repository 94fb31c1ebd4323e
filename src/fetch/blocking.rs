//! Work that waits for the disk, out of the way of all that waits for the network.

use crate::catalogue::Reason;
use crate::fetch::failure::Failure;

/// Does `work` on a thread that may wait: to add up, copy or remove a model, or to bring it to the disk, takes minutes.
///
/// # Errors
///
/// The failure of `work`.
pub async fn blocking<What: Send + 'static>(
    work: impl FnOnce() -> Result<What, Failure> + Send + 'static,
) -> Result<What, Failure> {
    let ended = |error| Failure::new(Reason::ArtifactVolumeUnavailable, "work on the disk broke off").caused_by(error);
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}
