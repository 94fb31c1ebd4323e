//! The API server's own count of the operator's requests.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::place::setting;
use super::waits::DEADLINE;

/// One answered request of an operator.
pub struct Request {
    verb: String,
    object: String,
    pub code: u64,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {} {}", self.verb, self.object, self.code)
    }
}

impl Request {
    /// `resource/name subresource`, the last only where there is one.
    pub fn object(&self) -> &str {
        self.object.trim_end()
    }

    pub fn is_write(&self) -> bool {
        matches!(self.verb.as_str(), "create" | "update" | "patch" | "delete")
    }
}

/// The requests of the operators for one namespace, watches left out: those last, and are no work. Each begins with a
/// list, the first one of its kind, which is left out too.
pub fn requests(namespace: &str) -> Vec<Request> {
    let text = std::fs::read_to_string(setting("MOORING_TEST_AUDIT_LOG")).unwrap();
    let mut listed = HashSet::new();
    text.lines()
        .filter(|line| line.contains(namespace) && line.contains("mooring-operator/"))
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["objectRef"]["namespace"] == namespace && event["verb"] != "watch")
        .filter(|event| {
            event["verb"] != "list" || !listed.insert(event["objectRef"]["resource"].as_str().unwrap().to_owned())
        })
        .map(|event| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let object = &event["objectRef"];
            Request {
                verb: text(&event["verb"]),
                object: format!(
                    "{}/{} {}",
                    text(&object["resource"]),
                    text(&object["name"]),
                    text(&object["subresource"])
                ),
                code: event["responseStatus"]["code"].as_u64().unwrap_or_default(),
            }
        })
        .collect()
}

/// Writes so far.
pub fn writes(namespace: &str) -> usize {
    requests(namespace).iter().filter(|request| request.is_write()).count()
}

/// Waits until there are so many more writes.
pub async fn more_writes(namespace: &str, count: usize) {
    let (goal, begin) = (writes(namespace) + count, Instant::now());
    while writes(namespace) < goal {
        assert!(begin.elapsed() < DEADLINE, "nothing is written");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The writes of the replica `old` that the API server got after it had given the Lease to `new`.
pub fn writes_after(namespace: &str, old: &str, new: &str) -> Vec<String> {
    let text = std::fs::read_to_string(setting("MOORING_TEST_AUDIT_LOG")).unwrap();
    let lines = text.lines().filter(|line| line.contains(namespace) && line.contains("mooring-operator/"));
    let events: Vec<Value> = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
    let by = |event: &Value, name: &str| event["userAgent"].as_str().unwrap_or_default().contains(&format!("({name}_"));
    let is_write = |event: &Value| matches!(event["verb"].as_str(), Some("create" | "update" | "patch" | "delete"));
    let time = |event: &Value| event["requestReceivedTimestamp"].as_str().unwrap_or_default().to_owned();
    let is_lease = |event: &Value| event["objectRef"]["resource"] == "leases";
    let taken = events
        .iter()
        .find(|event| by(event, new) && is_write(event) && is_lease(event) && event["responseStatus"]["code"] == 200)
        .map(time)
        .unwrap();
    assert!(events.iter().any(|event| by(event, old) && is_write(event) && !is_lease(event)), "{old} never worked");
    let late = events.iter().filter(|event| by(event, old) && is_write(event) && time(event) > taken);
    late.map(ToString::to_string).collect()
}

/// Waits until the operator has asked for nothing for a second.
pub async fn quiet(namespace: &str) {
    let mut last = usize::MAX;
    loop {
        let now = requests(namespace).len();
        if now == last {
            return;
        }
        last = now;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
