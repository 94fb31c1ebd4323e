//! What a new status says that the one before did not: an Event each.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sha2::{Digest, Sha256};

use crate::api::condition;
use crate::api::deployment::OnlineDeploymentStatus;
use crate::catalogue::{Code, Reason};

/// One Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Whether something went wrong; else it is right again.
    pub is_warning: bool,
    /// The catalogue's reason, or `Recovered`.
    pub reason: String,
    /// The code, of a warning.
    pub code: Option<Code>,
    /// What happened and what a person does now.
    pub note: String,
    /// How often it happened.
    pub count: i32,
}

/// Reason of the Event for what is right again.
const RECOVERED: &str = "Recovered";
/// Longest note that the API server takes, in bytes.
const MAX_NOTE: usize = 1024;

impl News {
    fn new(is_warning: bool, reason: &str, code: Option<Code>, note: &str, count: i32) -> Self {
        let note = note.get(..note.floor_char_boundary(MAX_NOTE)).unwrap_or_default().to_owned();
        Self { is_warning, reason: reason.to_owned(), code, note, count }
    }

    /// The name of the Event of an object: the same for the same news, so that what happens again raises a count.
    #[must_use]
    pub fn event_name(&self, object: &str) -> String {
        use std::fmt::Write;
        let digest = Sha256::digest(format!("{}\n{}\n{}", self.is_warning, self.reason, self.note).as_bytes());
        digest.iter().take(8).fold(format!("{object}."), |mut name, byte| {
            // Writing to a String can't fail.
            let _ = write!(name, "{byte:02x}");
            name
        })
    }
}

/// The news of a deployment.
#[must_use]
pub fn of_deployment(before: Option<&OnlineDeploymentStatus>, after: &OnlineDeploymentStatus) -> Option<News> {
    let error_before = before.and_then(|before| before.error.as_ref());
    if let Some(error) = &after.error {
        let told = error_before.is_some_and(|before| (&before.reason, before.count) == (&error.reason, error.count));
        let note = format!("{}. {}", error.message, error.next_step);
        return (!told).then(|| News::new(true, &error.reason, Some(error.code), &note, error.count));
    }
    let unready = ready(before.map(|before| before.conditions.as_slice()).unwrap_or_default())
        .filter(|ready| ready.status == "False")?;
    let now_ready = ready(&after.conditions).filter(|ready| ready.status == "True")?;
    // The last error since it was ready before.
    let healed = after.recent_errors.first().filter(|error| error.last_seen.0 >= unready.last_transition_time.0)?;
    let note = format!("{}; before: {} {}", now_ready.message, healed.code.as_str(), healed.reason);
    Some(News::new(false, RECOVERED, None, &note, 1))
}

/// The news of an endpoint, whose own failures are in its condition `Ready`.
#[must_use]
pub fn of_endpoint(before: &[Condition], after: &[Condition]) -> Option<News> {
    let (was, is) = (ready(before), ready(after)?);
    let failure = own_failure(is);
    if failure == was.and_then(own_failure) {
        return None;
    }
    match (failure, was.and_then(own_failure)) {
        (Some(reason), _) => Some(News::new(true, reason.as_str(), Some(reason.code()), &is.message, 1)),
        (None, Some(healed)) if is.status == "True" => {
            let note = format!("{}; before: {} {}", is.message, healed.code().as_str(), healed.as_str());
            Some(News::new(false, RECOVERED, None, &note, 1))
        }
        _ => None,
    }
}

fn ready(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == condition::READY)
}

/// `REASON: …` under a code; what a deployment failed with is that deployment's news.
fn own_failure(ready: &Condition) -> Option<Reason> {
    let name = ready.message.split(": ").next()?;
    Reason::ALL.iter().copied().find(|reason| reason.as_str() == name && reason.code().as_str() == ready.reason)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;

    fn status(error: &Value, ready: &str, recent: &Value) -> OnlineDeploymentStatus {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap().to_string();
        let since = if ready == "True" { 50 } else { 10 };
        serde_json::from_value(json!({
            "error": error, "recentErrors": recent,
            "conditions": [{"type": "Ready", "status": ready, "reason": "r", "message": "m", "lastTransitionTime": at(since)}],
        }))
        .unwrap()
    }

    fn error(message: &str, count: i32, last: i64) -> Value {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap().to_string();
        json!({
            "code": "ERR_1200", "reason": "ImageNotFound", "stage": "Image", "message": message, "nextStep": "push it",
            "final": true, "firstSeen": at(0), "lastSeen": at(last), "count": count,
        })
    }

    #[test]
    fn an_error_is_news_once_for_each_time_that_it_occurs() {
        let first = status(&error("x", 1, 20), "False", &json!([]));
        let news = of_deployment(None, &first).unwrap();
        assert_eq!((news.is_warning, news.reason.as_str(), news.note.as_str()), (true, "ImageNotFound", "x. push it"));
        assert_eq!(of_deployment(Some(&first), &first), None);
        let again = status(&error("x", 2, 30), "False", &json!([]));
        let repeated = of_deployment(Some(&first), &again).unwrap();
        assert_eq!(repeated.count, 2);
        assert_eq!(repeated.event_name("od"), news.event_name("od"));
        let other = of_deployment(Some(&first), &status(&error("y", 2, 30), "False", &json!([]))).unwrap();
        assert_ne!(other.event_name("od"), news.event_name("od"));
    }

    #[test]
    fn recovery_is_news_only_after_an_error_of_the_same_time_without_readiness() {
        let ready = |last| status(&Value::Null, "True", &json!([error("x", 1, last)]));
        let unready = status(&Value::Null, "False", &json!([]));
        assert!(!of_deployment(Some(&unready), &ready(20)).unwrap().is_warning);
        assert_eq!(of_deployment(Some(&unready), &ready(5)), None);
        assert_eq!(of_deployment(Some(&ready(20)), &ready(20)), None);
    }

    #[test]
    fn an_endpoint_tells_its_own_failures_and_not_its_deployments() {
        let told = |status: &str, reason: &str, message: &str| -> Vec<Condition> {
            let at = Timestamp::from_second(0).unwrap().to_string();
            let ready = json!([{"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": at}]);
            serde_json::from_value(ready).unwrap()
        };
        let own = told("False", "ERR_5000", "OperatorPermissionDenied: no");
        assert_eq!(of_endpoint(&[], &own).unwrap().reason, "OperatorPermissionDenied");
        assert_eq!(of_endpoint(&own, &own), None);
        assert_eq!(of_endpoint(&own, &told("True", "Succeeded", "fine")).unwrap().reason, "Recovered");
        assert_eq!(of_endpoint(&[], &told("False", "ERR_1200", "deployment blue: ImageNotFound: x")), None);
    }
}
