//! kubectl of the cluster's own version.

use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::place::setting;

/// Runs it with something on standard input: what it says on standard output, or on standard error when it fails.
pub async fn kubectl(arguments: &[&str], input: &str) -> Result<String, String> {
    let output = run(arguments, input).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// What `kubectl diff` shows of the documents in a file and those in the cluster.
pub async fn difference(arguments: &[&str]) -> String {
    let output = run(&[&["diff"], arguments].concat(), "").await;
    let said = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    // 0: there is none; 1: there is one; anything else: kubectl could not tell.
    assert_eq!(output.status.code(), Some(i32::from(!said.is_empty())), "{complaint}{said}");
    said
}

async fn run(arguments: &[&str], input: &str) -> Output {
    let kubeconfig = setting("MOORING_TEST_KUBECONFIG");
    // `deploy/cluster` keeps what belongs to a cluster in a folder of its name.
    let cluster = Path::new(&kubeconfig).ancestors().nth(2).unwrap().file_name().unwrap();
    let mut child = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/cluster"))
        .args(["kubectl", "--name"])
        .arg(cluster)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    child.wait_with_output().await.unwrap()
}
