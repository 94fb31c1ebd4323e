use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::example::{
    config, deployment, endpoint, kept_deployment, kept_service, named_deployment, now, seen_deployment,
};
use crate::api::condition::{self, reason};
use crate::api::deployment::{DeploymentState, OnlineDeployment, OnlineDeploymentStatus};
use crate::api::endpoint::{EndpointState, OnlineEndpointStatus};
use crate::catalogue::Reason;
use crate::plan::change::{Change, Child};
use crate::plan::deployment::{Plan, plan, waits_for_service_account};
use crate::plan::seen::{Found, SeenDeployment, SeenOwner};

/// The state after `first` has been carried out and its instances have come up.
fn carried_out(object: &OnlineDeployment, first: &Plan, replicas: i32, updated: i32, ready: i32) -> SeenDeployment {
    let mut object = object.clone();
    object.status = Some(first.status.clone());
    SeenDeployment {
        deployment: Found::Ours(Arc::new(kept_deployment(&first.changes, replicas, updated, ready).unwrap())),
        service: Found::Ours(Arc::new(kept_service(&first.changes).unwrap())),
        ..seen_deployment(object)
    }
}

fn first_plan(object: &OnlineDeployment) -> Plan {
    plan(now(), &config(), &seen_deployment(object.clone()))
}

fn pod_of(plan: &Plan) -> PodSpec {
    kept_deployment(&plan.changes, 0, 0, 0).unwrap().spec.unwrap().template.spec.unwrap()
}

fn variable<'a>(container: &'a Container, name: &str) -> Option<&'a str> {
    container.env.iter().flatten().find(|variable| variable.name == name)?.value.as_deref()
}

fn condition<'a>(status: &'a OnlineDeploymentStatus, kind: &str) -> Option<(&'a str, &'a str)> {
    let condition = status.conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((&condition.status, &condition.reason))
}

#[test]
fn the_first_instances_wait_for_their_service_account() {
    let seen = SeenDeployment { has_service_account: false, ..seen_deployment(deployment(&json!({}))) };
    assert!(waits_for_service_account(&seen));
    // What runs is looked after whatever becomes of the account.
    let first = first_plan(&seen.object);
    let running = SeenDeployment { has_service_account: false, ..carried_out(&seen.object, &first, 1, 1, 1) };
    assert!(!waits_for_service_account(&running));
    let missing = SeenDeployment { endpoint: SeenOwner::Missing, ..seen };
    assert!(!waits_for_service_account(&missing));
}

#[test]
fn the_container_gets_azure_mls_contract() {
    let pod = pod_of(&first_plan(&deployment(&json!({}))));
    let server = &pod.containers[0];
    assert_eq!(server.name, "inference-server");
    assert_eq!(variable(server, "AZUREML_MODEL_DIR"), Some("/var/azureml-app/azureml-models/model/1"));
    assert_eq!(variable(server, "AML_APP_ROOT"), Some("/var/azureml-app/score/src"));
    assert_eq!(variable(server, "AZUREML_ENTRY_SCRIPT"), Some("score.py"));
    assert_eq!(variable(server, "WORKER_COUNT"), Some("1"));
    let initializer = &pod.init_containers.as_ref().unwrap()[0];
    assert_eq!(initializer.name, "storage-initializer");
    let expected: Value = json!({"version": 1, "artifacts": [
        {
            "kind": "model", "uri": "s3://models/iris/model/",
            "delivery": {"download": {
                "directory": "/mooring/model/data", "folder": "subFolder", "scratch": "/mooring/model/scratch",
            }},
        },
        {
            "kind": "code", "uri": "configmap://score",
            "delivery": {"mounted": {"path": "/var/azureml-app/score"}}, "requiredFile": "src/score.py",
        },
    ]});
    let told: Value = serde_json::from_str(variable(initializer, "MOORING_ARTIFACT_PLAN").unwrap()).unwrap();
    assert_eq!(told, expected);
}

#[test]
fn an_archive_is_told_to_be_unpacked() {
    let pod = pod_of(&first_plan(&deployment(&json!({
        "model": {"uri": "https://store/iris.tar.gz", "unpack": true},
        "codeConfiguration": {
            "code": {"uri": "s3://models/code.zip", "unpack": true}, "scoringScript": "src/score.py",
        },
    }))));
    let server = &pod.containers[0];
    assert_eq!(variable(server, "AZUREML_MODEL_DIR"), Some("/var/azureml-app/azureml-models/iris/1"));
    assert_eq!(variable(server, "AML_APP_ROOT"), Some("/var/azureml-app/code/src"));
    let initializer = &pod.init_containers.as_ref().unwrap()[0];
    let told: Value = serde_json::from_str(variable(initializer, "MOORING_ARTIFACT_PLAN").unwrap()).unwrap();
    assert_eq!([&told["artifacts"][0]["unpack"], &told["artifacts"][1]["unpack"]], [true, true]);
}

#[test]
fn the_server_sees_nothing_of_what_the_initializer_keeps_for_itself() {
    let code = json!({"codeConfiguration": {"code": {"uri": "https://host/score/"}, "scoringScript": "score.py"}});
    let pod = pod_of(&first_plan(&deployment(&code)));
    let mounts = |container: &Container| -> Vec<(String, String, Option<String>)> {
        let mounts = container.volume_mounts.clone().unwrap().into_iter();
        mounts.map(|mount| (mount.name, mount.mount_path, mount.sub_path)).collect()
    };
    let mount =
        |name: &str, path: &str, part: Option<&str>| (name.to_owned(), path.to_owned(), part.map(str::to_owned));
    let whole = [mount("model", "/mooring/model", None), mount("code", "/mooring/code", None)];
    assert_eq!(mounts(&pod.init_containers.unwrap()[0]), whole);
    let data = [
        mount("model", "/var/azureml-app/azureml-models/model/1", Some("data")),
        mount("code", "/var/azureml-app/score", Some("data")),
    ];
    assert_eq!(mounts(&pod.containers[0]), data);
}

#[test]
fn what_the_user_says_of_an_environment_variable_wins() {
    let variables =
        json!({"environmentVariables": [{"name": "WORKER_COUNT", "value": "7"}, {"name": "A", "value": "b"}]});
    let pod = pod_of(&first_plan(&deployment(&variables)));
    let names: Vec<&str> = pod.containers[0].env.iter().flatten().map(|variable| variable.name.as_str()).collect();
    assert_eq!(names, ["AZUREML_MODEL_DIR", "AML_APP_ROOT", "AZUREML_ENTRY_SCRIPT", "WORKER_COUNT", "A"]);
    assert_eq!(variable(&pod.containers[0], "WORKER_COUNT"), Some("7"));
}

#[test]
fn a_container_that_brings_its_own_needs_no_initializer() {
    let pod = pod_of(&first_plan(&deployment(&json!({"model": null, "codeConfiguration": null}))));
    assert_eq!((pod.init_containers, pod.volumes), (None, None));
}

#[test]
fn a_claim_is_mounted_and_never_copied() {
    let pod = pod_of(&first_plan(&deployment(&json!({"model": {"uri": "pvc://models/iris/v3"}}))));
    let mount = &pod.containers[0].volume_mounts.as_ref().unwrap()[0];
    assert_eq!(mount.mount_path, "/var/azureml-app/azureml-models/v3/1/v3");
    assert_eq!((mount.sub_path.as_deref(), mount.read_only), (Some("iris/v3"), Some(true)));
}

#[test]
fn the_server_outlives_its_last_request() {
    let settings = json!({"requestSettings": {"requestTimeoutMs": 60_500}});
    let pod = pod_of(&first_plan(&deployment(&settings)));
    let sleep = pod.containers[0].lifecycle.clone().unwrap().pre_stop.unwrap().sleep.unwrap().seconds;
    assert!(sleep > 61, "{sleep}");
    assert!(pod.termination_grace_period_seconds.unwrap() > sleep);
}

#[test]
fn root_is_outside_the_restricted_profile_and_only_on_request() {
    let restricted = pod_of(&first_plan(&deployment(&json!({})))).security_context.unwrap();
    assert_eq!(
        (restricted.run_as_non_root, restricted.run_as_user, restricted.fs_group),
        (Some(true), Some(1000), Some(1000))
    );
    let environment = json!({"environment": {"image": "i", "runAsUser": 0}});
    let root = pod_of(&first_plan(&deployment(&environment))).security_context.unwrap();
    assert_eq!((root.run_as_non_root, root.run_as_user), (None, Some(0)));
}

#[test]
fn resources_are_completed_by_the_instance_type() {
    let resources = json!({"resources": {"limits": {"cpu": "50m"}}});
    let resources = pod_of(&first_plan(&deployment(&resources))).containers[0].resources.clone().unwrap();
    let text = serde_json::to_value(resources).unwrap();
    // The type asks for 100m of cpu: more than the user's limit, so the request follows it.
    let expected = json!({"requests": {"cpu": "50m", "memory": "2Gi"}, "limits": {"cpu": "50m", "memory": "2Gi"}});
    assert_eq!(text, expected);
}

#[test]
fn resources_beyond_the_instance_type_fail_and_take_nothing_away() {
    let object = deployment(&json!({}));
    let mut seen = carried_out(&object, &first_plan(&object), 1, 1, 1);
    let mut wanted = (*seen.object).clone();
    wanted.spec.resources = serde_json::from_value(json!({"limits": {"memory": "3Gi"}})).unwrap();
    seen.object = Arc::new(wanted);
    let plan = plan(now(), &config(), &seen);
    assert!(plan.changes.is_empty());
    let error = plan.status.error.clone().unwrap();
    assert_eq!(error.reason, Reason::ResourcesExceedInstanceType.as_str());
    assert_eq!(plan.status.provisioning_state, Some(DeploymentState::Failed));
    assert_eq!(condition(&plan.status, condition::SERVING).unwrap().0, "True");
    assert_eq!(condition(&plan.status, condition::CONTAINER_STARTED), Some(("False", "ERR_2100")));
    assert_eq!(condition(&plan.status, condition::CONTAINER_HEALTHY).unwrap().0, "Unknown");
}

#[test]
fn what_can_not_be_built_is_named() {
    for (changes, reason) in [
        (json!({"model": {"uri": "ftp://host/model"}}), Reason::ArtifactUriInvalid),
        (json!({"model": {"uri": "pvc:///model"}}), Reason::ArtifactUriInvalid),
        (json!({"model": {"uri": "pvc://claim/../x"}}), Reason::ArtifactUriInvalid),
        (json!({"model": {"uri": "azureml:iris:1"}}), Reason::ArtifactUriInvalid),
        (json!({"environment": {"image": "AzureML:sklearn:1"}}), Reason::ImageNameInvalid),
        (json!({"instanceType": "gold"}), Reason::InstanceTypeNotFound),
    ] {
        let plan = first_plan(&deployment(&changes));
        assert_eq!(plan.status.error.unwrap().reason, reason.as_str());
        assert!(plan.changes.is_empty());
    }
}

#[test]
fn what_can_not_be_built_does_not_wait_for_the_endpoint_that_failed_by_it() {
    let mut seen =
        SeenDeployment { has_service_account: false, ..seen_deployment(deployment(&json!({"instanceType": "gold"}))) };
    let first = plan(now(), &config(), &seen).status;
    Arc::make_mut(&mut seen.object).status = Some(first.clone());
    let mut failed = endpoint(&json!({"traffic": {"blue": 100}}));
    failed.status = Some(OnlineEndpointStatus {
        provisioning_state: Some(EndpointState::Failed),
        ..OnlineEndpointStatus::default()
    });
    seen.endpoint = SeenOwner::Present(Arc::new(failed));
    assert_eq!(plan(now(), &config(), &seen).status, first);
    // One that can be built does wait for it, and is no reason for it to fail.
    let good = seen_deployment(deployment(&json!({})));
    let good = SeenDeployment { has_service_account: false, endpoint: seen.endpoint, ..good };
    let waiting = plan(now(), &config(), &good);
    assert!(waiting.changes.is_empty() && waiting.status.error.is_none());
    assert_eq!(condition(&waiting.status, condition::READY), Some(("False", reason::PROVISIONING)));
}

#[test]
fn an_upgrade_of_the_operator_restarts_no_model() {
    let object = deployment(&json!({}));
    let seen = carried_out(&object, &first_plan(&object), 1, 1, 1);
    let upgraded = crate::plan::Config { fetch_image: "registry/mooring/fetch:2".to_owned(), ..config() };
    assert!(plan(now(), &upgraded, &seen).changes.is_empty());

    // The next revision has the new one.
    let mut wanted = (*seen.object).clone();
    wanted.spec.environment.image = "registry/sklearn@sha256:2".to_owned();
    let changed = plan(now(), &upgraded, &SeenDeployment { object: Arc::new(wanted), ..seen });
    let initializer = pod_of(&changed).init_containers.unwrap();
    assert_eq!(initializer[0].image.as_deref(), Some("registry/mooring/fetch:2"));
}

#[test]
fn without_its_endpoint_a_deployment_has_no_instances() {
    let object = deployment(&json!({}));
    let waiting =
        plan(now(), &config(), &SeenDeployment { endpoint: SeenOwner::Missing, ..seen_deployment(object.clone()) });
    assert!(waiting.changes.is_empty());
    assert_eq!(condition(&waiting.status, condition::READY), Some(("False", "EndpointNotFound")));
    let seen = carried_out(&object, &first_plan(&object), 1, 1, 1);
    let orphan = plan(now(), &config(), &SeenDeployment { endpoint: SeenOwner::Missing, ..seen });
    assert!(matches!(orphan.changes.as_slice(), [Change::Delete(_), Change::Delete(_)]), "{:?}", orphan.changes);
}

#[test]
fn an_endpoint_that_cannot_be_read_takes_nothing_away() {
    let object = deployment(&json!({}));
    let seen = carried_out(&object, &first_plan(&object), 1, 1, 1);
    let endpoint = SeenOwner::Unreadable("no".to_owned());
    assert!(plan(now(), &config(), &SeenDeployment { endpoint, ..seen }).changes.is_empty());
}

#[test]
fn a_foreign_object_of_our_name_is_never_touched() {
    let object = deployment(&json!({}));
    let plan = plan(now(), &config(), &SeenDeployment { service: Found::Foreign, ..seen_deployment(object) });
    assert!(plan.changes.is_empty());
    assert_eq!(condition(&plan.status, condition::READY), Some(("False", "NameConflict")));
    assert_eq!(condition(&plan.status, condition::STALLED).unwrap().0, "True");
}

#[test]
fn the_life_of_a_deployment_is_told_in_its_states() {
    let object = deployment(&json!({"instanceCount": 2}));
    let first = first_plan(&object);
    assert_eq!(first.status.provisioning_state, Some(DeploymentState::Creating));
    assert_eq!(condition(&first.status, condition::RECONCILING).unwrap().0, "True");
    let state = |seen: &SeenDeployment| plan(now(), &config(), seen).status;
    assert_eq!(state(&carried_out(&object, &first, 2, 2, 1)).provisioning_state, Some(DeploymentState::Creating));
    let done = state(&carried_out(&object, &first, 2, 2, 2));
    assert_eq!(done.provisioning_state, Some(DeploymentState::Succeeded));
    assert_eq!(condition(&done, condition::READY), Some(("True", "Succeeded")));
    assert_eq!((condition(&done, condition::RECONCILING), condition(&done, condition::STALLED)), (None, None));
    assert_eq!(done.ready.as_deref(), Some("2/2"));

    // From here on it has succeeded once.
    let mut seen = carried_out(&object, &first, 2, 2, 2);
    let mut object = (*seen.object).clone();
    object.status = Some(done);
    object.spec.instance_count = 3;
    seen.object = Arc::new(object.clone());
    let scaling = plan(now(), &config(), &seen);
    assert!(matches!(scaling.changes.as_slice(), [Change::Apply(Child::Deployment(_))]));
    assert_eq!(scaling.status.provisioning_state, Some(DeploymentState::Scaling));
    object.spec.environment.image = "registry/sklearn@sha256:2".to_owned();
    let updating = plan(now(), &config(), &SeenDeployment { object: Arc::new(object), ..seen });
    assert_eq!(updating.status.provisioning_state, Some(DeploymentState::Updating));
}

#[test]
fn scaled_to_zero_is_ready_and_does_not_serve() {
    let object = deployment(&json!({"instanceCount": 0}));
    let status = plan(now(), &config(), &carried_out(&object, &first_plan(&object), 0, 0, 0)).status;
    assert_eq!(condition(&status, condition::READY), Some(("True", "ScaledToZero")));
    assert_eq!(condition(&status, condition::SERVING), Some(("False", "ScaledToZero")));
}

#[test]
fn an_error_moves_to_the_recent_ones_when_it_is_over() {
    let object = deployment(&json!({"instanceType": "gold"}));
    let failed = first_plan(&object);
    let healed = {
        let object = deployment(&json!({}));
        let mut seen = carried_out(&object, &first_plan(&object), 1, 1, 1);
        let mut object = (*seen.object).clone();
        object.status = Some(failed.status);
        seen.object = Arc::new(object);
        plan(now(), &config(), &seen).status
    };
    assert_eq!(healed.error, None);
    assert_eq!(healed.recent_errors[0].reason, "InstanceTypeNotFound");
    assert_eq!(healed.provisioning_state, Some(DeploymentState::Succeeded));
}

#[test]
fn of_two_with_one_name_the_younger_waits() {
    let object = named_deployment("iris-blue-2", "BLUE", &json!({}));
    let seen = SeenDeployment { rival: Some("iris-blue".to_owned()), ..seen_deployment(object) };
    assert_eq!(condition(&plan(now(), &config(), &seen).status, condition::READY), Some(("False", "NameConflict")));
}

proptest! {
    #[test]
    fn a_second_pass_changes_nothing(
        instances in 0..=50_i32,
        timeout in 1..300_000_i32,
        cpu in 1..2000_u32,
        image in "[a-z]{1,8}(:[a-z0-9]{1,4})?",
        value in ".{0,12}",
        has_model: bool,
    ) {
        let mut changes = json!({
            "instanceCount": instances,
            "requestSettings": {"requestTimeoutMs": timeout},
            "resources": {"limits": {"cpu": format!("{cpu}m")}},
            "environment": {"image": image},
            "environmentVariables": [{"name": "A", "value": value}],
        });
        if !has_model {
            changes["model"] = Value::Null;
        }
        let object = deployment(&changes);
        let seen = carried_out(&object, &first_plan(&object), instances, instances, instances);
        let second = plan(now(), &config(), &seen);
        prop_assert!(second.changes.is_empty(), "{:?}", second.changes);
        let mut object = object;
        object.status = Some(second.status.clone());
        let third = plan(now(), &config(), &SeenDeployment { object: Arc::new(object), ..seen });
        prop_assert_eq!(third.status, second.status);
    }
}
