//! The gateway's table, and the status of the endpoint.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use kube::core::PartialObjectMeta;

use super::member::Member;
use crate::api::endpoint::{OnlineEndpoint, OnlineEndpointStatus};
use crate::api::endpoint_route::EndpointRoute;
use crate::api::name;
use crate::gateway::source::file::Document;
use crate::local::annotation::NAMESPACE;
use crate::local::folder::{self, EndpointFolder, FolderError};
use crate::local::store::Keys;
use crate::local::variable::Secrets;
use crate::plan::build::secret::{PRIMARY, SECONDARY, digests};
use crate::plan::change::{Change, Child};
use crate::plan::quota::Claims;
use crate::plan::seen::{Found, FreshKeys, SeenEndpoint, SeenKeys, SeenMember};
use crate::plan::{Config, endpoint, validate};

/// What a pass over an endpoint comes to.
pub(super) struct Planned {
    pub(super) status: OnlineEndpointStatus,
    pub(super) route: Option<EndpointRoute>,
    /// The file that the gateway reads.
    pub(super) text: String,
}

/// The table that an agent before this one has left: who had traffic goes on having it.
pub(super) fn before(folder: &EndpointFolder) -> Option<EndpointRoute> {
    let document: Document = folder::read(&folder.route()).ok()??;
    document.routes.into_iter().next()
}

pub(super) fn plan(
    object: OnlineEndpoint,
    members: &[&Member],
    route: Option<EndpointRoute>,
    folder: &EndpointFolder,
    config: &Config,
    address: SocketAddr,
) -> Result<Planned, FolderError> {
    let mut instances = BTreeMap::new();
    let mut deployments = Vec::new();
    for member in members {
        let Some(object) = member.with_status() else { continue };
        let port = validate::routes(&object.spec).scoring_route.port;
        let addresses = member.addresses(port);
        let service = name::instances_service(object.metadata.name.as_deref().unwrap_or_default());
        deployments.push(SeenMember { reachable_instances: addresses.len(), object: Arc::new(object) });
        instances.insert(format!("{NAMESPACE}/{service}"), addresses);
    }
    let seen = SeenEndpoint {
        keys: keys(&object, folder)?,
        // The keys were made with the endpoint.
        generated_secret: Found::Ours(Arc::new(PartialObjectMeta::default())),
        service: Found::Absent,
        service_account: Found::Absent,
        ingress: Found::Absent,
        http_route: Some(Found::Absent),
        route: route.clone().map_or(Found::Absent, |route| Found::Ours(Arc::new(route))),
        deployments,
        quotas: Vec::new(),
        claims: Claims::default(),
        unreadable: Vec::new(),
        object: Arc::new(object),
    };
    let planned = endpoint::plan(super::now(), config, &seen, &FreshKeys(BTreeMap::new()));
    let mut status = planned.status;
    status.scoring_uri = Some(format!("http://{address}/score"));
    status.openapi_uri = Some(format!("http://{address}/swagger.json"));
    let new = planned.changes.into_iter().find_map(|change| match change {
        Change::Apply(Child::Route(route)) => Some(*route),
        _ => None,
    });
    let route = new.or(route);
    let mut served = route.clone();
    if let Some(served) = &mut served {
        // There is one endpoint behind this port: whatever it is called, it is meant.
        served.spec.hosts.extend([address.ip().to_string(), "localhost".to_owned()]);
    }
    let document = Document { routes: served.into_iter().collect(), instances, replicas: Vec::new() };
    let failed =
        |error: serde_saphyr::ser_error::Error| FolderError::Form { path: folder.route(), source: error.into() };
    Ok(Planned { status, route, text: serde_saphyr::to_string(&document).map_err(failed)? })
}

/// The digests of the keys that open the endpoint.
fn keys(object: &OnlineEndpoint, folder: &EndpointFolder) -> Result<SeenKeys, FolderError> {
    let data: BTreeMap<String, String> = match &object.spec.keys_secret_name {
        Some(name) => {
            let secrets: Secrets = folder::read(&folder.secrets())?.unwrap_or_default();
            match secrets.get(name) {
                Some(data) => data.clone(),
                None => return Ok(SeenKeys::Absent),
            }
        }
        None => match folder::read::<Keys>(&folder.keys())? {
            Some(keys) => {
                BTreeMap::from([(PRIMARY.to_owned(), keys.primary_key), (SECONDARY.to_owned(), keys.secondary_key)])
            }
            None => return Ok(SeenKeys::Absent),
        },
    };
    let bytes = |text: String| k8s_openapi::ByteString(text.into_bytes());
    Ok(digests(&data.into_iter().map(|(key, text)| (key, bytes(text))).collect()))
}
