//! Where routes and instances come from.

pub mod cluster;
pub mod file;

use futures::future::BoxFuture;

use super::table::writer::TableWriter;
use super::{GatewayError, Source};
use crate::process::readiness::Readiness;

/// The work of keeping the table current, without end. It marks `routes` ready after the first whole table.
///
/// # Errors
/// When the source can't be used at all.
pub async fn follow(
    source: Source,
    writer: TableWriter,
    readiness: Readiness,
) -> Result<BoxFuture<'static, ()>, GatewayError> {
    Ok(match source {
        Source::Cluster { namespace } => {
            Box::pin(cluster::follow(cluster::client().await?, namespace, writer, readiness))
        }
        Source::File { path } => Box::pin(file::follow(path, writer, readiness)),
    })
}
