//! The one hand that writes the table.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use jiff::Timestamp;

use super::{Auth, Deployment, Endpoint, Mirror, SharedTable, Table};
use crate::api::deployment::AppProtocol;
use crate::api::endpoint::AuthMode;
use crate::api::endpoint_route::{EndpointRoute, RouteAuth, RouteDeployment, token_audience};
use crate::gateway::backend::{Address, Backend, Standing};
use crate::gateway::cors;
use crate::gateway::peers::message::Target;
use crate::gateway::peers::view::hash;
use crate::gateway::protocol::Protocol;
use crate::gateway::rate::RateLimit;
use crate::gateway::token::Scope;

/// Namespace and name.
type Key = (String, String);

/// Takes routes and instances as they come, and publishes tables. What stays keeps its counts.
#[derive(Debug)]
pub struct TableWriter {
    table: Arc<SharedTable>,
    routes: BTreeMap<Key, Route>,
    backends: HashMap<Key, Arc<Backend>>,
    /// Whether a route changed since the table was published.
    changed: bool,
    /// Host, holder and whoever asks for it too, so that each conflict is told once.
    conflicts: BTreeSet<(String, Key, Key)>,
}

#[derive(Debug)]
struct Route {
    uid: Option<String>,
    generation: i64,
    created: Option<Timestamp>,
    hosts: Vec<String>,
    endpoint: Arc<Endpoint>,
}

impl TableWriter {
    /// A writer of `table`, which it must be the only one to write.
    #[must_use]
    pub fn new(table: Arc<SharedTable>) -> Self {
        Self { table, routes: BTreeMap::new(), backends: HashMap::new(), changed: false, conflicts: BTreeSet::new() }
    }

    /// Takes over a route, unless it is older than the one in force.
    pub fn set_route(&mut self, route: EndpointRoute) {
        let namespace = route.metadata.namespace.unwrap_or_default();
        let key = (namespace.clone(), route.metadata.name.unwrap_or_default());
        let spec = route.spec;
        let before = self.routes.get(&key);
        let uid = route.metadata.uid;
        if let Some(before) = before
            && uid.is_some()
            && before.uid == uid
            && spec.endpoint_generation < before.generation
        {
            tracing::warn!(
                namespace = key.0,
                route = key.1,
                offered = spec.endpoint_generation,
                held = before.generation,
                "an older route was offered; keeping the newer one"
            );
            return;
        }
        let before = before.map(|route| Arc::clone(&route.endpoint));
        let mut deployments = Vec::with_capacity(spec.deployments.len());
        let mut mirror = None;
        for deployment in spec.deployments {
            let percent = u32::try_from(deployment.mirror.0).unwrap_or(0);
            let Some(deployment) = self.deployment(&key, &spec.endpoint_name, deployment, before.as_deref()) else {
                continue;
            };
            let deployment = Arc::new(deployment);
            // Whoever has live traffic is no mirror, so that no copy meets its own original.
            if percent > 0 && deployment.weight == 0 {
                mirror = Some(Mirror { percent, deployment: Arc::clone(&deployment) });
            }
            deployments.push(deployment);
        }
        let endpoint = Endpoint {
            key: hash(&format!("{namespace}/{}", spec.endpoint_name)),
            auth: auth(&key, &spec.endpoint_name, spec.auth),
            rate: rate(spec.limits.requests_per_second, before.as_deref()),
            max_request_bytes: u64::try_from(spec.limits.max_request_bytes).unwrap_or(0),
            max_response_bytes: u64::try_from(spec.limits.max_response_bytes).unwrap_or(0),
            cors: spec.cors.as_ref().and_then(|cors| {
                let policy = cors::Policy::of(cors);
                if policy.is_none() {
                    tracing::warn!(namespace = key.0, route = key.1, "the cors of the route is no good");
                }
                policy
            }),
            deployments,
            mirror,
            results: before.map(|before| Arc::clone(&before.results)).unwrap_or_default(),
            name: spec.endpoint_name,
            namespace,
        };
        let route = Route {
            uid,
            generation: spec.endpoint_generation,
            created: route.metadata.creation_timestamp.map(|time| time.0),
            hosts: spec.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            endpoint: Arc::new(endpoint),
        };
        self.routes.insert(key, route);
        self.changed = true;
    }

    /// Forgets a route.
    pub fn remove_route(&mut self, namespace: &str, name: &str) {
        self.routes.remove(&(namespace.to_owned(), name.to_owned()));
        self.changed = true;
    }

    /// Forgets all routes but those that `keep` (namespace, name) wants.
    pub fn retain_routes(&mut self, keep: impl Fn(&str, &str) -> bool) {
        self.routes.retain(|(namespace, name), _| keep(namespace, name));
        self.changed = true;
    }

    /// Takes `addresses` for the instances of a Service that may get requests, as [`Backend::replace`] does. In force at
    /// once, without [`TableWriter::publish`].
    pub fn set_instances(&mut self, namespace: &str, service: &str, addresses: &[Address], is_doubtful: bool) {
        self.backend(namespace, service).replace(addresses, is_doubtful);
    }

    /// Puts the routes in force, if any changed.
    pub fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            let table = Table { endpoints: self.endpoints(), hosts: self.hosts() };
            self.table.store(Arc::new(table));
        }
        self.backends.retain(|_, backend| backend.standing() > Standing::Absent || Arc::strong_count(backend) > 1);
    }

    fn endpoints(&self) -> HashMap<String, Arc<Endpoint>> {
        let endpoints = self.routes.values().map(|route| Arc::clone(&route.endpoint));
        endpoints.map(|endpoint| (format!("{}.{}", endpoint.name, endpoint.namespace), endpoint)).collect()
    }

    /// Each host with the endpoint that had it first: whoever asks for it later must not get the traffic.
    fn hosts(&mut self) -> HashMap<String, Arc<Endpoint>> {
        let mut by_age: Vec<_> = self.routes.iter().collect();
        by_age.sort_by_key(|(key, route)| (route.created, *key));
        let mut hosts: HashMap<&str, (&Key, &Route)> = HashMap::new();
        let mut conflicts = BTreeSet::new();
        for (key, route) in by_age {
            for host in &route.hosts {
                let (holder, _) = hosts.entry(host).or_insert((key, route));
                if *holder != key {
                    conflicts.insert((host.clone(), (*holder).clone(), key.clone()));
                }
            }
        }
        for (host, holder, refused) in conflicts.difference(&self.conflicts) {
            let (holder, refused) = (format!("{}/{}", holder.0, holder.1), format!("{}/{}", refused.0, refused.1));
            tracing::warn!(host, holder, refused, "two endpoints ask for one host; the older one keeps it");
        }
        self.conflicts = conflicts;
        hosts.into_iter().map(|(host, (_, route))| (host.to_owned(), Arc::clone(&route.endpoint))).collect()
    }

    fn backend(&mut self, namespace: &str, service: &str) -> &Arc<Backend> {
        self.backends.entry((namespace.to_owned(), service.to_owned())).or_default()
    }

    fn deployment(
        &mut self,
        key: &Key,
        endpoint: &str,
        route: RouteDeployment,
        before: Option<&Endpoint>,
    ) -> Option<Deployment> {
        let (Ok(header), Ok(port)) = (HeaderValue::from_str(&route.name), u16::try_from(route.port)) else {
            tracing::warn!(
                namespace = key.0,
                route = key.1,
                deployment = route.name,
                "a deployment of the route is no good"
            );
            return None;
        };
        let before = before.and_then(|endpoint| endpoint.deployments.iter().find(|before| before.name == route.name));
        let target = Target { namespace: key.0.clone(), endpoint: endpoint.to_owned(), deployment: route.name.clone() };
        Some(Deployment {
            header,
            target: Arc::new(target),
            weight: u32::try_from(route.weight.0).unwrap_or(0),
            port,
            protocol: match route.app_protocol {
                AppProtocol::Http => Protocol::Http1,
                AppProtocol::H2c => Protocol::Http2,
            },
            scoring_path: route.scoring_path,
            request_timeout: milliseconds(route.request_timeout_ms),
            max_concurrent_requests_per_instance: usize::try_from(route.max_concurrent_requests_per_instance)
                .unwrap_or(0)
                .max(1),
            max_queue_wait: milliseconds(route.max_queue_wait_ms),
            backend: Arc::clone(self.backend(&key.0, &route.service)),
            service: route.service,
            metrics: before.map(|before| Arc::clone(&before.metrics)).unwrap_or_default(),
            name: route.name,
        })
    }
}

/// The limit in force, or a new one when there is none, set to `requests` each second.
fn rate(requests: i32, before: Option<&Endpoint>) -> Arc<RateLimit> {
    let requests = u64::try_from(requests).unwrap_or(0);
    let Some(before) = before else { return Arc::new(RateLimit::new(requests)) };
    before.rate.set(requests, Instant::now());
    Arc::clone(&before.rate)
}

fn milliseconds(count: i32) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

fn auth(key: &Key, endpoint: &str, auth: RouteAuth) -> Auth {
    match auth.mode {
        AuthMode::AmlToken => Auth::Tokens(Arc::new(Scope {
            audience: auth.token_audience.unwrap_or_else(|| token_audience(&key.0, endpoint)),
            namespace: key.0.clone(),
            endpoint: endpoint.to_owned(),
        })),
        AuthMode::Key => {
            let digests: Vec<_> = auth.key_digests.iter().filter_map(|digest| digest_bytes(digest)).collect();
            if digests.len() < auth.key_digests.len() {
                tracing::warn!(namespace = key.0, route = key.1, "a key digest of the route is no SHA-256");
            }
            Auth::Keys(digests)
        }
    }
}

fn digest_bytes(hexadecimal: &str) -> Option<[u8; 32]> {
    let (pairs, rest) = hexadecimal.as_bytes().as_chunks::<2>();
    let mut bytes = [0; 32];
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
        *byte = high? << 4 | low?;
    }
    Some(bytes)
}

#[cfg(test)]
pub(in crate::gateway) mod tests {
    use super::*;
    use crate::api::endpoint_route::EndpointRouteSpec;
    use crate::api::units::Percent;

    /// The route of an endpoint with the deployment `Blue`, whose Service is `<name>-blue`.
    pub fn route(namespace: &str, name: &str, generation: i64, hosts: &[&str]) -> EndpointRoute {
        let deployment = RouteDeployment {
            name: "Blue".to_owned(),
            weight: Percent(100),
            service: format!("{name}-blue"),
            port: 5001,
            scoring_path: "/score".to_owned(),
            ..RouteDeployment::default()
        };
        let mut route = EndpointRoute::new(
            name,
            EndpointRouteSpec {
                endpoint_name: name.to_owned(),
                endpoint_generation: generation,
                hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
                auth: RouteAuth::default(),
                limits: crate::api::endpoint::EndpointLimits::default(),
                cors: None,
                deployments: vec![deployment],
            },
        );
        route.metadata.namespace = Some(namespace.to_owned());
        route.metadata.uid = Some("one".to_owned());
        route
    }

    /// A table and who writes it.
    pub fn writer() -> (TableWriter, Arc<SharedTable>) {
        let table = Arc::new(SharedTable::default());
        (TableWriter::new(Arc::clone(&table)), table)
    }

    #[test]
    fn an_endpoint_is_found_by_each_of_its_names() {
        let (mut writer, table) = writer();
        writer.set_route(route("default", "iris", 1, &["Iris.Example.com"]));
        writer.publish();
        let table = table.load();
        for host in [
            "iris.default",
            "iris.default.svc",
            "iris.default.svc.cluster.local",
            "iris.example.com",
            "iris.example.com.",
        ] {
            assert!(table.by_host(host, "cluster.local").is_some(), "{host}");
        }
        for host in ["iris", "iris.other", "iris.default.svc.other.domain", "iris.default.svccluster.local", ""] {
            assert!(table.by_host(host, "cluster.local").is_none(), "{host}");
        }
        assert!(table.by_name("default", "iris").is_some());
    }

    #[test]
    fn a_route_never_goes_back_to_an_older_generation_of_the_same_object() {
        let (mut writer, table) = writer();
        let names = |table: &SharedTable| table.load().by_name("n", "iris").unwrap().deployments.len();
        writer.set_route(route("n", "iris", 5, &[]));
        let mut older = route("n", "iris", 4, &[]);
        older.spec.deployments.clear();
        writer.set_route(older.clone());
        writer.publish();
        assert_eq!(names(&table), 1);
        older.metadata.uid = Some("made again".to_owned());
        writer.set_route(older);
        writer.publish();
        assert_eq!(names(&table), 0);
    }

    #[test]
    fn a_host_stays_with_the_endpoint_that_had_it_first() {
        let (mut writer, table) = writer();
        let mut thief = route("a", "thief", 1, &["shop.example.com"]);
        thief.metadata.creation_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::from_second(2_000).unwrap()));
        let mut holder = route("b", "holder", 1, &["shop.example.com", "thief.a"]);
        holder.metadata.creation_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::from_second(1_000).unwrap()));
        writer.set_route(thief);
        writer.set_route(holder);
        writer.publish();
        let table = table.load();
        assert_eq!(table.by_host("shop.example.com", "cluster.local").unwrap().name, "holder");
        assert_eq!(table.by_host("thief.a", "cluster.local").unwrap().name, "thief", "in-cluster names can't be taken");
    }

    #[test]
    fn counts_survive_a_new_table() {
        let (mut writer, table) = writer();
        writer.set_route(route("n", "iris", 1, &[]));
        writer.set_instances("n", "iris-blue", &[Address { ip: [198, 18, 0, 1].into(), port: None }], false);
        writer.publish();
        let before = Arc::clone(&table.load().by_name("n", "iris").unwrap().deployments[0]);
        let _slot = before.backend.try_slot(|_| 1, &[], 0).unwrap();
        writer.set_route(route("n", "iris", 2, &[]));
        writer.publish();
        let after = Arc::clone(&table.load().by_name("n", "iris").unwrap().deployments[0]);
        assert_eq!(after.backend.in_flight(), 1);
        assert!(Arc::ptr_eq(&before.metrics, &after.metrics));
    }

    #[test]
    fn what_was_admitted_counts_under_a_new_table() {
        let (mut writer, table) = writer();
        let take = |table: &SharedTable| table.load().by_name("n", "iris").unwrap().rate.take(Instant::now());
        let mut route = route("n", "iris", 1, &[]);
        route.spec.limits.requests_per_second = 1;
        writer.set_route(route.clone());
        writer.publish();
        assert!(take(&table).is_ok());
        route.spec.endpoint_generation = 2;
        writer.set_route(route);
        writer.publish();
        assert!(take(&table).is_err());
    }

    #[test]
    fn only_a_sha_256_is_a_digest() {
        assert_eq!(digest_bytes(&"0f".repeat(32)), Some([15; 32]));
        assert_eq!(digest_bytes(&"0f".repeat(31)), None);
        assert_eq!(digest_bytes(&"0g".repeat(32)), None);
        assert_eq!(digest_bytes(&"0f".repeat(33)), None);
    }
}
