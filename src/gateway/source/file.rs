//! Routes and instances from files, read again when they change. For tests, and for serving without a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use serde::{Deserialize, Serialize};

use crate::api::endpoint_route::EndpointRoute;
use crate::gateway::backend::Address;
use crate::gateway::peers::membership::Membership;
use crate::gateway::table::writer::TableWriter;
use crate::process::readiness::Readiness;

/// How often the files are looked at. Notices of the kernel do not cross every mount.
const INTERVAL: Duration = Duration::from_millis(100);

/// One file.
#[derive(Serialize, Deserialize, Debug, Default)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Routes, as the operator writes them.
    #[serde(default)]
    pub routes: Vec<EndpointRoute>,
    /// Addresses of the ready instances, by `<namespace>/<service>`.
    #[serde(default)]
    pub instances: BTreeMap<String, Vec<SocketAddr>>,
    /// Slices of the gateway's own Service, where it has other replicas.
    #[serde(default)]
    pub replicas: Vec<EndpointSlice>,
}

/// Why files are no table.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file or folder can't be read.
    #[error("reading {} failed", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file is not of the expected form.
    #[error("understanding {} failed", path.display())]
    Parse {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<serde_saphyr::Error>,
    },
    /// A service of the instances is not of the form namespace/service.
    #[error("{service:?} in {} is not of the form namespace/service", path.display())]
    Service {
        /// The file.
        path: PathBuf,
        /// What it says.
        service: String,
    },
}

/// Keeps the table as the files at `path` say. While they can't be understood, the last good table stays.
pub async fn follow(path: PathBuf, mut writer: TableWriter, readiness: Readiness, mut membership: Option<Membership>) {
    let mut before: Option<BTreeMap<PathBuf, String>> = None;
    let mut complaint = String::new();
    let mut services = BTreeSet::new();
    let mut ticks = tokio::time::interval(INTERVAL);
    loop {
        ticks.tick().await;
        let texts = match read(&path).await {
            Ok(texts) if before.as_ref() == Some(&texts) => continue,
            Ok(texts) => texts,
            Err(error) => {
                complain(&error, &mut complaint);
                continue;
            }
        };
        match parse(&texts) {
            Ok(mut document) => {
                complaint.clear();
                let slices = std::mem::take(&mut document.replicas);
                publish(document, &mut writer, &mut services);
                if let Some(membership) = &mut membership {
                    membership.retain(&slices.iter().map(ResourceExt::name_any).collect());
                    for slice in slices {
                        membership.set(slice);
                    }
                    membership.publish();
                }
                readiness.set("routes", true);
            }
            Err(error) => complain(&error, &mut complaint),
        }
        before = Some(texts);
    }
}

/// Once for each new trouble.
fn complain(error: &FileError, last: &mut String) {
    let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let complaint = format!("{error}: {cause}");
    if *last != complaint {
        tracing::error!(%error, cause, "the files can't be used; keeping the last table");
        *last = complaint;
    }
}

async fn read(path: &Path) -> Result<BTreeMap<PathBuf, String>, FileError> {
    let read_error = |source| FileError::Read { path: path.to_owned(), source };
    let mut paths = Vec::new();
    if tokio::fs::metadata(path).await.map_err(read_error)?.is_dir() {
        let mut entries = tokio::fs::read_dir(path).await.map_err(read_error)?;
        while let Some(entry) = entries.next_entry().await.map_err(read_error)? {
            let path = entry.path();
            if path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension == *known))
            {
                paths.push(path);
            }
        }
    } else {
        paths.push(path.to_owned());
    }
    let mut texts = BTreeMap::new();
    for path in paths {
        match tokio::fs::read_to_string(&path).await {
            Ok(text) => texts.insert(path, text),
            Err(source) => return Err(FileError::Read { path, source }),
        };
    }
    Ok(texts)
}

fn parse(texts: &BTreeMap<PathBuf, String>) -> Result<Document, FileError> {
    let mut all = Document::default();
    for (path, text) in texts {
        let document: Document = serde_saphyr::from_str(text)
            .map_err(|source| FileError::Parse { path: path.clone(), source: Box::new(source) })?;
        if let Some(service) = document.instances.keys().find(|service| !service.contains('/')) {
            return Err(FileError::Service { path: path.clone(), service: service.clone() });
        }
        all.routes.extend(document.routes);
        all.instances.extend(document.instances);
        all.replicas.extend(document.replicas);
    }
    Ok(all)
}

fn publish(document: Document, writer: &mut TableWriter, services: &mut BTreeSet<String>) {
    let mut names = BTreeSet::new();
    for mut route in document.routes {
        let namespace = route.metadata.namespace.get_or_insert_with(|| "default".to_owned()).clone();
        names.insert((namespace, route.metadata.name.clone().unwrap_or_default()));
        writer.set_route(route);
    }
    writer.retain_routes(|namespace, name| names.contains(&(namespace.to_owned(), name.to_owned())));
    let before = std::mem::take(services);
    for (service, sockets) in document.instances {
        if let Some((namespace, name)) = service.split_once('/') {
            let address = |socket: &SocketAddr| Address { ip: socket.ip(), port: Some(socket.port()) };
            writer.set_instances(namespace, name, &sockets.iter().map(address).collect::<Vec<_>>(), false);
        }
        services.insert(service);
    }
    writer.publish();
    // Only now that no traffic goes there any more.
    for service in before {
        if !services.contains(&service)
            && let Some((namespace, service)) = service.split_once('/')
        {
            writer.set_instances(namespace, service, &[], false);
        }
    }
    writer.publish();
    tracing::info!(routes = names.len(), services = services.len(), "the files were read");
}
