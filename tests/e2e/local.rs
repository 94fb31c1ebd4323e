//! The scikit-learn sample on this machine's engine: Azure's own files, Azure's server, a real model.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::program::{Ended, run_with};
use crate::support::place::setting;

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples/sklearn");

/// Trains the model with the very image that serves it.
fn train(models: &Path) {
    use std::os::unix::fs::PermissionsExt;
    // The image's user is another.
    std::fs::set_permissions(models, std::fs::Permissions::from_mode(0o777)).unwrap();
    let trained = Command::new("docker")
        .args(["run", "--rm", "--volume", &format!("{SAMPLE}:/code:ro"), "--volume"])
        .arg(format!("{}:/models", models.display()))
        .args([
            "--entrypoint",
            "python3",
            &setting("MOORING_TEST_SKLEARN_IMAGE"),
            "/code/train.py",
            "/models/iris.joblib",
        ])
        .output()
        .unwrap();
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));
}

fn deployment(name: &str) -> String {
    let image = setting("MOORING_TEST_SKLEARN_IMAGE");
    format!(
        "$schema: https://azuremlschemas.azureedge.net/latest/managedOnlineDeployment.schema.json\n\
         name: {name}\nendpoint_name: iris-local\nmodel:\n  path: ./model/\n\
         code_configuration:\n  code: ./src/\n  scoring_script: score.py\n\
         environment:\n  image: {image}\ninstance_type: Standard_DS3_v2\ninstance_count: 1\n"
    )
}

#[tokio::test]
async fn the_sample_is_made_asked_changed_read_and_deleted() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for folder in ["src", "model"] {
        std::fs::create_dir(at(folder)).unwrap();
    }
    train(&at("model"));
    std::fs::copy(Path::new(SAMPLE).join("score.py"), at("src/score.py")).unwrap();
    std::fs::write(at("endpoint.yml"), "name: iris-local\nauth_mode: key\n").unwrap();
    for name in ["blue", "green"] {
        std::fs::write(at(name).with_extension("yml"), deployment(name)).unwrap();
    }
    let state = at("state").display().to_string();
    let run = async |line: &str| -> Ended {
        let words: Vec<&str> = line.split(' ').chain(["--local"]).collect();
        let ended = run_with(&words, "", &[("MOORING_LOCAL_STATE", &state)]).await;
        assert_eq!(ended.code, Some(0), "{line}: {ended}");
        ended
    };
    let file = |name: &str| at(name).display().to_string();
    let invoke = format!("endpoint invoke -n iris-local --request-file {SAMPLE}/request.json");

    run(&format!("endpoint create -f {}", file("endpoint.yml"))).await;
    run(&format!("deployment create -f {} --all-traffic", file("blue.yml"))).await;
    assert_eq!(run(&invoke).await.data, "[0, 2]\n");
    let log = run("deployment get-logs -e iris-local -n blue -l 200").await.data;
    assert!(log.contains("loaded /var/azureml-app/azureml-models/"), "{log}");

    // An edit of the script.
    let script = std::fs::read_to_string(at("src/score.py")).unwrap();
    std::fs::write(at("src/score.py"), script.replace("return model.predict(data).tolist()", "return len(data)"))
        .unwrap();
    run("deployment restart -e iris-local -n blue").await;
    assert_eq!(run(&invoke).await.data, "2\n");

    // A second deployment gets a part.
    run(&format!("deployment create -f {}", file("green.yml"))).await;
    let split = run("endpoint traffic -n iris-local blue=90 green=10 -o json").await;
    let split: Value = serde_json::from_str(&split.data).unwrap();
    assert_eq!((&split[0]["inForce"], &split[1]["inForce"]), (&Value::from(90), &Value::from(10)));
    assert_eq!(run(&format!("{invoke} -d green")).await.data, "2\n");

    run("endpoint delete -n iris-local --yes").await;
    assert!(!at("state").join("iris-local").exists());
}
