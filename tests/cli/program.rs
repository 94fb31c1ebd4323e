//! The program, run as a person would.

use std::process::{Output, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::place::{Place, setting};

/// How a run ended.
pub struct Ended {
    pub code: Option<i32>,
    /// Standard output.
    pub data: String,
    /// Standard error.
    pub said: String,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.unwrap();
        write!(formatter, "exit code: {code}\nstandard output:\n{}\nstandard error:\n{}", self.data, self.said)
    }
}

/// Runs it in the namespace of a test.
pub async fn mooring(place: &Place, arguments: &[&str]) -> Ended {
    mooring_with(place, arguments, "").await
}

/// Runs it in the namespace of a test, with something on standard input.
pub async fn mooring_with(place: &Place, arguments: &[&str], input: &str) -> Ended {
    in_environment(place, arguments, input, &[]).await
}

/// Runs it in the namespace of a test, with these environment variables.
pub async fn in_environment(place: &Place, arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Ended {
    let kubeconfig = setting("MOORING_TEST_KUBECONFIG");
    let place = ["--namespace", &place.namespace, "--kubeconfig", &kubeconfig];
    run_with(&[arguments, &place].concat(), input, environment).await
}

/// Runs it as it is, without a kubeconfig to be found.
pub async fn run(arguments: &[&str], input: &str) -> Ended {
    run_with(arguments, input, &[]).await
}

/// The same with some variables.
pub async fn run_with(arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mooring"));
    // Nothing that a person has said counts, and nothing is remembered.
    command.env("XDG_CONFIG_HOME", "/dev/null");
    output(command.args(arguments).envs(variables.iter().copied()), input).await
}

/// Runs a command, without a kubeconfig to be found.
pub async fn output(command: &mut Command, input: &str) -> Ended {
    let mut child = command
        .env("KUBECONFIG", "/nowhere")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who reads no input may be gone before it has been written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes()).await;
    ended(child.wait_with_output().await.unwrap())
}

/// What a program has left.
pub fn ended(output: Output) -> Ended {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), data: text(output.stdout), said: text(output.stderr) }
}
