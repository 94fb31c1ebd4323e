//! Routes and instances from a cluster: `EndpointRoutes`, and the `EndpointSlices` of the deployments' Services.
//!
//! Two watches and nothing else. While the API server is away the table stays as it was.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt};
use hyper::header::{HeaderValue, USER_AGENT};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::api::Api;
use kube::{Client, Config, ResourceExt};
use kube_runtime::WatchStreamExt;
use kube_runtime::watcher::{self, Event, watcher};

use crate::api::endpoint_route::EndpointRoute;
use crate::api::label;
use crate::gateway::GatewayError;
use crate::gateway::backend::Address;
use crate::gateway::peers::membership::Membership;
use crate::gateway::table::writer::TableWriter;
use crate::process::readiness::Readiness;
use crate::process::{build, cause};

/// Seconds that a watch lasts before it is asked for again. A connection whose other end has vanished is found out no
/// later.
const WATCH_SECONDS: u32 = 60;
/// The longest silence of the API server. Longer than a watch, which may be silent all its life.
const READ: Duration = Duration::from_secs(75);
const CONNECT: Duration = Duration::from_secs(5);

/// Namespace and name.
type Key = (String, String);
type Change<K> = Result<Event<K>, watcher::Error>;

/// A client of the cluster that the kubeconfig or the pod's service account leads to.
///
/// # Errors
/// When the cluster's address and credentials can't be found or used.
pub async fn client() -> Result<Client, GatewayError> {
    let mut config = Config::infer().await.map_err(|error| GatewayError::ClusterConfig(Box::new(error)))?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    config.reset_reader_on_write = true;
    // The watches have a backoff of their own.
    config.default_retry = false;
    config.headers.push((USER_AGENT, HeaderValue::from_static(build::GATEWAY)));
    Client::try_from(config).map_err(|error| GatewayError::ClusterClient(Box::new(error)))
}

/// Keeps the table as the cluster says, in one namespace or in all.
pub async fn follow(client: Client, namespace: Option<String>, mut writer: TableWriter, readiness: Readiness) {
    let routes = Api::<EndpointRoute>::all(client.clone());
    let slices = Api::<EndpointSlice>::all(client.clone());
    let (routes, slices) = match &namespace {
        None => (routes, slices),
        Some(namespace) => (Api::namespaced(client.clone(), namespace), Api::namespaced(client, namespace)),
    };
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    let mut routes = watch(routes, config.clone());
    let mut slices = watch(slices, config.labels(&label::managed_selector()));
    let mut known_routes = Listing::default();
    let mut known_slices = Slices::default();
    loop {
        tokio::select! {
            Some(change) = routes.next() => known_routes.take(change, &mut writer),
            Some(change) = slices.next() => known_slices.take(change, &mut writer),
            else => return,
        }
        // What has come together is put in force together.
        while let Some(Some(change)) = routes.next().now_or_never() {
            known_routes.take(change, &mut writer);
        }
        while let Some(Some(change)) = slices.next().now_or_never() {
            known_slices.take(change, &mut writer);
        }
        writer.publish();
        if known_routes.complete && known_slices.listing.complete {
            readiness.set("routes", true);
        }
    }
}

/// Keeps the members as the gateway's own Service has them.
pub async fn follow_replicas(client: Client, mut membership: Membership) {
    let (namespace, service) = membership.service.clone();
    let api = Api::<EndpointSlice>::namespaced(client, &namespace);
    let of_service = format!("{}={service}", label::SERVICE_NAME);
    let mut slices = watch(api, watcher::Config::default().timeout(WATCH_SECONDS).labels(&of_service));
    let mut listing = Listing::default();
    let mut seen = BTreeSet::new();
    while let Some(change) = slices.next().await {
        listing.hear(&change, "the gateway's own EndpointSlices");
        match change {
            Ok(Event::Init) => seen.clear(),
            Ok(Event::InitApply(slice)) => {
                seen.insert(slice.name_any());
                membership.set(slice);
            }
            Ok(Event::InitDone) => {
                membership.retain(&seen);
                listing.complete = true;
            }
            Ok(Event::Apply(slice)) => membership.set(slice),
            Ok(Event::Delete(slice)) => membership.remove(&slice),
            Err(_) => {}
        }
        if listing.complete {
            membership.publish();
        }
    }
}

fn watch<K>(api: Api<K>, config: watcher::Config) -> std::pin::Pin<Box<impl Stream<Item = Change<K>>>>
where
    K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    Box::pin(watcher(api, config).default_backoff())
}

fn key<K: ResourceExt>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// What the API server said, or how the way to it failed.
fn cause(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.message.clone(),
        _ => cause::root(error).to_string(),
    }
}

/// What a list has shown so far.
#[derive(Debug, Default)]
struct Listing {
    seen: BTreeSet<Key>,
    /// Whether there was a whole list already.
    complete: bool,
    /// Whether the last word of the API server was a complaint.
    failing: bool,
}

impl Listing {
    /// Says once that the API server fails, and once that it is back.
    fn hear<K>(&mut self, change: &Change<K>, kind: &str) {
        match change {
            Err(error) if !self.failing => {
                self.failing = true;
                let cause = cause(error);
                tracing::warn!(cause, "watching {kind} failed; serving with the last table until it works");
            }
            // That a list begins is no word of the API server yet.
            Ok(Event::Init) | Err(_) => {}
            Ok(_) if self.failing => {
                self.failing = false;
                tracing::info!("watching {kind} works again");
            }
            Ok(_) => {}
        }
    }

    fn take(&mut self, change: Change<EndpointRoute>, writer: &mut TableWriter) {
        self.hear(&change, "EndpointRoutes");
        match change {
            Ok(Event::Init) => self.seen.clear(),
            Ok(Event::InitApply(route)) => {
                self.seen.insert(key(&route));
                writer.set_route(route);
            }
            Ok(Event::InitDone) => {
                let seen = std::mem::take(&mut self.seen);
                writer.retain_routes(|namespace, name| seen.contains(&(namespace.to_owned(), name.to_owned())));
                self.complete = true;
            }
            Ok(Event::Apply(route)) => writer.set_route(route),
            Ok(Event::Delete(route)) => {
                let (namespace, name) = key(&route);
                writer.remove_route(&namespace, &name);
            }
            Err(_) => {}
        }
    }
}

/// The slices of each Service: a Service may have several, and an instance stands in any of them.
#[derive(Debug, Default)]
struct Slices {
    listing: Listing,
    services: HashMap<Key, Service>,
}

/// What is known of one Service.
#[derive(Debug, Default)]
struct Service {
    /// By slice.
    instances: BTreeMap<String, Vec<Listed>>,
    /// The pods that were ready when any was last.
    were_ready: BTreeSet<String>,
}

/// An instance that a slice has, and that is not on its way out.
#[derive(Debug)]
struct Listed {
    pod: String,
    address: Address,
    is_ready: bool,
}

impl Service {
    /// Where the instances are that may get requests, and whether that is in doubt: when none is ready any more, those
    /// that were last stay. A node that can't report to the API server for a while loses the readiness of all its pods
    /// at once, though they answer as before. A pod counts once, though it may have an address of each family, or stand
    /// in two slices on its way between them.
    fn usable(&mut self) -> (Vec<Address>, bool) {
        let listed = || self.instances.values().flatten();
        let is_doubtful = !listed().any(|it| it.is_ready);
        let may = |it: &&Listed| if is_doubtful { self.were_ready.contains(&it.pod) } else { it.is_ready };
        let usable: BTreeMap<_, _> = listed().filter(may).map(|it| (&it.pod, it.address)).collect();
        let addresses: BTreeSet<_> = usable.values().copied().collect();
        self.were_ready = usable.into_keys().cloned().collect();
        (addresses.into_iter().collect(), is_doubtful)
    }
}

impl Slices {
    fn take(&mut self, change: Change<EndpointSlice>, writer: &mut TableWriter) {
        self.listing.hear(&change, "EndpointSlices");
        match change {
            Ok(Event::Init) => self.listing.seen.clear(),
            Ok(Event::InitApply(slice)) => {
                self.listing.seen.insert(key(&slice));
                self.set(&slice, writer);
            }
            Ok(Event::InitDone) => {
                self.forget_unseen(writer);
                self.listing.complete = true;
            }
            Ok(Event::Apply(slice)) => self.set(&slice, writer),
            Ok(Event::Delete(slice)) => {
                if let Some(service) = service(&slice) {
                    self.change(&service, writer, |slices| {
                        slices.remove(&slice.name_any());
                    });
                }
            }
            Err(_) => {}
        }
    }

    fn set(&mut self, slice: &EndpointSlice, writer: &mut TableWriter) {
        if let Some(service) = service(slice) {
            self.change(&service, writer, |slices| {
                slices.insert(slice.name_any(), listed(slice));
            });
        }
    }

    fn forget_unseen(&mut self, writer: &mut TableWriter) {
        let seen = std::mem::take(&mut self.listing.seen);
        let services: Vec<_> = self.services.keys().cloned().collect();
        for service in services {
            self.change(&service, writer, |slices| {
                slices.retain(|slice, _| seen.contains(&(service.0.clone(), slice.clone())));
            });
        }
    }

    /// Changes the slices of a Service, and says which instances it has then.
    fn change(
        &mut self,
        service: &Key,
        writer: &mut TableWriter,
        change: impl FnOnce(&mut BTreeMap<String, Vec<Listed>>),
    ) {
        let known = self.services.entry(service.clone()).or_default();
        change(&mut known.instances);
        let (addresses, is_doubtful) = known.usable();
        writer.set_instances(&service.0, &service.1, &addresses, is_doubtful);
        if known.instances.is_empty() {
            self.services.remove(service);
        }
    }
}

/// The Service that a slice belongs to.
fn service(slice: &EndpointSlice) -> Option<Key> {
    Some((slice.namespace()?, slice.labels().get(label::SERVICE_NAME)?.clone()))
}

/// The instances of a slice that stay.
fn listed(slice: &EndpointSlice) -> Vec<Listed> {
    let instance = |endpoint: &Endpoint| {
        let conditions = endpoint.conditions.as_ref();
        // Nothing said means ready, and not on the way out.
        let is_ready = conditions.and_then(|conditions| conditions.ready).unwrap_or(true);
        let terminating = conditions.and_then(|conditions| conditions.terminating).unwrap_or(false);
        let text = endpoint.addresses.first().filter(|_| !terminating)?;
        let ip = text.parse().ok()?;
        let pod = endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
        Some(Listed { pod: pod.unwrap_or_else(|| text.clone()), address: Address { ip, port: None }, is_ready })
    };
    slice.endpoints.iter().filter_map(instance).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::table::SharedTable;
    use serde_json::json;
    use std::sync::Arc;

    fn slice(name: &str, endpoints: &serde_json::Value) -> EndpointSlice {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "n", "labels": {label::SERVICE_NAME: "iris-blue"}},
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": null
        }))
        .unwrap()
    }

    #[test]
    fn only_instances_that_are_ready_and_stay_get_requests() {
        let slice = slice(
            "one",
            &json!([
                {"addresses": ["198.18.0.1"], "conditions": {"ready": true}},
                {"addresses": ["198.18.0.2"], "conditions": {"ready": false}},
                {"addresses": ["198.18.0.3"], "conditions": {"ready": true, "terminating": true}},
                {"addresses": ["198.18.0.4"]},
                {"addresses": ["no address"]},
                {"addresses": []}
            ]),
        );
        assert_eq!(usable(&mut Service::default(), &[&slice]), (strings(&["198.18.0.1", "198.18.0.4"]), false));
    }

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// What is usable when `slices` are all.
    fn usable(service: &mut Service, slices: &[&EndpointSlice]) -> (Vec<String>, bool) {
        service.instances = slices.iter().map(|slice| (slice.name_any(), listed(slice))).collect();
        let (addresses, is_doubtful) = service.usable();
        (addresses.into_iter().map(|address| address.ip.to_string()).collect(), is_doubtful)
    }

    #[test]
    fn when_no_instance_is_ready_any_more_those_stay_that_were_last() {
        let pods = |conditions: [serde_json::Value; 3]| {
            let [a, b, c] = conditions;
            slice(
                "one",
                &json!([
                    {"addresses": ["198.18.0.1"], "conditions": a},
                    {"addresses": ["198.18.0.2"], "conditions": b},
                    {"addresses": ["198.18.0.3"], "conditions": c}
                ]),
            )
        };
        let (yes, no) = (|| json!({"ready": true}), || json!({"ready": false}));
        let mut service = Service::default();
        // One that never was ready gets nothing, whatever the others are.
        assert_eq!(usable(&mut service, &[&pods([no(), no(), no()])]), (Vec::new(), true));
        assert_eq!(
            usable(&mut service, &[&pods([yes(), yes(), no()])]),
            (strings(&["198.18.0.1", "198.18.0.2"]), false)
        );
        assert_eq!(usable(&mut service, &[&pods([no(), no(), no()])]), (strings(&["198.18.0.1", "198.18.0.2"]), true));
        // On its way out is out.
        let out = json!({"ready": false, "terminating": true});
        assert_eq!(usable(&mut service, &[&pods([no(), out, no()])]), (strings(&["198.18.0.1"]), true));
        assert_eq!(usable(&mut service, &[&pods([no(), no(), no()])]), (strings(&["198.18.0.1"]), true));
        assert_eq!(usable(&mut service, &[&pods([no(), no(), yes()])]), (strings(&["198.18.0.3"]), false));
        assert_eq!(usable(&mut service, &[&pods([no(), no(), no()])]), (strings(&["198.18.0.3"]), true));
        assert_eq!(usable(&mut service, &[]), (Vec::new(), true));
    }

    #[test]
    fn a_pod_in_two_slices_counts_once_and_a_slice_that_a_new_list_lacks_is_gone() {
        let mut writer = TableWriter::new(Arc::new(SharedTable::default()));
        let mut slices = Slices::default();
        let count = |slices: &Slices| slices.services.values().map(|service| service.instances.len()).sum::<usize>();
        let pod = |ip: &str, uid: &str| json!([{"addresses": [ip], "targetRef": {"uid": uid}}]);
        for event in [
            Event::Init,
            Event::InitApply(slice("one", &pod("198.18.0.1", "a"))),
            Event::InitApply(slice("two", &pod("198.18.0.1", "a"))),
            Event::InitDone,
        ] {
            slices.take(Ok(event), &mut writer);
        }
        assert_eq!(count(&slices), 2);
        for event in [Event::Init, Event::InitApply(slice("two", &pod("198.18.0.1", "a"))), Event::InitDone] {
            slices.take(Ok(event), &mut writer);
        }
        assert_eq!(count(&slices), 1);
        slices.take(Ok(Event::Delete(slice("two", &json!([])))), &mut writer);
        assert_eq!(count(&slices), 0);
    }
}
