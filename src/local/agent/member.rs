//! One deployment of the endpoint: its plan carried out, its instances brought to life and taken away.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PodSpec;
use tokio::task::JoinHandle;

use crate::api::deployment::{OnlineDeployment, OnlineDeploymentStatus};
use crate::api::endpoint::OnlineEndpoint;
use crate::api::instance_type::built_in;
use crate::local::annotation::{BUILD_CONTEXT, DOCKERFILE, GPUS, OF_TEMPLATE, RESTARTED_AT};
use crate::local::folder::{self, DeploymentFolder, FolderError};
use crate::local::instance::view::View;
use crate::local::instance::{self, Blueprint, Handle, Order, Shared, download};
use crate::local::rollout::{self, Standing, Step};
use crate::local::{evidence, host_path};
use crate::plan::change::{Change, Child, digest};
use crate::plan::quota::Claims;
use crate::plan::seen::{Found, SeenDeployment, SeenOwner};
use crate::plan::{Config, deployment, download as downloads};

/// Time that a server has to end after SIGTERM, as in a cluster.
const GRACE: Duration = Duration::from_secs(30);

/// One deployment.
pub(super) struct Member {
    name: String,
    place: DeploymentFolder,
    /// As the user wrote it; `None` when it is deleted.
    pub(super) object: Option<Arc<OnlineDeployment>>,
    workload: Option<Deployment>,
    status: Option<OnlineDeploymentStatus>,
    instances: BTreeMap<u32, Handle>,
    leaving: HashSet<u32>,
}

impl Member {
    pub(super) fn new(name: String, place: DeploymentFolder) -> Self {
        Self {
            name,
            object: None,
            workload: folder::read_json(&place.workload()).ok().flatten(),
            status: folder::read(&place.status()).ok().flatten(),
            instances: BTreeMap::new(),
            leaving: HashSet::new(),
            place,
        }
    }

    /// Whether nothing of it is left.
    pub(super) fn is_gone(&self) -> bool {
        self.object.is_none() && self.instances.is_empty()
    }

    /// Whether it is known of every instance whether its container runs.
    pub(super) fn is_found(&self) -> bool {
        self.instances.values().all(|handle| *handle.found.borrow())
    }

    /// Whether an instance of this name is its own.
    pub(super) fn has(&self, instance: &str) -> bool {
        self.instances.values().any(|handle| handle.view.borrow().name == instance)
    }

    /// Looks at its files and its instances, decides and acts.
    pub(super) fn pass(
        &mut self,
        endpoint: &Arc<OnlineEndpoint>,
        config: &Config,
        shared: &Shared,
    ) -> Result<(), FolderError> {
        self.instances.retain(|_, handle| !handle.task.is_finished());
        self.leaving.retain(|number| self.instances.contains_key(number));
        let Some(object) = folder::read::<OnlineDeployment>(&self.place.object())? else {
            return self.leave();
        };
        if self.object.as_ref().is_some_and(|before| before.metadata.uid != object.metadata.uid) {
            // Another one of this name.
            (self.workload, self.status) = (None, None);
        }
        self.object = Some(Arc::new(object.clone()));
        self.adopt(shared);
        let status = self.decide(object, endpoint, config, shared)?;
        if self.status.as_ref() != Some(&status) {
            folder::write(&self.place.status(), &status)?;
            self.status = Some(status);
        }
        Ok(())
    }

    /// It is deleted: its instances finish what they have.
    fn leave(&mut self) -> Result<(), FolderError> {
        self.object = None;
        for (number, handle) in &self.instances {
            handle.order.send_replace(Order::Leave);
            self.leaving.insert(*number);
        }
        if self.instances.is_empty() { folder::remove(self.place.path()) } else { Ok(()) }
    }

    /// Ends all instances; the tasks tell when nothing is left.
    pub(super) fn end(&mut self, order: Order) -> Vec<JoinHandle<()>> {
        let handles = std::mem::take(&mut self.instances);
        let tell = |handle: Handle| {
            handle.order.send_replace(order);
            handle.task
        };
        handles.into_values().map(tell).collect()
    }

    /// The instances that do not leave.
    fn views(&self) -> Vec<View> {
        let stays = |(number, _): &(&u32, &Handle)| !self.leaving.contains(*number);
        self.instances.iter().filter(stays).map(|(_, handle)| handle.view.borrow().clone()).collect()
    }

    /// Brings to life what an agent before this one has left.
    fn adopt(&mut self, shared: &Shared) {
        if !self.instances.is_empty() {
            return;
        }
        for blueprint in self.blueprints() {
            tracing::info!(instance = blueprint.name(), "found again");
            self.instances.insert(blueprint.number, instance::spawn(blueprint, shared.clone()));
        }
    }

    /// What the instances were made from, as it was kept.
    fn blueprints(&self) -> Vec<Blueprint> {
        let views = super::views(&self.place);
        views.iter().filter_map(|view| folder::read_json(&self.place.blueprint(&view.name)).ok().flatten()).collect()
    }

    fn decide(
        &mut self,
        object: OnlineDeployment,
        endpoint: &Arc<OnlineEndpoint>,
        config: &Config,
        shared: &Shared,
    ) -> Result<OnlineDeploymentStatus, FolderError> {
        let mut object = host_path::as_claim(object);
        object.status.clone_from(&self.status);
        let object = Arc::new(object);
        let mut plan = deployment::plan(super::now(), config, &self.seen(&object, endpoint));
        let wanted = plan.changes.drain(..).find_map(|change| match change {
            Change::Apply(Child::Deployment(deployment)) => Some(*deployment),
            _ => None,
        });
        if let Some(mut wanted) = wanted {
            let before = self.workload.as_ref().and_then(|workload| workload.metadata.generation);
            wanted.metadata.generation = Some(before.unwrap_or(0) + 1);
            wanted.metadata.uid.clone_from(&object.metadata.uid);
            folder::write_json(&self.place.workload(), &wanted)?;
            self.workload = Some(wanted);
            plan = deployment::plan(super::now(), config, &self.seen(&object, endpoint));
        }
        self.roll(&object, shared)?;
        Ok(plan.status)
    }

    fn seen(&self, object: &Arc<OnlineDeployment>, endpoint: &Arc<OnlineEndpoint>) -> SeenDeployment {
        let views = self.views();
        let workload = self.workload.clone();
        let revision = workload.as_ref().and_then(|workload| revision(workload, object));
        let progress: Vec<_> = self.instances.values().filter_map(|handle| download::progress(&handle.desk)).collect();
        SeenDeployment {
            object: Arc::clone(object),
            endpoint: SeenOwner::Present(Arc::clone(endpoint)),
            has_service_account: true,
            user_account: Some(BTreeMap::new()),
            rival: None,
            instance_type: built_in(&object.spec.instance_type),
            quotas: Vec::new(),
            claims: Claims::default(),
            replica_sets: revision.iter().map(|revision| evidence::replica_set(revision)).collect(),
            deployment: workload.zip(revision).map_or(Found::Absent, |(workload, revision)| {
                Found::Ours(Arc::new(evidence::deployment(workload, &revision, &views)))
            }),
            service: Found::Absent,
            pods: views.iter().map(evidence::pod).collect(),
            download: downloads::of(&progress),
            tainted_nodes: None,
            notes: evidence::notes(&views),
            pull_secrets: BTreeMap::new(),
        }
    }

    /// Makes instances and takes them away, as the rollout says.
    fn roll(&mut self, object: &OnlineDeployment, shared: &Shared) -> Result<(), FolderError> {
        let Some((pod, wanted, revision)) = self.workload.as_ref().and_then(|workload| {
            let spec = workload.spec.as_ref()?;
            Some((spec.template.spec.clone()?, spec.replicas.unwrap_or(1), revision(workload, object)?))
        }) else {
            return Ok(());
        };
        let standing: Vec<Standing> = self
            .views()
            .iter()
            .map(|view| Standing { number: view.number, is_current: view.revision == revision, is_ready: view.ready })
            .collect();
        let taken: Vec<u32> = self.instances.keys().copied().collect();
        let Step { make, take_away } = rollout::step(wanted, object.spec.rollout, &standing, &taken);
        for number in take_away {
            if let Some(handle) = self.instances.get(&number) {
                tracing::info!(instance = handle.view.borrow().name, "taking it away");
                handle.order.send_replace(Order::Leave);
                self.leaving.insert(number);
                shared.changed.notify_one();
            }
        }
        for number in make {
            let blueprint = blueprint(&self.name, &self.place, object, &pod, &revision, number);
            let name = blueprint.name();
            tracing::info!(instance = name, "making it");
            // What an earlier one of this name has left says nothing of this one.
            folder::remove(&self.place.instance(&name))?;
            folder::write_json(&self.place.blueprint(&name), &blueprint)?;
            self.instances.insert(number, instance::spawn(blueprint, shared.clone()));
        }
        Ok(())
    }

    /// Where the instances are that can serve, by a port of the container.
    pub(super) fn addresses(&self, port: i32) -> Vec<std::net::SocketAddr> {
        let port = u16::try_from(port).unwrap_or_default();
        let serves = |number: &u32, handle: &Handle| !self.leaving.contains(number) && handle.view.borrow().ready;
        let ready = self.instances.iter().filter(|(number, handle)| serves(number, handle));
        ready.filter_map(|(_, handle)| handle.addresses.borrow().get(&port).copied()).collect()
    }

    /// The object with its status, as its endpoint sees it.
    pub(super) fn with_status(&self) -> Option<OnlineDeployment> {
        let mut object = (**self.object.as_ref()?).clone();
        object.status.clone_from(&self.status);
        Some(object)
    }
}

/// The digest of everything that an instance is made from.
fn revision(workload: &Deployment, object: &OnlineDeployment) -> Option<String> {
    let template = &workload.spec.as_ref()?.template;
    let annotations = object.metadata.annotations.as_ref();
    let local: BTreeMap<&str, &String> =
        OF_TEMPLATE.iter().filter_map(|key| Some((*key, annotations?.get(*key)?))).collect();
    Some(digest(&(&template.spec, local)))
}

fn blueprint(
    name: &str,
    place: &DeploymentFolder,
    object: &OnlineDeployment,
    pod: &PodSpec,
    revision: &str,
    number: u32,
) -> Blueprint {
    let annotation = |key: &str| object.metadata.annotations.as_ref().and_then(|all| all.get(key)).cloned();
    let timeout = u64::try_from(object.spec.request_settings.request_timeout_ms).unwrap_or_default();
    Blueprint {
        endpoint: object.spec.endpoint_name.clone(),
        deployment: name.to_owned(),
        revision: revision.to_owned(),
        place: place.path().to_owned(),
        number,
        pod: pod.clone(),
        build: annotation(BUILD_CONTEXT)
            .map(|context| (PathBuf::from(context), annotation(DOCKERFILE).unwrap_or_else(|| "Dockerfile".to_owned()))),
        gpus: annotation(GPUS).and_then(|gpus| if gpus == "all" { Some(-1) } else { gpus.parse().ok() }),
        start: annotation(RESTARTED_AT).unwrap_or_else(|| "first".to_owned()),
        drain: Duration::from_millis(timeout),
        grace: GRACE,
    }
}
