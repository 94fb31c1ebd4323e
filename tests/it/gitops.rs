//! What people write in Git stays as they wrote it: the operator has a hand in the status and in nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use serde_json::{Value, json};

use crate::support::kubectl::{difference, kubectl};
use crate::support::kubelet::Kubelet;
use crate::support::operator::Operator;
use crate::support::place::{Place, setting};
use crate::support::waits::DEADLINE;
use crate::support::{audit, schema, specs};

/// Documents that are made by chance, of both kinds.
const MADE: usize = 500;

/// Looks in a row, a second apart, that must show the same.
const SAME_LOOKS: usize = 3;

/// A way to apply, and whom the API server takes for the writer then.
struct Way {
    flags: &'static [&'static str],
    manager: &'static str,
    operation: &'static str,
}

const WAYS: [Way; 2] = [
    Way { flags: &[], manager: "kubectl-client-side-apply", operation: "Update" },
    Way { flags: &["--server-side"], manager: "kubectl", operation: "Apply" },
];

/// Documents in a file, applied to a namespace in one way.
struct Applied<'a> {
    place: &'a Place,
    way: &'a Way,
    file: PathBuf,
    /// Those of our kinds, by kind and name.
    documents: BTreeMap<(String, String), Value>,
}

impl<'a> Applied<'a> {
    async fn new(place: &'a Place, way: &'a Way, file: PathBuf, documents: Vec<Value>) -> Self {
        let key = |document: &Value| {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&document["kind"]), text(&document["metadata"]["name"]))
        };
        let documents = documents.into_iter().map(|document| (key(&document), document)).collect();
        let applied = Self { place, way, file, documents };
        kubectl(&applied.arguments(&["apply"]), "").await.unwrap();
        applied
    }

    fn arguments<'b>(&'b self, command: &[&'b str]) -> Vec<&'b str> {
        let file = self.file.to_str().unwrap();
        [command, self.way.flags, &["--namespace", &self.place.namespace, "--filename", file]].concat()
    }

    async fn objects(&self) -> BTreeMap<(String, String), DynamicObject> {
        let mut objects = all(self.place).await;
        objects.retain(|key, _| self.documents.contains_key(key));
        assert_eq!(objects.len(), self.documents.len());
        objects
    }

    /// There is nothing left to apply, and applying changes nothing.
    async fn is_the_same(&self) {
        let first = self.objects().await;
        let begin = Instant::now();
        loop {
            let before = versions(&self.objects().await);
            let said = difference(&self.arguments(&[])).await;
            if said.is_empty() {
                break;
            }
            // kubectl looks twice, and a status may be written between its looks.
            assert!(before != versions(&self.objects().await), "{said}");
            assert!(begin.elapsed() < DEADLINE, "{said}");
        }
        let said = kubectl(&self.arguments(&["apply"]), "").await.unwrap();
        let ends = if self.way.flags.is_empty() { " unchanged" } else { " serverside-applied" };
        assert!(said.lines().all(|line| line.ends_with(ends)), "{said}");
        let wrong: Vec<String> = self
            .objects()
            .await
            .iter()
            .flat_map(|(key, object)| self.changes(&self.documents[key], &first[key], object))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    /// What is not as it was written, after it was applied and after it was applied again.
    fn changes(&self, document: &Value, first: &DynamicObject, again: &DynamicObject) -> Vec<String> {
        let mut wrong = schema::lost(&document["spec"], &again.data["spec"], "spec");
        // It is 1 as long as nobody has changed the spec, not even for a moment.
        if (first.metadata.generation, again.metadata.generation) != (Some(1), Some(1)) {
            wrong.push(format!("generations {:?} and {:?}", first.metadata.generation, again.metadata.generation));
        }
        let mut annotations = again.annotations().clone();
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        let written = |field: &str| document["metadata"].get(field).cloned().unwrap_or(json!({}));
        for (field, there) in [("labels", again.labels()), ("annotations", &annotations)] {
            if written(field) != json!(there) {
                wrong.push(format!("{field} {} are {there:?}", written(field)));
            }
        }
        if !again.finalizers().is_empty() || !again.owner_references().is_empty() {
            wrong.push(format!("{:?} and {:?}", again.finalizers(), again.owner_references()));
        }
        if self.own(again).len() != 1 {
            wrong.push(format!("written by {:?}", again.managed_fields()));
        } else if self.own(first) != self.own(again) {
            wrong.push("written anew by the second apply".to_owned());
        }
        let (own, others): (Vec<_>, Vec<_>) = again.managed_fields().iter().partition(|entry| self.is_own(entry));
        if own.iter().any(|entry| fields(entry).contains("f:status")) {
            wrong.push(format!("a status written by {own:?}"));
        }
        if others.is_empty() {
            wrong.push("nobody wrote a status".to_owned());
        }
        for entry in others {
            if entry.subresource.as_deref() != Some("status") || fields(entry) != BTreeSet::from(["f:status"]) {
                wrong.push(format!("another writer: {entry:?}"));
            }
        }
        let name = again.name_any();
        wrong.into_iter().map(|wrong| format!("{name}: {wrong}")).collect()
    }

    fn is_own(&self, entry: &ManagedFieldsEntry) -> bool {
        entry.manager.as_deref() == Some(self.way.manager)
            && entry.operation.as_deref() == Some(self.way.operation)
            && entry.subresource.is_none()
    }

    /// What the API server knows of those who apply, its time included.
    fn own<'b>(&self, object: &'b DynamicObject) -> Vec<&'b ManagedFieldsEntry> {
        object.managed_fields().iter().filter(|entry| self.is_own(entry)).collect()
    }
}

/// The uppermost fields that somebody wrote.
fn fields(entry: &ManagedFieldsEntry) -> BTreeSet<&str> {
    entry.fields_v1.as_ref().unwrap().0.as_object().unwrap().keys().map(String::as_str).collect()
}

fn versions(objects: &BTreeMap<(String, String), DynamicObject>) -> Vec<Option<String>> {
    objects.values().map(ResourceExt::resource_version).collect()
}

async fn all(place: &Place) -> BTreeMap<(String, String), DynamicObject> {
    let mut objects = BTreeMap::new();
    for resource in [ApiResource::erase::<OnlineEndpoint>(&()), ApiResource::erase::<OnlineDeployment>(&())] {
        let api: Api<DynamicObject> = Api::namespaced_with(place.client.clone(), &place.namespace, &resource);
        let there = api.list(&ListParams::default()).await.unwrap().items;
        objects.extend(there.into_iter().map(|object| ((resource.kind.clone(), object.name_any()), object)));
    }
    objects
}

/// Waits until this is so of every object of ours.
async fn until_all(place: &Place, what: &str, is_so: impl Fn(&DynamicObject) -> bool) {
    let begin = Instant::now();
    loop {
        let objects = all(place).await;
        let late: Vec<_> = objects.values().filter(|object| !is_so(object)).collect();
        if late.is_empty() {
            return;
        }
        assert!(begin.elapsed() < DEADLINE, "{} objects are not {what}, as {:#?}", late.len(), late[0]);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until nothing is written any more: no two of our objects may go on and on about each other.
async fn until_at_rest(place: &Place) {
    let begin = Instant::now();
    let (mut before, mut same) = (BTreeMap::new(), 0);
    while same < SAME_LOOKS {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = all(place).await;
        same = if versions(&now) == versions(&before) { same + 1 } else { 0 };
        let moving: Vec<_> = now
            .iter()
            .filter(|(key, object)| {
                before.get(*key).is_none_or(|old: &DynamicObject| old.resource_version() != object.resource_version())
            })
            .map(|(key, _)| key)
            .collect();
        assert!(begin.elapsed() < DEADLINE, "these never come to rest: {moving:?}");
        before = now;
    }
}

fn is_observed(object: &DynamicObject) -> bool {
    object.data["status"]["observedGeneration"].as_i64() == object.metadata.generation
}

fn is_ready(object: &DynamicObject) -> bool {
    let conditions = object.data["status"]["conditions"].as_array();
    let is_true = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
    is_observed(object) && conditions.is_some_and(|conditions| conditions.iter().any(is_true))
}

/// All that the operator has written to our objects went to their status, whatever became of it.
fn only_statuses_were_written(place: &Place) {
    let ours = |object: &str| object.starts_with("onlineendpoints/") || object.starts_with("onlinedeployments/");
    let requests = audit::requests(&place.namespace);
    let writes: Vec<_> = requests.iter().filter(|request| request.is_write() && ours(request.object())).collect();
    assert!(!writes.is_empty(), "the audit log knows of no writes");
    let others: Vec<_> = writes.iter().filter(|request| !request.object().ends_with(" status")).collect();
    assert!(others.is_empty(), "{others:#?}");
}

#[test]
fn no_field_and_no_form_of_it_is_left_out_of_what_is_made() {
    let documents = specs::documents(MADE);
    for kind in ["OnlineEndpoint", "OnlineDeployment"] {
        let schema = schema::of_spec(&format!("{}s", kind.to_lowercase()));
        let mut expected = schema::forms(&schema, "");
        // Code without a place is refused.
        expected.remove("codeConfiguration.code is empty");
        for half in 0..WAYS.len() {
            let specs = half_of(&documents, half).filter(|document| document["kind"] == kind);
            let made: BTreeSet<String> =
                specs.flat_map(|document| schema::forms_in(&document["spec"], &schema, "")).collect();
            let missed: Vec<_> = expected.difference(&made).collect();
            assert!(missed.is_empty(), "{kind}, half {half}: {missed:#?}");
        }
    }
}

/// The documents for one of the ways: of each kind as many.
fn half_of(documents: &[Value], half: usize) -> impl Iterator<Item = &Value> {
    documents.chunks(2).skip(half).step_by(WAYS.len()).flatten()
}

#[tokio::test]
async fn whatever_is_applied_stays_as_it_was_written() {
    let place = Place::new("gitops").await;
    let operator = Operator::start(&place.namespace, setting("MOORING_TEST_KUBECONFIG").as_ref());
    let folder = tempfile::tempdir().unwrap();
    let documents = specs::documents(MADE);
    let halves = futures::future::join_all(WAYS.iter().enumerate().map(|(index, way)| {
        let file = folder.path().join(format!("{index}.json"));
        let half: Vec<Value> = half_of(&documents, index).cloned().collect();
        std::fs::write(&file, json!({"apiVersion": "v1", "kind": "List", "items": half}).to_string()).unwrap();
        Applied::new(&place, way, file, half)
    }))
    .await;
    until_all(&place, "observed", is_observed).await;
    until_at_rest(&place).await;
    assert_eq!(halves.iter().map(|half| half.documents.len()).sum::<usize>(), MADE);
    futures::future::join_all(halves.iter().map(Applied::is_the_same)).await;
    only_statuses_were_written(&place);
    operator.stop().await;
    place.done().await;
}

/// YAML with documents of our kinds among others, and from where it is.
async fn samples() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut samples = Vec::new();
    let mut folders = vec![root.join("deploy/samples"), root.join("deploy/gitops")];
    while let Some(folder) = folders.pop() {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.ends_with("kustomization.yaml") {
                let rendered = kubectl(&["kustomize", folder.to_str().unwrap()], "").await.unwrap();
                samples.push((entry.display().to_string(), rendered));
            } else if entry.extension().is_some_and(|extension| extension == "yaml") {
                files.push(std::fs::read_to_string(entry).unwrap());
            }
        }
        files.retain(|text| !ours(text).is_empty());
        samples.push((folder.display().to_string(), files.join("\n---\n")));
    }
    let pages = std::fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for page in pages.chain([root.join("README.md")]).filter(|page| page.extension().is_some_and(|end| end == "md")) {
        let text = std::fs::read_to_string(&page).unwrap();
        let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let blocks: Vec<_> = blocks.filter(|block| !ours(block).is_empty()).collect();
        samples.push((page.display().to_string(), blocks.join("\n---\n")));
    }
    samples.retain(|(_, text)| !ours(text).is_empty());
    samples
}

/// The documents of our kinds in a text.
fn ours(text: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let is_ours = |document: &Value| {
        document["apiVersion"].as_str().is_some_and(|version| version.starts_with("mooring.dev/"))
            && document["kind"].as_str().is_some_and(|kind| kind.starts_with("Online"))
    };
    documents.into_iter().filter(is_ours).collect()
}

#[tokio::test]
async fn every_sample_stays_as_it_was_written() {
    let samples = samples().await;
    let count = |of: &str| samples.iter().filter(|(from, _)| from.contains(of)).count();
    assert_eq!((count("README.md"), count("kustomization.yaml")), (1, 1), "{samples:#?}");
    let folder = tempfile::tempdir().unwrap();
    for (from, text) in samples {
        for way in &WAYS {
            eprintln!("{from} {:?}", way.flags);
            let place = Place::new("samples").await;
            let kubelet = Kubelet::start(&place).await;
            let operator = Operator::start(&place.namespace, setting("MOORING_TEST_KUBECONFIG").as_ref());
            let file = folder.path().join("sample.yaml");
            std::fs::write(&file, &text).unwrap();
            let applied = Applied::new(&place, way, file, ours(&text)).await;
            until_all(&place, "ready", is_ready).await;
            applied.is_the_same().await;
            only_statuses_were_written(&place);
            operator.stop().await;
            place.done().await;
            kubelet.stop().await;
        }
    }
}
