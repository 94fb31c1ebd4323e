//! The webhook as the chart installs it, asked by the API server through its Service.

use kube::api::{DeleteParams, PostParams};
use mooring_operator::api::deployment::OnlineDeployment;
use serde_json::json;

use crate::support::documents::{abrupt, changed, endpoint};
use crate::support::place::{Place, setting};

#[tokio::test]
async fn what_can_not_work_is_not_stored() {
    let place = Place::new("admission").await;
    let instance = || abrupt("iris", "blue", &setting("MOORING_TEST_ABRUPT_IMAGE_1"), 1);
    let bad = changed(
        instance(),
        json!({"spec": {"model": {"uri": "azureml:iris:1"}, "resources": {"limits": {"cpu": "64"}}}}),
    );
    let bad: OnlineDeployment = serde_json::from_value(bad).unwrap();
    let deployments = place.api::<OnlineDeployment>();
    let kube::Error::Api(refused) = deployments.create(&PostParams::default(), &bad).await.unwrap_err() else {
        panic!("no answer of the API server");
    };
    let fields: Vec<_> = refused.details.iter().flat_map(|it| &it.causes).map(|cause| cause.field.as_str()).collect();
    assert_eq!(fields, ["spec.model.uri", "spec.resources.limits[cpu]"], "{refused}");

    place.apply(endpoint("iris", &json!({"blue": 100}))).await;
    place.apply(instance()).await;
    place.ready("iris", &["iris-blue"]).await;
    let kube::Error::Api(refused) = deployments.delete("iris-blue", &DeleteParams::default()).await.unwrap_err() else {
        panic!("no answer of the API server");
    };
    assert!(refused.message.contains("gets 100 % of the traffic"), "{refused}");
    // The namespace goes with all that is in it, traffic or not.
    place.done().await;
}

/// What nothing else may run beside.
mod alone {
    use std::time::{Duration, Instant};

    use k8s_openapi::api::apps::v1::Deployment;
    use kube::api::{Api, Patch, PatchParams, PostParams};
    use mooring_operator::api::deployment::OnlineDeployment;
    use serde_json::json;

    use crate::support::documents::abrupt;
    use crate::support::place::Place;
    use crate::support::waits::DEADLINE;

    #[tokio::test]
    async fn questions_are_answered_while_the_operator_is_restarted() {
        let place = Place::new("admission-roll").await;
        let operators: Api<Deployment> = Api::namespaced(place.client.clone(), "mooring-system");
        let before = operators.get("mooring-operator").await.unwrap();
        let restart = json!({"spec": {"template": {"metadata": {"annotations": {"test/restarted": place.namespace}}}}});
        operators.patch("mooring-operator", &PatchParams::default(), &Patch::Merge(restart)).await.unwrap();
        let replicas = before.spec.unwrap().replicas;
        let object: OnlineDeployment =
            serde_json::from_value(abrupt("iris", "blue", "registry.test/image:1", 1)).unwrap();
        let parameters = PostParams { dry_run: true, ..PostParams::default() };
        let deployments = place.api::<OnlineDeployment>();
        let (begin, mut since) = (Instant::now(), None);
        // For some seconds more, until the last one of the old is gone too.
        while since.is_none_or(|since: Instant| since.elapsed() < Duration::from_secs(10)) {
            deployments.create(&parameters, &object).await.unwrap();
            let now = operators.get("mooring-operator").await.unwrap();
            let status = now.status.unwrap();
            let is_done = status.observed_generation == now.metadata.generation
                && [status.updated_replicas, status.available_replicas, status.replicas]
                    .iter()
                    .all(|it| *it == replicas);
            if is_done && since.is_none() {
                since = Some(Instant::now());
            }
            assert!(begin.elapsed() < DEADLINE, "the new operators do not become ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        place.done().await;
    }
}
