//! Files of this machine that a deployment names, on their way to a real store and a real API server.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams};
use mooring_operator::api::deployment::OnlineDeployment;
use serde_json::json;
use tempfile::TempDir;

use crate::cluster::iris;
use crate::place::{Place, setting};
use crate::program::{Ended, in_environment, run};
use crate::store;

/// A folder with files for `az ml`, and a person's own settings.
struct Desk {
    root: TempDir,
    settings: String,
}

impl Desk {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let settings = root.path().join("settings").display().to_string();
        Self { root, settings }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Writes a file, and gives its path.
    fn file(&self, path: &str, content: &str) -> String {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    async fn mooring(&self, place: &Place, arguments: &[&str]) -> Ended {
        let environment = [
            ("XDG_CONFIG_HOME", self.settings.as_str()),
            ("AWS_ACCESS_KEY_ID", "any"),
            ("AWS_SECRET_ACCESS_KEY", "S3CR3T"),
            ("AWS_ENDPOINT_URL", &store::open().endpoint),
        ];
        let ended = in_environment(place, arguments, "", &environment).await;
        assert!(!ended.said.contains("S3CR3T") && !ended.data.contains("S3CR3T"), "{ended}");
        ended
    }
}

fn document(name: &str, rest: &serde_json::Value) -> String {
    let mut document = json!({"name": name, "endpoint_name": "iris", "environment": {"image": "registry/iris:1"}});
    document.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    document.to_string()
}

async fn deployment(place: &Place, name: &str) -> OnlineDeployment {
    place.api().get(name).await.unwrap()
}

fn code_of(deployment: &OnlineDeployment) -> String {
    deployment.spec.code_configuration.clone().unwrap().code.config_map_name.unwrap()
}

async fn owners(place: &Place, config_map: &str) -> Vec<(String, String)> {
    let found: ConfigMap = place.api().get(config_map).await.unwrap();
    let owners = found.owner_references().iter();
    let mut owners: Vec<_> = owners.map(|owner| (owner.kind.clone(), owner.uid.clone())).collect();
    owners.sort();
    owners
}

fn owner(deployment: &OnlineDeployment) -> (String, String) {
    ("OnlineDeployment".to_owned(), deployment.uid().unwrap())
}

#[tokio::test]
async fn a_store_that_was_named_once_is_remembered_for_the_context() {
    let place = iris("first").await;
    let desk = Desk::new();
    desk.file("model/model.pkl", "pickle");
    let file = desk.file("red.yml", &document("red", &json!({"model": {"path": "model"}})));
    let create = ["deployment", "create", "-f", &file, "--no-wait"];

    let ended = desk.mooring(&place, &create).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(1), ""));
    assert!(ended.said.contains("where no cluster can fetch it; give --artifact-store s3://BUCKET/PREFIX"), "{ended}");

    let ended = desk.mooring(&place, &[&create[..], &["--artifact-store", "s3://uploads/cli/"]].concat()).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(0), ""), "{ended}");
    let model = deployment(&place, "iris-red").await.spec.model.unwrap();
    let sha256 = model.sha256.unwrap();
    assert_eq!(model.uri, format!("s3://uploads/cli/{sha256}/model.tar.zst"));
    assert_eq!((model.name.as_deref(), model.unpack), (Some("model"), true));
    assert!(ended.said.contains("is uploaded, ") && ended.said.contains(&model.uri), "{ended}");
    assert!(ended.said.contains("the store s3://uploads/cli is remembered for context "), "{ended}");
    let kept = fs::read_to_string(desk.path("settings/mooring/artifact-stores.yaml")).unwrap();
    assert!(kept.contains("s3://uploads/cli") && !kept.contains("any"), "{kept}");

    desk.file("model/model.pkl", "other");
    let ended = desk.mooring(&place, &["deployment", "update", "-f", &file, "--no-wait"]).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(ended.said.contains("the store s3://uploads/cli is used, as --artifact-store said before"), "{ended}");
    assert!(!ended.said.contains("is remembered"), "{ended}");
    let model = deployment(&place, "iris-red").await.spec.model.unwrap();
    assert!(model.uri.starts_with("s3://uploads/cli/") && !model.uri.contains(&sha256), "{}", model.uri);
    place.done().await;
}

#[tokio::test]
async fn nothing_is_uploaded_or_stored_for_a_deployment_that_is_there_already() {
    let place = iris("first").await;
    let desk = Desk::new();
    desk.file("model.pkl", "of nobody");
    desk.file("code/score.py", "def init(): pass");
    let code = json!({"code": "code", "scoring_script": "score.py"});
    let rest = json!({"model": {"path": "./model.pkl"}, "code_configuration": code});
    let file = desk.file("blue.yml", &document("blue", &rest));
    let create = ["deployment", "create", "-f", &file, "--no-wait", "--artifact-store", "s3://uploads/cli"];
    let ended = desk.mooring(&place, &create).await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(1), ""));
    assert!(
        ended.said.contains("deployment \"iris-blue\" exists already") && !ended.said.contains("uploaded"),
        "{ended}"
    );
    let stored = place.api::<ConfigMap>().list(&ListParams::default()).await.unwrap();
    assert!(stored.iter().all(|one| !one.name_any().starts_with("iris-blue")));
    assert!(!desk.path("settings").exists());
    place.done().await;
}

#[tokio::test]
async fn an_endpoint_is_created_with_all_that_its_deployments_need() {
    let place = Place::new("cli").await;
    let desk = Desk::new();
    desk.file("model/model.pkl", "of two");
    desk.file("code/score.py", "def init(): pass");
    let deployment = |name: &str| {
        json!({
            "name": name, "model": {"path": "model"}, "environment": {"image": "registry/iris:1"},
            "code_configuration": {"code": "code", "scoring_script": "score.py"},
        })
    };
    let all = json!({"name": "rose", "type": "online", "auth_mode": "key", "deployments": [deployment("blue"), deployment("green")]});
    let file = desk.file("rose.yml", &all.to_string());
    let create = ["endpoint", "create", "-f", &file, "--no-wait", "--artifact-store", "s3://uploads/endpoint"];
    let ended = desk.mooring(&place, &create).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(ended.said.matches("is uploaded, ").count(), 1, "{ended}");
    let (blue, green) = (self::deployment(&place, "rose-blue").await, self::deployment(&place, "rose-green").await);
    assert_eq!(blue.spec.model, green.spec.model);
    for one in [&blue, &green] {
        assert_eq!(owners(&place, &code_of(one)).await, [owner(one)]);
    }
    place.done().await;
}

#[tokio::test]
async fn an_update_of_an_endpoint_leaves_the_files_of_its_deployments_alone() {
    let place = iris("first").await;
    let desk = Desk::new();
    let deployment = json!({
        "name": "blue", "model": {"path": "./absent.pkl"}, "environment": {"image": "registry/iris:1"},
        "code_configuration": {"code": "absent", "scoring_script": "score.py"},
    });
    let all = json!({"name": "iris", "type": "online", "auth_mode": "key", "deployments": [deployment]});
    let file = desk.file("iris.yml", &all.to_string());
    let ended = desk.mooring(&place, &["endpoint", "update", "-f", &file, "--no-wait"]).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    assert!(ended.said.contains("the deployments in the file are left alone"), "{ended}");
    place.done().await;
}

#[tokio::test]
async fn code_goes_with_the_last_deployment_that_has_it() {
    let place = iris("first").await;
    let desk = Desk::new();
    desk.file("code/score.py", "def init(): pass");
    desk.file("code/.amlignore", "*.md");
    desk.file("code/notes.md", "not needed");
    let rest = json!({"code_configuration": {"code": "code", "scoring_script": "score.py"}});
    let file = desk.file("red.yml", &document("red", &rest));
    let ended = desk.mooring(&place, &["deployment", "create", "-f", &file, "--no-wait"]).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    let red = deployment(&place, "iris-red").await;
    let first = code_of(&red);
    assert_eq!(owners(&place, &first).await, [owner(&red)]);
    let stored: ConfigMap = place.api().get(&first).await.unwrap();
    assert_eq!(stored.data.unwrap().keys().collect::<Vec<_>>(), ["score.py"]);

    // A second owner, as another deployment with the same code would be.
    let mut twin = red.clone();
    twin.metadata = kube::core::ObjectMeta { name: Some("twin".to_owned()), ..Default::default() };
    twin.spec.deployment_name = Some("twin".to_owned());
    let twin = place.api::<OnlineDeployment>().create(&PostParams::default(), &twin).await.unwrap();
    let owned = json!({"metadata": {"ownerReferences": [{
        "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment", "name": "twin", "uid": twin.uid().unwrap(),
    }]}});
    let patch = kube::api::Patch::Strategic(owned);
    place.api::<ConfigMap>().patch(&first, &kube::api::PatchParams::default(), &patch).await.unwrap();

    // The same code again changes nothing of that, and other code has a ConfigMap of its own.
    let update = ["deployment", "update", "-f", &file, "--no-wait"];
    assert_eq!(desk.mooring(&place, &update).await.code, Some(0));
    let mut both = vec![owner(&red), owner(&twin)];
    both.sort();
    assert_eq!(owners(&place, &first).await, both);
    desk.file("code/score.py", "def init(): raise");
    assert_eq!(desk.mooring(&place, &update).await.code, Some(0));
    let second = code_of(&deployment(&place, "iris-red").await);
    assert_ne!(second, first);
    assert_eq!(owners(&place, &second).await, [owner(&red)]);
    // A rollback needs it.
    assert_eq!(owners(&place, &first).await, both);

    place.api::<OnlineDeployment>().delete("iris-red", &DeleteParams::default()).await.unwrap();
    gone(&place, &second).await;
    assert!(place.api::<ConfigMap>().get_opt(&first).await.unwrap().is_some());
    place.api::<OnlineDeployment>().delete("twin", &DeleteParams::default()).await.unwrap();
    gone(&place, &first).await;

    // A deployment of the same name has it again.
    desk.file("code/score.py", "def init(): pass");
    let ended = desk.mooring(&place, &["deployment", "create", "-f", &file, "--no-wait"]).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    assert_eq!(owners(&place, &first).await, [owner(&deployment(&place, "iris-red").await)]);
    place.done().await;
}

/// Waits for the garbage collector.
async fn gone(place: &Place, config_map: &str) {
    let api = place.api::<ConfigMap>();
    let gone = kube_gone(&api, config_map);
    tokio::time::timeout(Duration::from_mins(1), gone).await.unwrap_or_else(|_| panic!("{config_map} is still there"));
}

async fn kube_gone(api: &kube::Api<ConfigMap>, name: &str) {
    use futures::TryStreamExt;
    loop {
        let Some(found) = api.get_opt(name).await.unwrap() else { return };
        let parameters = kube::api::WatchParams::default().fields(&format!("metadata.name={name}")).timeout(5);
        let events = api.watch(&parameters, &found.resource_version().unwrap()).await.unwrap();
        // However it ends: the next look tells.
        let mut events = std::pin::pin!(events);
        let _ = events.try_next().await;
    }
}

#[tokio::test]
async fn the_dockerfile_of_a_conda_environment_is_written_beside_it() {
    let desk = Desk::new();
    desk.file("environment/conda.yml", "dependencies: [python=3.11]\n");
    let environment = json!({"conda_file": "environment/conda.yml", "image": "registry/base:1"});
    let file = desk.file("blue.yml", &document("blue", &json!({"environment": environment})));
    let path = desk.path("environment/conda.Dockerfile");
    let ended = run(&["convert", "-f", &file], "").await;
    assert_eq!((ended.code, ended.data.as_str()), (Some(1), ""));
    let folder = desk.path("environment").display().to_string();
    let build = format!("docker build --tag REGISTRY/NAME:TAG --file {} {folder} && docker push", path.display());
    assert!(ended.said.contains("its Dockerfile is written, as ") && ended.said.contains(&build), "{ended}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\nFROM registry/base:1\n") && text.contains("COPY [\"conda.yml\","), "{text}");

    fs::write(&path, "FROM mine\n").unwrap();
    let ended = run(&["convert", "-f", &file], "").await;
    assert!(ended.said.contains("which is left as it is, as ") && ended.said.contains(&build), "{ended}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "FROM mine\n");

    fs::remove_file(desk.path("environment/conda.yml")).unwrap();
    let ended = run(&["convert", "-f", &file], "").await;
    assert!(ended.said.contains("environment.conda_file: there is no file "), "{ended}");
}

#[tokio::test]
async fn what_is_no_store_is_an_argument_that_can_not_be_understood() {
    for (store, words) in [
        ("pvc://models/iris", "kubectl cp FOLDER POD:/PATH"),
        ("gs://models", "nothing can be uploaded to gs://models"),
        ("https://acct.blob.core.windows.net/models?sig=S3CR3T", "AZURE_STORAGE_SAS_TOKEN"),
    ] {
        let ended = run(&["convert", "-f", "-", "--artifact-store", store], "").await;
        assert_eq!(ended.code, Some(2), "{ended}");
        assert!(ended.said.contains(words), "{ended}");
    }
}

#[tokio::test]
async fn a_context_without_a_store_is_not_given_that_of_another() {
    let place = iris("first").await;
    let desk = Desk::new();
    desk.file("settings/mooring/artifact-stores.yaml", "artifactStores: {other: s3://uploads/other}\n");
    desk.file("model.pkl", "pickle");
    let file = desk.file("red.yml", &document("red", &json!({"model": {"path": "./model.pkl"}})));
    let create = ["deployment", "create", "-f", &file, "--no-wait"];
    let ended = desk.mooring(&place, &create).await;
    assert!(ended.code == Some(1) && ended.said.contains("give --artifact-store"), "{ended}");
    let context = kube::config::Kubeconfig::read_from(setting("MOORING_TEST_KUBECONFIG")).unwrap().current_context;
    desk.file("settings/mooring/artifact-stores.yaml", &format!("artifactStores: {{{}: nowhere}}\n", context.unwrap()));
    let ended = desk.mooring(&place, &create).await;
    assert!(ended.code == Some(1) && ended.said.contains("correct or remove it: "), "{ended}");
    assert!(ended.said.contains("give --artifact-store"), "{ended}");
    // Whoever names nothing of this machine is not stopped by it.
    let file = desk.file("red.yml", &document("red", &json!({})));
    let ended = desk.mooring(&place, &["deployment", "create", "-f", &file, "--no-wait"]).await;
    assert_eq!(ended.code, Some(0), "{ended}");
    place.done().await;
}
