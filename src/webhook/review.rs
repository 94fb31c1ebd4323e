//! One question of the API server, and its answer.

use futures::future::BoxFuture;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, AdmissionReview, Operation};
use kube::core::response::{StatusCause, StatusDetails};
use kube::core::{DynamicObject, Status};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api::deployment::OnlineDeployment;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::instance_type::InstanceTypeSpec;
use crate::plan::admission::{self, AroundDeployment, AroundEndpoint, Objection, Verdict};

/// Who deletes what belongs to something that is gone: the controller manager, with accounts of its controllers or
/// without.
pub const COLLECTORS: [&str; 3] = [
    "system:serviceaccount:kube-system:generic-garbage-collector",
    "system:serviceaccount:kube-system:namespace-controller",
    "system:kube-controller-manager",
];

/// How much of the cluster has to be known for sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What watches have told, which may be a moment old.
    Watched,
    /// What the API server says when it is asked.
    Asked,
}

/// What may be asked of the cluster.
pub trait Cluster: Send + Sync + 'static {
    /// What stands around a deployment.
    fn around_deployment<'a>(
        &'a self,
        object: &'a OnlineDeployment,
        source: Source,
    ) -> BoxFuture<'a, Result<AroundDeployment, kube::Error>>;

    /// What stands around an endpoint.
    fn around_endpoint<'a>(
        &'a self,
        object: &'a OnlineEndpoint,
        source: Source,
    ) -> BoxFuture<'a, Result<AroundEndpoint, kube::Error>>;

    /// What an instance type stands for, as watched.
    fn instance_type(&self, name: &str) -> Option<InstanceTypeSpec>;

    /// Whether a namespace is being deleted.
    fn is_namespace_going<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, kube::Error>>;
}

/// What is said when a deployment with live traffic is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficGuard {
    /// It is not deleted.
    Deny,
    /// It is deleted with a warning.
    Warn,
    /// Nothing.
    Off,
}

/// Answers one review.
pub async fn answer(
    cluster: &impl Cluster,
    guard: TrafficGuard,
    review: AdmissionReview<DynamicObject>,
) -> AdmissionReview<DynamicObject> {
    let request: AdmissionRequest<DynamicObject> = match review.try_into() {
        Ok(request) => request,
        Err(error) => return AdmissionResponse::invalid(error.to_string()).into_review(),
    };
    let judged = match (request.kind.kind.as_str(), &request.operation) {
        ("OnlineDeployment", Operation::Create | Operation::Update) => deployment(cluster, &request).await,
        ("OnlineEndpoint", Operation::Create | Operation::Update) => endpoint(cluster, &request).await,
        ("OnlineDeployment", Operation::Delete) => deletion(cluster, guard, &request).await,
        _ => Ok(Verdict::default()),
    };
    let verdict = judged.unwrap_or_else(|error| {
        // Whoever can't be asked must not stop the cluster's users: the operator tells the same in the status.
        tracing::warn!(%error, namespace = request.namespace, name = request.name, "an object could not be checked");
        Verdict { objections: Vec::new(), warnings: vec![format!("Mooring could not check this object: {error}")] }
    });
    let mut response = AdmissionResponse::from(&request);
    if !verdict.warnings.is_empty() {
        response.warnings = Some(verdict.warnings);
    }
    if !verdict.objections.is_empty() {
        response.allowed = false;
        response.result = refusal(&request, verdict.objections);
    }
    response.into_review()
}

/// In the API server's own words for what it finds itself.
fn refusal(request: &AdmissionRequest<DynamicObject>, objections: Vec<Objection>) -> Status {
    let deletes = request.operation == Operation::Delete;
    let (code, reason, found) =
        if deletes { (403, "Forbidden", "can't be deleted") } else { (422, "Invalid", "is invalid") };
    let told: Vec<_> = objections.iter().map(|it| format!("{}: {}", it.field, it.message)).collect();
    let told = if let [one] = told.as_slice() { one.clone() } else { format!("[{}]", told.join(", ")) };
    let causes = objections.into_iter().map(|it| StatusCause {
        reason: if deletes { "FieldValueForbidden" } else { "FieldValueInvalid" }.to_owned(),
        message: it.message,
        field: it.field,
    });
    Status {
        code,
        reason: reason.to_owned(),
        message: format!("{}.{} {:?} {found}: {told}", request.kind.kind, request.kind.group, request.name),
        details: Some(StatusDetails {
            name: request.name.clone(),
            group: request.kind.group.clone(),
            kind: request.kind.kind.clone(),
            causes: causes.collect(),
            uid: String::new(),
            retry_after_seconds: 0,
        }),
        ..Status::failure("", "")
    }
}

async fn deployment(cluster: &impl Cluster, request: &AdmissionRequest<DynamicObject>) -> Result<Verdict, kube::Error> {
    let (Some(object), before) = both::<OnlineDeployment>(request) else { return Ok(unreadable()) };
    if before.as_ref().is_some_and(|before| before.spec == object.spec) {
        return Ok(Verdict::default());
    }
    let kind_before = before.as_ref().and_then(|before| cluster.instance_type(&before.spec.instance_type));
    let before = before.as_ref().map(|before| (before, kind_before.as_ref()));
    confirmed(cluster, &object, |around| admission::deployment(&object, before, around)).await
}

async fn endpoint(cluster: &impl Cluster, request: &AdmissionRequest<DynamicObject>) -> Result<Verdict, kube::Error> {
    let (Some(object), before) = both::<OnlineEndpoint>(request) else { return Ok(unreadable()) };
    if before.as_ref().is_some_and(|before| before.spec == object.spec) {
        return Ok(Verdict::default());
    }
    let verdict =
        admission::endpoint(&object, before.as_ref(), &cluster.around_endpoint(&object, Source::Watched).await?);
    if verdict.objections.is_empty() {
        return Ok(verdict);
    }
    let around = cluster.around_endpoint(&object, Source::Asked).await?;
    Ok(admission::endpoint(&object, before.as_ref(), &around))
}

async fn deletion(
    cluster: &impl Cluster,
    guard: TrafficGuard,
    request: &AdmissionRequest<DynamicObject>,
) -> Result<Verdict, kube::Error> {
    let user = request.user_info.username.as_deref().unwrap_or_default();
    let Some(object) = request.old_object.as_ref().and_then(typed::<OnlineDeployment>) else { return Ok(unreadable()) };
    if guard == TrafficGuard::Off || COLLECTORS.contains(&user) || object.metadata.deletion_timestamp.is_some() {
        return Ok(Verdict::default());
    }
    let judge = |around: &AroundDeployment| {
        let objection = admission::deletion(&object, around);
        Verdict { objections: objection.into_iter().collect(), warnings: Vec::new() }
    };
    let verdict = confirmed(cluster, &object, judge).await?;
    if verdict.objections.is_empty() || cluster.is_namespace_going(&object.namespace().unwrap_or_default()).await? {
        return Ok(Verdict::default());
    }
    Ok(match guard {
        TrafficGuard::Deny => verdict,
        TrafficGuard::Warn | TrafficGuard::Off => Verdict {
            warnings: verdict.objections.into_iter().map(|objection| objection.message).collect(),
            objections: Vec::new(),
        },
    })
}

/// Nobody is refused for what a watch has not heard of yet.
async fn confirmed(
    cluster: &impl Cluster,
    object: &OnlineDeployment,
    judge: impl Fn(&AroundDeployment) -> Verdict,
) -> Result<Verdict, kube::Error> {
    let verdict = judge(&cluster.around_deployment(object, Source::Watched).await?);
    if verdict.objections.is_empty() {
        return Ok(verdict);
    }
    Ok(judge(&cluster.around_deployment(object, Source::Asked).await?))
}

/// The object, and as it was before.
fn both<K>(request: &AdmissionRequest<DynamicObject>) -> (Option<K>, Option<K>)
where
    K: Resource<DynamicType = ()> + DeserializeOwned,
{
    (request.object.as_ref().and_then(typed), request.old_object.as_ref().and_then(typed))
}

fn typed<K: DeserializeOwned>(object: &DynamicObject) -> Option<K> {
    serde_json::to_value(object).and_then(serde_json::from_value).ok()
}

/// The schema let it pass; the operator, which can't read it either, says so in its status.
fn unreadable() -> Verdict {
    Verdict { warnings: vec!["this version of Mooring can't read the object".to_owned()], ..Verdict::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use serde_json::{Value, json};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::api::instance_type::built_in;
    use crate::plan::quota::Claims;
    use crate::plan::seen::SeenKeys;

    /// A cluster with one endpoint, all of whose traffic goes to `blue`.
    #[derive(Default)]
    struct Told {
        /// Whether the watches have not heard of the instance type yet.
        is_late: bool,
        is_going: bool,
        asked: AtomicUsize,
    }

    impl Cluster for Told {
        fn around_deployment<'a>(
            &'a self,
            object: &'a OnlineDeployment,
            source: Source,
        ) -> BoxFuture<'a, Result<AroundDeployment, kube::Error>> {
            self.asked.fetch_add(usize::from(source == Source::Asked), Ordering::Relaxed);
            let endpoint = json!({
                "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint",
                "metadata": {"name": "iris"}, "spec": {"traffic": {"blue": 100}},
            });
            let is_known = !self.is_late || source == Source::Asked;
            let around = AroundDeployment {
                endpoint: serde_json::from_value(endpoint).ok().map(std::sync::Arc::new),
                instance_type: built_in(&object.spec.instance_type).filter(|_| is_known),
                ..AroundDeployment::default()
            };
            async { Ok(around) }.boxed()
        }

        fn around_endpoint<'a>(
            &'a self,
            _: &'a OnlineEndpoint,
            _: Source,
        ) -> BoxFuture<'a, Result<AroundEndpoint, kube::Error>> {
            let keys = SeenKeys::Incomplete(vec!["secondaryKey"]);
            let around = AroundEndpoint { names: Vec::new(), keys, quotas: Vec::new(), claims: Claims::default() };
            async { Ok(around) }.boxed()
        }

        fn instance_type(&self, name: &str) -> Option<InstanceTypeSpec> {
            built_in(name)
        }

        fn is_namespace_going<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool, kube::Error>> {
            async { Ok(self.is_going) }.boxed()
        }
    }

    fn deployment(spec: &Value) -> Value {
        let mut whole = json!({"endpointName": "iris", "deploymentName": "blue", "environment": {"image": "i"}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment",
            "metadata": {"name": "iris-blue", "namespace": "team"}, "spec": whole,
        })
    }

    fn review(
        kind: &str,
        operation: &str,
        object: &Value,
        before: &Value,
        user: &str,
    ) -> AdmissionReview<DynamicObject> {
        let resource = format!("{}s", kind.to_lowercase());
        serde_json::from_value(json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "7", "operation": operation, "name": "iris-blue", "namespace": "team", "dryRun": false,
                "kind": {"group": "mooring.dev", "version": "v1alpha1", "kind": kind},
                "resource": {"group": "mooring.dev", "version": "v1alpha1", "resource": resource},
                "userInfo": {"username": user}, "object": object, "oldObject": before,
            },
        }))
        .unwrap()
    }

    fn asked(cluster: &Told, guard: TrafficGuard, review: AdmissionReview<DynamicObject>) -> AdmissionResponse {
        answer(cluster, guard, review).now_or_never().unwrap().response.unwrap()
    }

    fn changed(cluster: &Told, object: &Value, before: &Value) -> AdmissionResponse {
        let operation = if before.is_null() { "CREATE" } else { "UPDATE" };
        asked(cluster, TrafficGuard::Deny, review("OnlineDeployment", operation, object, before, "jane"))
    }

    fn deleted(cluster: &Told, guard: TrafficGuard, user: &str) -> AdmissionResponse {
        let before = deployment(&json!({}));
        asked(cluster, guard, review("OnlineDeployment", "DELETE", &Value::Null, &before, user))
    }

    #[test]
    fn a_refusal_has_the_form_of_the_api_servers_own() {
        let bad = deployment(&json!({"model": {"uri": "azureml:m:1"}, "resources": {"limits": {"cpu": "64"}}}));
        let refused = changed(&Told::default(), &bad, &Value::Null);
        assert!(!refused.allowed && refused.uid == "7");
        assert_eq!((refused.result.code, refused.result.reason.as_str()), (422, "Invalid"));
        let told = r#"OnlineDeployment.mooring.dev "iris-blue" is invalid: [spec.model.uri: "#;
        assert!(refused.result.message.starts_with(told), "{}", refused.result.message);
        assert_eq!(refused.result.details.unwrap().causes.len(), 2);
    }

    #[test]
    fn nobody_is_refused_for_what_a_watch_has_not_heard_of() {
        let late = Told { is_late: true, ..Told::default() };
        assert!(changed(&late, &deployment(&json!({})), &Value::Null).allowed);
        assert_eq!(late.asked.load(Ordering::Relaxed), 1);
        let heard = Told::default();
        assert!(changed(&heard, &deployment(&json!({})), &Value::Null).allowed);
        assert_eq!(heard.asked.load(Ordering::Relaxed), 0, "who is not refused costs no question");
    }

    #[test]
    fn what_changes_no_spec_passes() {
        let bad = deployment(&json!({"instanceType": "unknown"}));
        assert!(changed(&Told::default(), &bad, &bad).allowed);
        let endpoint = json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineEndpoint", "metadata": {"name": "iris"},
            "spec": {"keysSecretName": "mine"},
        });
        let of = |before: &Value, operation| {
            let review = review("OnlineEndpoint", operation, &endpoint, before, "jane");
            asked(&Told::default(), TrafficGuard::Deny, review).allowed
        };
        assert!(of(&endpoint, "UPDATE") && !of(&Value::Null, "CREATE"));
    }

    #[test]
    fn live_traffic_is_guarded_from_people_only() {
        let cluster = Told::default();
        let refused = deleted(&cluster, TrafficGuard::Deny, "jane");
        assert_eq!((refused.allowed, refused.result.code), (false, 403));
        let warned = deleted(&cluster, TrafficGuard::Warn, "jane");
        assert!(warned.allowed && warned.warnings.unwrap()[0].contains("gets 100 % of the traffic"));
        assert_eq!(deleted(&cluster, TrafficGuard::Off, "jane").warnings, None);
        for collector in COLLECTORS {
            assert!(deleted(&cluster, TrafficGuard::Deny, collector).allowed, "{collector}");
        }
        let going = Told { is_going: true, ..Told::default() };
        assert!(deleted(&going, TrafficGuard::Deny, "jane").allowed, "its namespace goes too");
    }

    #[test]
    fn an_object_of_another_version_passes_with_a_word() {
        let strange = json!({
            "apiVersion": "mooring.dev/v1alpha1", "kind": "OnlineDeployment", "metadata": {"name": "x"}, "spec": {"new": 1},
        });
        let answer = changed(&Told::default(), &strange, &Value::Null);
        assert!(answer.allowed && answer.warnings.is_some());
    }
}
