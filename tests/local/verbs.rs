//! The verbs, typed as a person would.

use std::path::Path;

use serde_json::{Value, json};

use crate::program::{self, Ended, run_with};
use crate::support::{self, IMAGE};

/// A terminal with a folder of its own, in which nothing else is.
struct Terminal {
    root: tempfile::TempDir,
}

impl Terminal {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.root.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    async fn with(&self, line: &str, input: &str, variables: &[(&str, &str)]) -> Ended {
        let words: Vec<&str> = line.split(' ').chain(["--local"]).collect();
        let state = self.path("state");
        let variables: Vec<(&str, &str)> =
            [("MOORING_LOCAL_STATE", state.as_str())].into_iter().chain(variables.iter().copied()).collect();
        run_with(&words, input, &variables).await
    }

    /// What a line prints, which has to end well.
    async fn prints(&self, line: &str) -> Ended {
        self.ends(line, 0).await
    }

    async fn ends(&self, line: &str, code: i32) -> Ended {
        let ended = self.with(line, "", &[]).await;
        assert_eq!(ended.code, Some(code), "{line}: {ended}");
        ended
    }

    async fn asks(&self, line: &str) -> Ended {
        self.with(&format!("endpoint invoke {line} --request-file -"), "x", &[]).await
    }
}

/// Everything that an endpoint and one deployment need, in one file of ours.
fn documents(word: &str) -> String {
    let route = |path: &str| json!({"port": 5001, "path": path});
    let probe = json!({"initialDelaySeconds": 1, "periodSeconds": 1});
    let all = [
        json!({"apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": {"name": "verbs"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "words"}, "stringData": {"blue": word}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": {"score.py": "mapped"}}),
        json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment", "metadata": {"name": "verbs-blue"},
            "spec": {
                "endpointName": "verbs", "deploymentName": "blue",
                "environment": {"image": IMAGE, "inferenceConfig": {
                    "livenessRoute": route("/cgi-bin/live"), "readinessRoute": route("/cgi-bin/live"),
                    "scoringRoute": route("/cgi-bin/score"),
                }},
                "model": {"name": "iris", "version": "3", "uri": "./model"},
                "codeConfiguration": {"code": {"configMapName": "code"}, "scoringScript": "score.py"},
                "environmentVariables": [{"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "words", "key": "blue"}}}],
                "resources": {"limits": {"cpu": "1", "memory": "64Mi"}},
                "livenessProbe": probe, "readinessProbe": probe,
            },
        }),
    ];
    all.iter().flat_map(|document| ["---\n".to_owned(), document.to_string(), "\n".to_owned()]).collect()
}

fn of(ended: &Ended) -> Value {
    serde_json::from_str(&ended.data).unwrap()
}

#[tokio::test]
async fn every_verb_speaks_of_this_machine() {
    support::image().await;
    let terminal = Terminal::new();
    terminal.write("model/weights", "7");
    terminal.write("all.yaml", &documents("one"));
    let file = terminal.path("all.yaml");

    // Made, and shown in each form.
    let made = terminal.prints(&format!("endpoint create -f {file} -o name")).await;
    assert!(made.said.contains("serves as asked, with 1/1 instances"), "{made}");
    assert!(made.said.contains("endpoint \"verbs\" is ready: http://127.0.0.1:"), "{made}");
    terminal.ends(&format!("endpoint create -f {file}"), 1).await;
    terminal.prints("endpoint traffic -n verbs blue=100").await;
    assert_eq!(terminal.asks("-n verbs").await.data, "one ./model/weights=7 score.py=mapped");
    assert!(terminal.prints("endpoint list").await.data.contains("verbs  Succeeded  blue=100"));
    assert_eq!(of(&terminal.prints("endpoint show -n verbs -o json").await)["status"]["traffic"]["blue"], 100);
    assert!(terminal.prints("deployment list -e verbs -o wide").await.data.contains(IMAGE));
    assert_eq!(of(&terminal.prints("deployment show -n verbs-blue -o json").await)["status"]["ready"], "1/1");

    // Logs, in three blocks.
    let log = terminal.prints("deployment get-logs -e verbs -n blue").await.data;
    for block in ["Instance status:\nSystemSetup: Succeeded", "Container events:", "Container logs:\nserving as 1000"] {
        assert!(log.contains(block), "{block} is missing: {log}");
    }
    let log = terminal.prints("endpoint get-logs -n verbs -d blue -c storage-initializer --timestamps").await.data;
    assert!(log.contains("model"), "{log}");
    terminal.ends("deployment get-logs -e verbs -n blue --previous", 3).await;
    terminal.ends("deployment get-logs -e verbs -n blue --instance none", 3).await;

    // Keys.
    let before = of(&terminal.prints("endpoint get-credentials -n verbs -o json").await);
    terminal.prints("endpoint regenerate-keys -n verbs --key-type secondary").await;
    let after = of(&terminal.prints("endpoint get-credentials -n verbs -o json").await);
    assert_eq!(before["primaryKey"], after["primaryKey"]);
    assert_ne!(before["secondaryKey"], after["secondaryKey"]);

    // Changes: a file of the machine, a Secret, a number.
    terminal.write("model/weights", "8");
    terminal.write("all.yaml", &documents("two"));
    let again = terminal.prints(&format!("deployment update -f {file}")).await;
    assert!(again.said.contains("every instance is replaced by a new one"), "{again}");
    assert_eq!(terminal.asks("-n verbs -d blue").await.data, "two ./model/weights=8 score.py=mapped");
    terminal.prints("deployment scale -e verbs -n blue -i 2").await;
    let both = terminal.prints("deployment get-logs -e verbs -n blue --all-instances").await.data;
    // One from before the change may still finish what it has.
    assert!(both.matches("\nInstance: ").count() >= 2, "{both}");
    terminal.prints("deployment update -e verbs -n blue --set instanceCount=1").await;
    terminal.prints("deployment restart -e verbs -n blue").await;
    terminal.prints("deployment rollout status -e verbs -n blue").await;

    // What is deployed where, and whether all is well.
    assert!(terminal.prints("model list").await.data.contains("iris  3        verbs     blue"));
    assert!(terminal.prints("code show -n code").await.data.contains("configmap://code"));
    assert!(terminal.prints("instance-type list").await.data.contains("built in"));
    assert!(terminal.prints("doctor").await.data.contains("endpoint \"verbs\" is served at"));
    terminal.ends("quota show", 2).await;
    terminal.ends("endpoint list --namespace team", 2).await;
    terminal.ends("endpoint show -n none", 3).await;

    // The end: not of what has callers.
    let refused = terminal.ends("deployment delete -e verbs -n blue --yes", 1).await;
    assert!(refused.said.contains("gets 100 % of the traffic"), "{refused}");
    terminal.prints("endpoint traffic -n verbs blue=0").await;
    terminal.prints("deployment delete -e verbs -n blue --yes").await;
    terminal.prints("endpoint delete -n verbs --yes").await;
    terminal.ends("endpoint delete -n verbs --yes", 3).await;
    assert_eq!(terminal.prints("endpoint list -o name").await.data, "");
}

#[tokio::test]
async fn files_of_az_ml_run_as_they_are_and_can_be_debugged() {
    support::image().await;
    let terminal = Terminal::new();
    terminal.write("endpoint.yml", "name: azure-files\nauth_mode: key\n");
    terminal.write("src/score.py", "first");
    terminal.write("model/weights", "7");
    terminal.write("image/Dockerfile", &format!("FROM {IMAGE}\nENV WORD=built\n"));
    let route = |path: &str| format!("{{port: 5001, path: {path}}}");
    let (live, score) = (route("/cgi-bin/live"), route("/cgi-bin/score"));
    terminal.write(
        "blue.yml",
        &format!(
            "name: blue\nendpoint_name: azure-files\nmodel: {{path: ./model}}\n\
             code_configuration: {{code: ./src, scoring_script: score.py}}\n\
             environment:\n  build: {{path: ./image}}\n  inference_config:\n    liveness_route: {live}\n    \
             readiness_route: {live}\n    scoring_route: {score}\n\
             liveness_probe: {{initial_delay: 1, period: 1}}\nreadiness_probe: {{initial_delay: 1, period: 1}}\n\
             instance_type: Standard_F2s_v2\ninstance_count: 1\n"
        ),
    );
    terminal.prints(&format!("online-endpoint create -f {}", terminal.path("endpoint.yml"))).await;
    let blue = terminal.path("blue.yml");
    let made = terminal.prints(&format!("online-deployment create -f {blue} --all-traffic --vscode-debug")).await;
    assert!(made.said.contains("code --folder-uri vscode-remote://dev-container+"), "{made}");
    let container = terminal.path("state/azure-files/deployments/blue/.devcontainer/devcontainer.json");
    let container: Value = serde_json::from_str(&std::fs::read_to_string(container).unwrap()).unwrap();
    assert_eq!(
        container["workspaceMount"],
        format!("type=bind,source={},target=/var/azureml-app/src", terminal.path("src"))
    );
    assert_eq!(terminal.asks("-n azure-files").await.data, "built ./model/weights=7 score.py=first");

    // An edit shows after a restart, another image after an update.
    terminal.write("src/score.py", "second");
    terminal.prints("online-deployment restart -e azure-files -n blue").await;
    assert_eq!(terminal.asks("-n azure-files").await.data, "built ./model/weights=7 score.py=second");
    terminal.write("image/Dockerfile", &format!("FROM {IMAGE}\nENV WORD=rebuilt\n"));
    terminal.prints(&format!("online-deployment update -f {blue}")).await;
    assert_eq!(terminal.asks("-n azure-files").await.data, "rebuilt ./model/weights=7 score.py=second");

    // One that can't be built says why, and the one before goes on serving.
    terminal.write("image/Dockerfile", &format!("FROM {IMAGE}\nRUN false\n"));
    let failed = terminal.ends(&format!("online-deployment update -f {blue}"), 1).await;
    assert!(failed.said.contains("ERR_1200 ImageBuildFailed"), "{failed}");
    assert_eq!(terminal.asks("-n azure-files").await.data, "rebuilt ./model/weights=7 score.py=second");

    // Deleted without half of its state.
    std::fs::remove_file(Path::new(&terminal.path("state/azure-files/endpoint.yaml"))).unwrap();
    std::fs::remove_dir_all(Path::new(&terminal.path("state/azure-files/deployments"))).unwrap();
    terminal.prints("online-endpoint delete -n azure-files --yes").await;
    assert!(!Path::new(&terminal.path("state/azure-files")).exists());
}

#[tokio::test]
async fn without_an_engine_it_is_said_how_to_get_one() {
    let terminal = Terminal::new();
    let nowhere = [("DOCKER_HOST", "unix:///nowhere/docker.sock")];
    let ended = terminal.with("endpoint create -n alone", "", &nowhere).await;
    assert_eq!(ended.code, Some(1), "{ended}");
    for words in ["unix:///nowhere/docker.sock", "systemctl start docker", "DOCKER_HOST"] {
        assert!(ended.said.contains(words), "{words} is missing: {ended}");
    }
    // Nothing is left of it, and what reads files alone needs no engine.
    assert_eq!(terminal.with("endpoint list -o name", "", &nowhere).await.data, "");
    assert_eq!(terminal.with("doctor", "", &nowhere).await.code, Some(1));
}

#[tokio::test]
async fn without_the_program_of_the_agents_nothing_is_changed_and_a_link_finds_it() {
    let terminal = Terminal::new();
    let own = env!("CARGO_BIN_EXE_mooring");
    let (alone, link) = (terminal.path("mooring"), terminal.path("link"));
    std::fs::copy(own, &alone).unwrap();
    std::os::unix::fs::symlink(own, &link).unwrap();
    let run = async |program: &str, line: &str| {
        let mut command = tokio::process::Command::new(program);
        command.args(line.split(' ')).arg("--local").env("MOORING_LOCAL_STATE", terminal.path("state"));
        program::output(&mut command, "").await
    };
    let ended = run(&alone, "endpoint create -n alone").await;
    assert_eq!(ended.code, Some(1), "{ended}");
    let missing = format!("{} can't be started; put the mooring-local", terminal.path("mooring-local"));
    assert!(ended.said.contains(&missing) && ended.said.contains("No such file"), "{ended}");
    assert_eq!(run(&alone, "endpoint list -o name").await.data, "");
    assert!(!Path::new(&terminal.path("state")).exists());

    let verdict = async |program: &str| {
        let found = run(program, "doctor -o json").await.data;
        let found: Value = serde_json::from_str(&found).unwrap();
        let mut all = found.as_array().unwrap().iter();
        all.find(|finding| finding["number"] == "L003").unwrap()["verdict"].clone()
    };
    assert_eq!(verdict(&alone).await, "failed");
    assert_eq!(verdict(&link).await, "ok");
    std::fs::copy("/bin/true", terminal.path("mooring-local")).unwrap();
    assert_eq!(verdict(&alone).await, "failed", "of another release");
}

/// The deployment alone answers a word of its own.
async fn serve(terminal: &Terminal, word: &str) {
    terminal.write("model/weights", "7");
    terminal.write("all.yaml", &documents(word));
    terminal.prints(&format!("endpoint create -f {}", terminal.path("all.yaml"))).await;
    terminal.prints("endpoint traffic -n verbs blue=100").await;
}

#[tokio::test]
async fn two_people_with_the_same_documents_have_containers_of_their_own() {
    support::image().await;
    let (alice, bob) = (Terminal::new(), Terminal::new());
    serve(&alice, "alice").await;
    serve(&bob, "bob").await;
    assert_eq!(alice.asks("-n verbs").await.data, "alice ./model/weights=7 score.py=mapped");
    assert_eq!(bob.asks("-n verbs").await.data, "bob ./model/weights=7 score.py=mapped");
    bob.prints("endpoint delete -n verbs --yes").await;
    assert_eq!(alice.asks("-n verbs").await.data, "alice ./model/weights=7 score.py=mapped");
    alice.prints("endpoint delete -n verbs --yes").await;
}

#[tokio::test]
async fn what_an_agent_has_left_is_found_before_anything_is_told() {
    support::image().await;
    let terminal = Terminal::new();
    serve(&terminal, "one").await;
    let folder = mooring_operator::local::folder::EndpointFolder::new(Path::new(&terminal.path("state")), "verbs");
    mooring_operator::local::agent::end(&folder);
    assert_eq!(terminal.asks("-n verbs").await.data, "one ./model/weights=7 score.py=mapped");

    // As after a restart of the machine: neither agent nor container.
    mooring_operator::local::agent::end(&folder);
    let engine = mooring_operator::local::engine::Engine::connect().await.unwrap();
    let labels = [(mooring_operator::local::annotation::FOLDER, folder.path().to_str().unwrap())];
    for (name, _) in mooring_operator::local::instance::container::labelled(&engine, &labels, "").await.unwrap() {
        mooring_operator::local::instance::container::remove(&engine, &name).await.unwrap();
    }
    terminal.prints("deployment rollout status -e verbs -n blue").await;
    assert_eq!(terminal.asks("-n verbs").await.data, "one ./model/weights=7 score.py=mapped");
    terminal.prints("endpoint delete -n verbs --yes").await;
}

#[tokio::test]
async fn what_can_not_be_read_hides_nothing_else_and_is_deleted() {
    let terminal = Terminal::new();
    terminal.prints("endpoint create -n broken").await;
    terminal.prints("endpoint create -n whole").await;
    terminal.write("state/broken/deployments/blue/deployment.yaml", "{{{");
    terminal.write("state/lost+found/x", "");
    let listed = terminal.prints("deployment list -o name").await;
    assert!(listed.said.contains("deployment broken/blue is left out: "), "{listed}");
    assert_eq!(terminal.prints("endpoint list -o name").await.data, "broken\nwhole\n");
    terminal.prints("deployment delete -e broken -n blue --yes").await;
    terminal.write("state/broken/deployments/blue/deployment.yaml", "");
    terminal.write("state/broken/endpoint.yaml", "{{{");
    let listed = terminal.prints("endpoint list -o name").await;
    assert!(listed.said.contains("endpoint \"broken\" is left out: "), "{listed}");
    terminal.prints("endpoint delete -n broken --yes").await;
    terminal.prints("endpoint delete -n whole --yes").await;
}

#[tokio::test]
async fn verbs_at_the_same_moment_lose_nothing() {
    let terminal = Terminal::new();
    terminal.prints("endpoint create -n busy").await;
    let secret = |number: usize| {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": format!("s{number}")}, "stringData": {"a": "b"},
        });
        let endpoint =
            json!({"apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": {"name": "busy"}});
        format!("---\n{secret}\n---\n{endpoint}\n")
    };
    let at_once =
        (0..8).map(async |number| terminal.with("endpoint update -f - --no-wait", &secret(number), &[]).await);
    for ended in futures::future::join_all(at_once).await {
        assert_eq!(ended.code, Some(0), "{ended}");
    }
    let kept = std::fs::read_to_string(terminal.path("state/busy/secrets.yaml")).unwrap();
    assert!((0..8).all(|number| kept.contains(&format!("s{number}:"))), "{kept}");
    terminal.prints("endpoint delete -n busy --yes").await;
}
