//! What the doctor says of a cluster where something is missing; `helm test` shows one where nothing is.

use serde_json::Value;

use crate::cluster::iris;
use crate::program::{mooring, run};

#[tokio::test]
async fn what_is_missing_is_found_with_a_number_and_a_next_step() {
    let place = iris("first").await;
    let namespace = place.namespace.as_str();
    // Nobody has installed the chart here.
    let asked = ["doctor", "--system-namespace", namespace];
    let ended = mooring(&place, &[&asked[..], &["-o", "json"]].concat()).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    assert!(ended.said.contains("4 of the findings"), "{ended}");
    let findings: Vec<Value> = serde_json::from_str(&ended.data).unwrap();
    let verdicts: Vec<String> =
        findings.iter().map(|it| format!("{} {}", it["number"], it["verdict"]).replace('"', "")).collect();
    assert_eq!(
        verdicts,
        [
            "M001 ok",
            "M002 ok",
            "M003 failed",
            "M004 failed",
            "M005 warning",
            "M006 failed",
            "M007 failed",
            "M008 ok",
            "M009 warning"
        ]
    );
    assert!(findings[8]["message"].as_str().unwrap().contains("iris-blue (ERR_1200 ImageNotFound)"), "{ended}");
    let silent = |it: &&Value| it["verdict"] != "ok" && it["nextStep"].as_str().is_none_or(str::is_empty);
    assert_eq!(findings.iter().find(silent), None, "every one says what to do");
    let table = mooring(&place, &asked).await;
    assert!(table.data.starts_with("NUMBER  CHECK"), "{table}");
    assert!(table.data.contains("\nM004: No replica writes"), "{table}");
    // A webhook that is asked for and not there is more than a pity.
    let required = mooring(&place, &[&asked[..], &["--webhook", "-o", "json"]].concat()).await;
    assert!(required.said.contains("5 of the findings"), "{required}");
    place.done().await;
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_the_only_finding() {
    let nowhere = tempfile::NamedTempFile::new().unwrap();
    let document = serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "a",
        "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "users": [{"name": "a", "user": {}}],
    });
    serde_json::to_writer(&nowhere, &document).unwrap();
    let path = nowhere.path().to_str().unwrap();
    let ended = run(&["doctor", "--kubeconfig", path, "-o", "json"], "").await;
    assert_eq!(ended.code, Some(1), "{ended}");
    let findings: Vec<Value> = serde_json::from_str(&ended.data).unwrap();
    assert_eq!(findings.len(), 1, "{ended}");
    assert_eq!((&findings[0]["number"], &findings[0]["verdict"]), (&"M001".into(), &"failed".into()), "{ended}");
}
