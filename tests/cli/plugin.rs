//! Called as a plugin of kubectl, through links to the program.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use crate::cluster::iris;
use crate::place::setting;
use crate::program::{Ended, ended, output};

/// A folder with the two links that an installation has.
fn links() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["kubectl-mooring", "kubectl_complete-mooring"] {
        symlink(env!("CARGO_BIN_EXE_mooring"), folder.path().join(name)).unwrap();
    }
    folder
}

async fn run(folder: &TempDir, name: &str, arguments: &[&str]) -> Ended {
    output(Command::new(folder.path().join(name)).args(arguments), "").await
}

#[tokio::test]
async fn help_usage_and_completion_are_in_the_words_of_the_plugin() {
    let folder = links();
    let ended = run(&folder, "kubectl-mooring", &["endpoint", "invoke", "--help"]).await;
    assert_eq!(ended.code, Some(0));
    insta::assert_snapshot!(ended);
    let ended = run(&folder, "kubectl-mooring", &["endpoint", "show"]).await;
    assert_eq!(ended.code, Some(2));
    insta::assert_snapshot!("no_name_for_the_plugin", ended);
    let ended = run(&folder, "kubectl-mooring", &["completion", "bash"]).await;
    assert!(ended.data.contains("-o default kubectl-mooring\n"), "{ended}");
    let pages = folder.path().join("man1");
    run(&folder, "kubectl-mooring", &["man", "--directory", pages.to_str().unwrap()]).await;
    let page = std::fs::read_to_string(pages.join("kubectl-mooring-endpoint-show.1")).unwrap();
    assert!(page.contains("kubectl mooring endpoint show \\-n iris \\-o yaml"), "{page}");
}

#[tokio::test]
async fn hints_are_commands_of_the_plugin() {
    let (folder, place) = (links(), iris("first").await);
    let kubeconfig = setting("MOORING_TEST_KUBECONFIG");
    let there = ["--namespace", &place.namespace, "--kubeconfig", &kubeconfig];
    let ended = run(&folder, "kubectl-mooring", &[&["endpoint", "show", "-n", "rose"], &there[..]].concat()).await;
    assert_eq!(ended.code, Some(3));
    let said = "kubectl mooring: endpoint \"rose\" does not exist in namespace";
    assert!(ended.said.starts_with(said) && ended.said.contains("see `kubectl mooring endpoint list"), "{ended}");
    let ended =
        run(&folder, "kubectl-mooring", &[&["endpoint", "regenerate-keys", "-n", "iris"], &there[..]].concat()).await;
    assert!(ended.said.contains("see `kubectl mooring endpoint get-credentials -n iris`"), "{ended}");
    place.done().await;
}

#[tokio::test]
async fn kubectl_finds_the_plugin_and_completes_its_words() {
    let folder = links();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let kubectl = async |arguments: &[&str]| {
        let cluster = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/cluster");
        let mut command = Command::new(cluster);
        // `deploy/cluster` keeps what belongs to a cluster in a folder of its name.
        let kubeconfig = PathBuf::from(setting("MOORING_TEST_KUBECONFIG"));
        let name = kubeconfig.ancestors().nth(2).unwrap().file_name().unwrap();
        let asked = command.args(["kubectl", "--name"]).arg(name).args(arguments).env("PATH", &path);
        ended(asked.stdin(Stdio::null()).output().await.unwrap())
    };
    let version = kubectl(&["mooring", "version"]).await;
    assert_eq!((version.code, version.data), (Some(0), format!("mooring {}\n", env!("CARGO_PKG_VERSION"))));
    let place = iris("first").await;
    let list = ["mooring", "endpoint", "list", "-o", "name", "--namespace", &place.namespace];
    assert_eq!(kubectl(&list).await.data, "iris\n", "the kubeconfig is kubectl's");
    place.done().await;
    let completed = kubectl(&["__complete", "mooring", "endpoint", "s"]).await;
    assert_eq!(completed.data, "show\tShow an endpoint with its status\n:4\n", "{completed}");
    let completed = kubectl(&["__complete", "mooring", "endpoint", "list", "-o", ""]).await;
    let words: Vec<_> = completed.data.lines().filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(words, ["table", "wide", "json", "yaml", "name", ":4"], "{completed}");
}
