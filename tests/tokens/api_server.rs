//! The API server's process and its own account of what it was asked.

use std::process::Command;

use serde_json::Value;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::place::setting;

/// One API server for all tests here, and one test stops it.
static RUNNING: RwLock<()> = RwLock::const_new(());

/// While this lives, the API server runs.
pub async fn running() -> RwLockReadGuard<'static, ()> {
    RUNNING.read().await
}

/// Waits until no other test needs the API server.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    RUNNING.write().await
}

/// While this lives, the API server is silent: it holds its connections and does nothing.
pub struct Silence;

impl Silence {
    pub fn begin() -> Self {
        signal("-STOP");
        Self
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        signal("-CONT");
    }
}

fn signal(signal: &str) {
    let process = setting("MOORING_TEST_API_SERVER");
    assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
}

/// How often the gateway in `namespace` has asked for a review of this resource.
pub fn reviews(namespace: &str, resource: &str) -> usize {
    let user = format!("system:serviceaccount:{namespace}:gateway");
    let text = std::fs::read_to_string(setting("MOORING_TEST_AUDIT_LOG")).unwrap();
    text.lines()
        .filter(|line| line.contains(&user) && line.contains(resource))
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["user"]["username"] == *user && event["objectRef"]["resource"] == *resource)
        .count()
}
