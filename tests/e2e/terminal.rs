//! The command line from the first verb to the last, as a person at a terminal would go.

use std::io::Write;

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use mooring_operator::api::deployment::OnlineDeployment;
use mooring_operator::api::endpoint::OnlineEndpoint;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::program::{Ended, mooring, mooring_with};
use crate::support::documents::abrupt;
use crate::support::place::{Place, setting};

/// A file with these documents.
fn file(documents: &[Value]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    for document in documents {
        writeln!(file, "---\n{document}").unwrap();
    }
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().unwrap()
}

/// What a run came to, with its words where it did not end as it should.
fn ended(ended: &Ended, code: i32, said: &str) {
    assert_eq!(ended.code, Some(code), "{ended}");
    assert!(ended.said.contains(said), "{said:?} is missing: {ended}");
}

#[tokio::test]
async fn an_endpoint_lives_from_create_to_delete() {
    let place = Place::new("terminal").await;
    let run = |words: &'static [&'static str]| mooring(&place, words);
    let (one, two) = (setting("MOORING_TEST_ABRUPT_IMAGE_1"), setting("MOORING_TEST_ABRUPT_IMAGE_2"));
    let endpoint =
        json!({"apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": {"name": "iris"}});

    // A file with all of it; what is printed is the object alone.
    let all = file(&[endpoint, abrupt("iris", "blue", &one, 1)]);
    let made = mooring(&place, &["endpoint", "create", "-f", path(&all), "-o", "json"]).await;
    ended(&made, 0, "deployment \"blue\" of endpoint \"iris\" serves as asked, with 1/1 instances");
    let object: OnlineEndpoint = serde_json::from_str(&made.data).unwrap();
    assert!(object.status.unwrap().scoring_uri.is_some());
    ended(&mooring(&place, &["endpoint", "create", "-n", "iris"]).await, 1, "exists already");

    // Traffic: wanted and in force.
    let split = run(&["endpoint", "traffic", "-n", "iris", "blue=100"]).await;
    ended(&split, 0, "endpoint \"iris\" is ready");
    assert!(split.data.contains("blue        100     100       0         Succeeded"), "{split}");
    let invoke = ["endpoint", "invoke", "-n", "iris", "--request-file", "-"];
    assert_eq!(mooring_with(&place, &invoke, "{}").await.data, "one");
    ended(&run(&["endpoint", "traffic", "-n", "iris", "blue=90"]).await, 2, "sum to 90");

    // A second deployment takes over.
    let green = file(&[abrupt("iris", "blue", &two, 1)]);
    let made = mooring(&place, &["deployment", "create", "-f", path(&green), "-n", "green", "--all-traffic"]).await;
    ended(&made, 0, "deployment \"green\" gets all of the traffic of endpoint \"iris\"");
    assert_eq!(mooring_with(&place, &invoke, "{}").await.data, "two");
    assert_eq!(mooring_with(&place, &[&invoke[..], &["-d", "blue"]].concat(), "{}").await.data, "one");

    // More instances, new instances, and how it went.
    ended(
        &run(&["deployment", "scale", "-e", "iris", "-n", "blue", "--instance-count", "2"]).await,
        0,
        "2/2 instances",
    );
    let pods = || async {
        let all = place.api::<Pod>().list(&ListParams::default()).await.unwrap();
        all.into_iter().filter_map(|pod| pod.metadata.uid).collect::<Vec<_>>()
    };
    let before = pods().await;
    ended(&run(&["deployment", "restart", "-e", "iris", "-n", "green"]).await, 0, "every instance is replaced");
    assert!(pods().await.iter().any(|pod| !before.contains(pod)), "there is a new instance");
    ended(&run(&["deployment", "rollout", "status", "-e", "iris", "-n", "green"]).await, 0, "serves as asked");
    let logs = run(&["endpoint", "get-logs", "-n", "iris", "-d", "blue", "-l", "5", "--all-instances"]).await;
    assert_eq!(logs.data.matches("\nInstance: iris-blue-").count(), 2, "{logs}");

    // A change that can't work says why; the old instances go on.
    let bad = "environment.image=127.0.0.1:5000/no/such:1";
    let failed = mooring(&place, &["deployment", "update", "-e", "iris", "-n", "green", "--set", bad]).await;
    ended(&failed, 1, "ERR_1200 ImageNotFound: ");
    ended(&failed, 1, "next step: ");
    ended(&failed, 1, "deployment \"green\" has failed with ERR_1200 ImageNotFound");
    assert_eq!(mooring_with(&place, &invoke, "{}").await.data, "two");
    let mended = [
        "deployment",
        "update",
        "-f",
        path(&green),
        "-n",
        "green",
        "--set",
        "request_settings.request_timeout_ms=7000",
    ];
    ended(&mooring(&place, &mended).await, 0, "serves as asked");
    let changed = place.api::<OnlineDeployment>().get("iris-green").await.unwrap();
    assert_eq!((changed.spec.request_settings.request_timeout_ms, changed.spec.environment.image), (7000, two));

    // One key is new, the other one is as it was.
    let keys = || async {
        let shown = run(&["endpoint", "get-credentials", "-n", "iris", "-o", "json"]).await;
        serde_json::from_str::<Value>(&shown.data).unwrap()
    };
    let old = keys().await;
    ended(&run(&["endpoint", "regenerate-keys", "-n", "iris"]).await, 0, "primaryKey of endpoint \"iris\" is new");
    let new = keys().await;
    assert_ne!(old["primaryKey"], new["primaryKey"]);
    assert_eq!(old["secondaryKey"], new["secondaryKey"]);

    // What has traffic is not deleted, and nobody is asked without a terminal.
    ended(&run(&["deployment", "delete", "-e", "iris", "-n", "green", "-y"]).await, 1, "gets 100 % of the traffic");
    ended(&run(&["deployment", "delete", "-e", "iris", "-n", "blue"]).await, 2, "say so with --yes");
    ended(&run(&["deployment", "delete", "-e", "iris", "-n", "blue", "-y"]).await, 0, "is deleted");
    ended(&run(&["endpoint", "delete", "-n", "iris", "-y"]).await, 0, "endpoint \"iris\" is deleted");
    assert_eq!(run(&["endpoint", "list", "-o", "name"]).await.data, "");
    assert_eq!(run(&["deployment", "list", "-o", "name"]).await.data, "");
    ended(&run(&["endpoint", "delete", "-n", "iris", "-y"]).await, 3, "does not exist");
    place.done().await;
}

#[tokio::test]
async fn azures_own_files_are_deployed_as_they_are() {
    let place = Place::new("azure").await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("onlinescoring")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("onlinescoring/score.py", "def init():\n    pass\n\ndef run(data):\n    return {'got': data}\n");
    write(
        "endpoint.yml",
        "$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineEndpoint.schema.json\nname: iris\nauth_mode: key\n",
    );
    write(
        "blue.yml",
        "$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json
name: blue
endpoint_name: iris
code_configuration:
  code: onlinescoring
  scoring_script: score.py
environment: azureml:sklearn:3
instance_type: Standard_DS3_v2
instance_count: 1
resources:
  requests: {cpu: 100m, memory: 256Mi}
readiness_probe:
  initial_delay: 1
  period: 1
app_insights_enabled: true
",
    );
    let of = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    ended(&mooring(&place, &["online-endpoint", "create", "--file", &of("endpoint.yml")]).await, 0, "is ready");
    let blue = of("blue.yml");
    let create = ["online-deployment", "create", "--file", &blue, "--all-traffic"];
    ended(&mooring(&place, &create).await, 1, "--asset azureml:sklearn:3=REGISTRY/NAME:TAG");
    let image = format!("azureml:sklearn:3={}", setting("MOORING_TEST_SKLEARN_IMAGE"));
    let made = mooring(&place, &[&create[..], &["--asset", &image]].concat()).await;
    ended(&made, 0, "note: app_insights_enabled: ");
    let answer = mooring_with(&place, &["online-endpoint", "invoke", "-n", "iris", "--request-file", "-"], "7").await;
    assert_eq!(answer.data, "{\"got\": \"7\"}", "{answer}");
    let code = mooring(&place, &["code", "list", "-o", "name"]).await.data;
    assert!(code.starts_with("iris-blue-code-"), "{code}");
    ended(&mooring(&place, &["online-endpoint", "delete", "-n", "iris", "-y"]).await, 0, "is deleted");
    place.done().await;
}
