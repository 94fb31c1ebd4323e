//! Where routes and instances come from.

pub mod cluster;
pub mod file;

use std::path::PathBuf;

use kube::Client;

use super::peers::membership::Membership;
use super::table::writer::TableWriter;
use super::{GatewayError, Source};
use crate::process::readiness::Readiness;

/// A source that can be used.
pub enum Open {
    /// Objects of a cluster.
    Cluster {
        /// The way to its API server.
        client: Client,
        /// The only namespace to look at; all of them without it.
        namespace: Option<String>,
    },
    /// A file or folder.
    File {
        /// Its path.
        path: PathBuf,
    },
}

/// Finds what the source needs.
///
/// # Errors
/// When the source can't be used at all.
pub async fn open(source: Source) -> Result<Open, GatewayError> {
    Ok(match source {
        Source::Cluster { namespace } => Open::Cluster { client: cluster::client().await?, namespace },
        Source::File { path } => Open::File { path },
    })
}

impl Open {
    /// The way to the API server, when there is one.
    #[must_use]
    pub const fn client(&self) -> Option<&Client> {
        match self {
            Self::Cluster { client, .. } => Some(client),
            Self::File { .. } => None,
        }
    }

    /// Keeps the table and the members current, without end. It marks `routes` ready after the first whole table.
    pub async fn follow(self, writer: TableWriter, readiness: Readiness, membership: Option<Membership>) {
        match self {
            Self::Cluster { client, namespace } => {
                let routes = cluster::follow(client.clone(), namespace, writer, readiness);
                match membership {
                    None => routes.await,
                    Some(membership) => tokio::select! {
                        () = routes => {}
                        () = cluster::follow_replicas(client, membership) => {}
                    },
                }
            }
            Self::File { path } => file::follow(path, writer, readiness, membership).await,
        }
    }
}
