//! The webhook's place in the cluster: what it may know, its certificate, and its registration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::cache::Guarded;
use super::claim::Claim;
use super::observe::Observer;
use super::place::Place;
use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::instance_type::{InstanceType, InstanceTypeSpec, built_in};
use crate::api::label::{self, MANAGER};
use crate::plan::admission::{AroundDeployment, AroundEndpoint};
use crate::plan::seen::SeenKeys;
use crate::process::readiness::Readiness;
use crate::webhook::certificate::{Period, Stock};
use crate::webhook::registration::{self, Reached};
use crate::webhook::review::{Cluster, Source, TrafficGuard};
use crate::webhook::serve::{self, CertificateError, Shown};

/// The part of the operator's readiness that this sets.
pub const WEBHOOK: &str = "webhook";

/// The longest pause between two looks at Secret and registration.
const LOOK: Duration = Duration::from_mins(1);
/// Pause before what is missing is looked for again.
const RETRY: Duration = Duration::from_secs(1);
/// How long before the first question an instance has been ready: until then the nodes have its address.
const SETTLED: Duration = Duration::from_secs(5);
/// How long questions are answered after the order to end.
const LINGER: Duration = Duration::from_secs(5);
/// Where a Secret holds certificate, key and authorities; cert-manager's names.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITIES: &str = "ca.crt";
/// Where it holds what the certificates are made from.
const STOCK: &str = "stock.json";

/// How the webhook runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The Secret of its certificate, which exists.
    pub secret: Place,
    /// The `ValidatingWebhookConfiguration`, which exists, for us to fill.
    pub configuration: String,
    /// How the API server reaches it.
    pub reached: Reached,
    /// How long a certificate is shown; somebody else makes them without.
    pub period: Option<Period>,
    /// The only namespace whose objects are asked about; all without it.
    pub namespace: Option<String>,
    /// What is said when a deployment with live traffic is deleted.
    pub guard: TrafficGuard,
}

impl Cluster for Observer {
    fn around_deployment<'a>(
        &'a self,
        object: &'a OnlineDeployment,
        source: Source,
    ) -> BoxFuture<'a, Result<AroundDeployment, kube::Error>> {
        async move {
            let namespace = object.namespace().unwrap_or_default();
            let (endpoint, kind) = (&object.spec.endpoint_name, &object.spec.instance_type);
            let (names, watched) =
                (self.watched_names(&namespace, endpoint), self.watched_namesakes(&namespace, object));
            let (endpoint, namesakes, instance_type) = match source {
                Source::Watched => (self.watched_endpoint(&namespace, endpoint), watched, self.instance_type(kind)),
                Source::Asked => {
                    let client = self.client();
                    let endpoints = Api::<Guarded<OnlineEndpoint>>::namespaced(client.clone(), &namespace);
                    let kinds = Api::<Guarded<InstanceType>>::all(client.clone());
                    let endpoint = endpoints.get_opt(endpoint).await?.and_then(|it| it.0.ok()).map(Arc::new);
                    let kind = match kinds.get_opt(kind).await? {
                        Some(found) => found.0.ok().map(|found| found.spec),
                        None => built_in(kind),
                    };
                    let mut namesakes = Vec::new();
                    for known in watched {
                        namesakes.extend(ask_deployment(client, &namespace, &known.name_any()).await?);
                    }
                    (endpoint, namesakes, kind)
                }
            };
            let (quotas, claims) = (self.quotas(&namespace), self.claims(&namespace));
            Ok(AroundDeployment { endpoint, namesakes, names, instance_type, quotas, claims })
        }
        .boxed()
    }

    fn around_endpoint<'a>(
        &'a self,
        object: &'a OnlineEndpoint,
        source: Source,
    ) -> BoxFuture<'a, Result<AroundEndpoint, kube::Error>> {
        async move {
            let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
            let keys = match (&object.spec.keys_secret_name, source) {
                (None, _) => SeenKeys::Absent,
                (Some(secret), Source::Asked) => self.ask_secret(&namespace, secret).await?,
                (Some(secret), Source::Watched) => match self.watched_secret(&namespace, secret).await? {
                    // One that was made just before, as in the same file.
                    SeenKeys::Absent => self.ask_secret(&namespace, secret).await?,
                    known => known,
                },
            };
            // What they say of deployments are only warnings.
            let names = self.watched_names(&namespace, &name);
            let (quotas, claims) = (self.quotas(&namespace), self.claims(&namespace));
            Ok(AroundEndpoint { names, keys, quotas, claims })
        }
        .boxed()
    }

    fn instance_type(&self, name: &str) -> Option<InstanceTypeSpec> {
        self.instance_type(name)
    }

    fn is_namespace_going<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, kube::Error>> {
        async move {
            let namespace = Api::<Namespace>::all(self.client().clone()).get_opt(name).await?;
            Ok(namespace.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
        }
        .boxed()
    }
}

/// A deployment as it is now, when it is there and can be read. A list of one: that takes no right beside what watches have.
async fn ask_deployment(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<Arc<OnlineDeployment>>, kube::Error> {
    let deployments = Api::<Guarded<OnlineDeployment>>::namespaced(client.clone(), namespace);
    let found = deployments.list(&ListParams::default().fields(&format!("metadata.name={name}"))).await?;
    Ok(found.items.into_iter().find_map(|it| it.0.ok()).map(Arc::new))
}

/// The ways to the API server.
pub(super) struct Clients {
    /// Writes only while this replica leads.
    pub leading: Client,
    /// Always writes: for what any replica may make, and only one makes.
    pub any: Client,
}

/// Answers on `listener`, and goes on for a moment after `shutdown`: the API server hears only then that others are to be
/// asked.
pub(super) async fn run(
    listener: TcpListener,
    settings: Settings,
    clients: Clients,
    claim: Claim,
    observer: Observer,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    let (shown, closed, guard) = (Arc::new(Shown::default()), CancellationToken::new(), settings.guard);
    let lingering = async {
        shutdown.cancelled().await;
        tokio::time::sleep(LINGER).await;
        closed.cancel();
    };
    let kept = keep(clients, settings, claim, Arc::clone(&shown), readiness, shutdown.clone());
    let served = serve::serve(listener, shown, Arc::new(observer), guard, shutdown.clone(), closed.clone());
    let ((), (), served) = tokio::join!(kept, lingering, served);
    if let Err(error) = served {
        tracing::error!(%error, "the webhook can't be served");
    }
}

/// Why the webhook is not as it should be.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the Secret has no certificate yet")]
    NoCertificate,
    #[error("another replica was quicker to write the Secret")]
    Overtaken,
    #[error("no replica can be reached yet")]
    NotReached,
    #[error("what the Secret holds can't be read")]
    Stock(#[from] serde_json::Error),
    #[error("making a certificate failed")]
    Make(#[from] rcgen::Error),
    #[error(transparent)]
    Show(#[from] CertificateError),
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Keeps certificate and registration as they should be until `shutdown`: the first certificate and what is shown by every
/// replica, the rest by whoever leads.
async fn keep(
    clients: Clients,
    settings: Settings,
    claim: Claim,
    shown: Arc<Shown>,
    readiness: Readiness,
    shutdown: CancellationToken,
) {
    let mut last = None;
    let mut complaint = String::new();
    loop {
        let turn = async {
            let held = certificate(&clients, &settings, &claim).await?;
            if last.as_ref() != Some(&held) {
                shown.show(&held.certificate, &held.key)?;
                tracing::info!("new connections to the webhook get another certificate");
                readiness.set(WEBHOOK, true);
            }
            let trusted = String::from_utf8_lossy(&held.authorities).into_owned();
            last = Some(held);
            if claim.is_held() { register(&clients.leading, &settings, &trusted).await } else { Ok(()) }
        };
        let pause = match turn.await {
            Ok(()) => {
                complaint.clear();
                settings.period.map_or(LOOK, |period| period.look().min(LOOK))
            }
            Err(trouble) => {
                let told = trouble.to_string();
                if complaint != told {
                    let cause = std::error::Error::source(&trouble).map(ToString::to_string);
                    tracing::warn!(%trouble, cause, "the webhook is not as it should be");
                    complaint = told;
                }
                RETRY
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.cancelled() => return,
        }
    }
}

/// What a Secret holds.
#[derive(Clone, PartialEq, Eq)]
struct Held {
    certificate: Vec<u8>,
    key: Vec<u8>,
    authorities: Vec<u8>,
}

/// What is to be shown, renewed if that is due and ours to do.
async fn certificate(clients: &Clients, settings: &Settings, claim: &Claim) -> Result<Held, Trouble> {
    let secrets = |client: &Client| Api::<Secret>::namespaced(client.clone(), &settings.secret.namespace);
    let mut secret = secrets(&clients.leading).get(&settings.secret.name).await?;
    let stored = secret.data.as_ref().and_then(|data| data.get(STOCK));
    let client = if stored.is_none() { &clients.any } else { &clients.leading };
    // The first one is made by whoever needs it: the leader may have no webhook, by its values or its age, and it ends only
    // once this replica is ready. Renewals wait for the leader.
    if let Some(period) = settings.period.filter(|_| stored.is_none() || claim.is_held()) {
        let before = match stored {
            Some(stock) => serde_json::from_slice(&stock.0)?,
            None => Stock::default(),
        };
        let stock = before.renewed(Timestamp::now(), period, &settings.reached.names())?;
        if stock != before {
            secret.data = Some(data(&stock)?);
            // It names the version that was read: nobody else's is overwritten.
            secret = match secrets(client).replace(&settings.secret.name, &PostParams::default(), &secret).await {
                Err(kube::Error::Api(status)) if status.code == 409 => return Err(Trouble::Overtaken),
                answer => answer?,
            };
            tracing::info!(secret = settings.secret.name, "renewed the webhook's certificates");
        }
    }
    let data = secret.data.unwrap_or_default();
    let of = |key: &str| data.get(key).map(|value| value.0.clone()).filter(|value| !value.is_empty());
    match (of(CERTIFICATE), of(KEY), of(AUTHORITIES)) {
        (Some(certificate), Some(key), Some(authorities)) => Ok(Held { certificate, key, authorities }),
        _ => Err(Trouble::NoCertificate),
    }
}

fn data(stock: &Stock) -> Result<BTreeMap<String, ByteString>, serde_json::Error> {
    let (certificate, key) = stock.shown().unwrap_or_default();
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    Ok(BTreeMap::from([
        (CERTIFICATE.to_owned(), bytes(certificate)),
        (KEY.to_owned(), bytes(key)),
        (AUTHORITIES.to_owned(), bytes(&stock.trusted())),
        (STOCK.to_owned(), ByteString(serde_json::to_vec(stock)?)),
    ]))
}

/// Makes the API server ask us, once somebody answers.
async fn register(client: &Client, settings: &Settings, trusted: &str) -> Result<(), Trouble> {
    let configurations = Api::<ValidatingWebhookConfiguration>::all(client.clone());
    let there = configurations.get(&settings.configuration).await?;
    let wanted = registration::webhooks(&settings.reached, trusted, settings.guard, settings.namespace.as_deref());
    let registered: &[ValidatingWebhook] = there.webhooks.as_deref().unwrap_or_default();
    if registered == wanted {
        return Ok(());
    }
    if let (true, Reached::Service { namespace, name }) = (registered.is_empty(), &settings.reached) {
        if !is_reached(client, namespace, name).await? {
            return Err(Trouble::NotReached);
        }
        tokio::time::sleep(SETTLED).await;
    }
    let patch = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        // With the uid nothing is made anew that was deleted meanwhile.
        "metadata": {"name": settings.configuration, "uid": there.uid()},
        "webhooks": wanted,
    });
    configurations.patch(&settings.configuration, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await?;
    tracing::info!(configuration = settings.configuration, "the API server asks the webhook");
    Ok(())
}

async fn is_reached(client: &Client, namespace: &str, service: &str) -> Result<bool, kube::Error> {
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), namespace);
    let of_service = ListParams::default().labels(&format!("{}={service}", label::SERVICE_NAME));
    let slices = slices.list(&of_service).await?;
    let mut endpoints = slices.items.iter().flat_map(|slice| &slice.endpoints);
    Ok(endpoints.any(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true)))
}
