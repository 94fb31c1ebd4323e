//! What is said of objects before they are stored.

use std::sync::Arc;

use serde_json::{Value, json};

use super::example::{deployment, endpoint, named_deployment};
use crate::api::compute_quota::ComputeQuotaSpec;
use crate::api::endpoint::OnlineEndpoint;
use crate::api::instance_type::built_in;
use crate::plan::admission::{self, AroundDeployment, AroundEndpoint};
use crate::plan::quota::{Claims, Quota};
use crate::plan::seen::SeenKeys;

fn around() -> AroundDeployment {
    AroundDeployment { instance_type: built_in("defaultinstancetype"), ..AroundDeployment::default() }
}

fn around_endpoint(keys: SeenKeys) -> AroundEndpoint {
    AroundEndpoint { names: vec!["blue".to_owned()], keys, quotas: Vec::new(), claims: Claims::default() }
}

fn fields(changes: &Value, around: &AroundDeployment) -> Vec<String> {
    let verdict = admission::deployment(&deployment(changes), None, around);
    verdict.objections.into_iter().map(|objection| objection.field).collect()
}

#[test]
fn a_good_deployment_passes_without_a_word() {
    assert_eq!(admission::deployment(&deployment(&json!({})), None, &around()), admission::Verdict::default());
}

#[test]
fn every_problem_is_told_at_once_with_its_field() {
    let bad = json!({
        "model": {"uri": "azureml:iris:1"},
        "codeConfiguration": {"code": {"uri": "ftp://host/code"}, "scoringScript": "score.py"},
        "environment": {"image": "azureml:sklearn:3"},
        "resources": {"limits": {"cpu": "64", "nvidia.com/gpu": "1"}, "requests": {"memory": "1Ti"}},
    });
    let expected = [
        "spec.environment.image",
        "spec.model.uri",
        "spec.codeConfiguration.code.uri",
        "spec.resources.limits[cpu]",
        "spec.resources.limits[nvidia.com/gpu]",
        "spec.resources.requests[memory]",
    ];
    assert_eq!(fields(&bad, &around()), expected);
    let verdict = admission::deployment(&deployment(&bad), None, &around());
    assert!(verdict.objections[0].message.contains("REGISTRY/NAME:TAG"), "{:?}", verdict.objections[0]);
    assert!(verdict.objections[1].message.contains("azure://ACCOUNT/CONTAINER/PATH"), "{:?}", verdict.objections[1]);
}

#[test]
fn an_unknown_instance_type_is_refused() {
    assert_eq!(fields(&json!({}), &AroundDeployment::default()), ["spec.instanceType"]);
}

#[test]
fn a_name_is_given_once_in_an_endpoint() {
    let other = |changes: &Value| Arc::new(named_deployment("iris-other", "BLUE", changes));
    let with = |other| AroundDeployment { namesakes: vec![other], ..around() };
    assert_eq!(fields(&json!({}), &with(other(&json!({})))), ["spec.deploymentName"]);
    assert_eq!(fields(&json!({}), &with(other(&json!({"endpointName": "rose"})))), [] as [&str; 0]);
    let itself = Arc::new(deployment(&json!({})));
    assert_eq!(fields(&json!({}), &with(itself)), [] as [&str; 0]);
    let unnamed = json!({"deploymentName": null});
    let other = Arc::new(named_deployment("iris-other", "iris-blue", &json!({})));
    assert_eq!(fields(&unnamed, &with(other)), ["metadata.name"]);
}

#[test]
fn what_was_wrong_before_does_not_forbid_a_change() {
    let before = deployment(&json!({"resources": {"limits": {"cpu": "64"}}}));
    let change = |changes: &Value| {
        let kind = built_in("defaultinstancetype");
        admission::deployment(&deployment(changes), Some((&before, kind.as_ref())), &around())
    };
    let scaled = change(&json!({"resources": {"limits": {"cpu": "64"}}, "instanceCount": 3}));
    assert_eq!(scaled.objections, []);
    assert!(scaled.warnings[0].starts_with("spec.resources.limits[cpu]: "), "{scaled:?}");
    let worse = change(&json!({"resources": {"limits": {"cpu": "65"}}}));
    assert_eq!(worse.objections.len(), 1, "{worse:?}");
}

#[test]
fn too_small_a_quota_is_a_warning() {
    let quota = |spec| Quota { name: "team".to_owned(), spec };
    let cores = ComputeQuotaSpec { total_cores: Some(3), ..ComputeQuotaSpec::default() };
    let around = AroundDeployment { quotas: vec![quota(cores)], ..around() };
    let verdict = |count: i32| admission::deployment(&deployment(&json!({"instanceCount": count})), None, &around);
    assert_eq!(verdict(1), admission::Verdict::default());
    let large = verdict(2);
    assert!(large.objections.is_empty() && large.warnings[0].starts_with("ERR_1100: "), "{large:?}");
    let endpoints = ComputeQuotaSpec { endpoints: Some(0), ..ComputeQuotaSpec::default() };
    let around = AroundEndpoint { quotas: vec![quota(endpoints)], ..around_endpoint(SeenKeys::Absent) };
    let verdict = admission::endpoint(&endpoint(&json!({})), None, &around);
    assert!(verdict.warnings[0].starts_with("ERR_1100: "), "{verdict:?}");
}

#[test]
fn traffic_for_a_deployment_that_is_not_there_is_a_warning() {
    let spec = json!({"traffic": {"Blue": 90, "green": 10, "red": 0}, "mirrorTraffic": {"grey": 5}});
    let verdict = admission::endpoint(&endpoint(&spec), None, &around_endpoint(SeenKeys::Absent));
    assert_eq!(verdict.objections, []);
    let about: Vec<_> = verdict.warnings.iter().filter_map(|warning| warning.split(':').next()).collect();
    assert_eq!(about, ["spec.traffic[green]", "spec.mirrorTraffic[grey]"]);
}

#[test]
fn a_secret_of_the_wrong_shape_is_refused_and_one_that_may_come_is_not() {
    let object = endpoint(&json!({"keysSecretName": "mine"}));
    let wrong = around_endpoint(SeenKeys::Incomplete(vec!["primaryKey", "secondaryKey"]));
    let objections = admission::endpoint(&object, None, &wrong).objections;
    assert_eq!(objections[0].field, "spec.keysSecretName");
    assert!(objections[0].message.contains("lacks primaryKey and secondaryKey"), "{objections:?}");
    assert_eq!(admission::endpoint(&object, Some(&object), &wrong).objections, [], "it was so before");
    let absent = admission::endpoint(&object, None, &around_endpoint(SeenKeys::Absent));
    assert!(absent.objections.is_empty() && absent.warnings[0].contains("no Secret \"mine\" yet"), "{absent:?}");
    let of_tokens = endpoint(&json!({"keysSecretName": "mine", "authMode": "AMLToken"}));
    assert_eq!(admission::endpoint(&of_tokens, None, &wrong), admission::Verdict::default());
}

#[test]
fn a_deployment_with_live_traffic_is_not_deleted() {
    let blue = deployment(&json!({}));
    let with = |endpoint: Option<OnlineEndpoint>, names: &[&str]| AroundDeployment {
        endpoint: endpoint.map(Arc::new),
        namesakes: vec![Arc::new(blue.clone())],
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..around()
    };
    let all = ["blue", "green"];
    let refused = |spec: &Value, names: &[&str]| admission::deletion(&blue, &with(Some(endpoint(spec)), names));
    let split = refused(&json!({"traffic": {"BLUE": 90, "green": 10}}), &all).unwrap().message;
    assert!(split.contains(r#"-p '{"spec":{"traffic":{"BLUE":0,"green":100}}}'"#), "{split}");
    let alone = refused(&json!({"traffic": {"blue": 100}}), &all[..1]).unwrap().message;
    assert!(alone.contains(r#"-p '{"spec":{"traffic":{"blue":0}}}'"#), "{alone}");
    for idle in [json!({"traffic": {"blue": 0, "green": 100}}), json!({"mirrorTraffic": {"blue": 10}}), json!({})] {
        assert_eq!(refused(&idle, &all), None, "{idle}");
    }
    assert_eq!(admission::deletion(&blue, &with(None, &all)), None, "its endpoint is gone");
    let mut going = endpoint(&json!({"traffic": {"blue": 100}}));
    going.metadata.deletion_timestamp = going.metadata.creation_timestamp.clone();
    assert_eq!(admission::deletion(&blue, &with(Some(going), &all)), None, "its endpoint is going");
    let mut newer = named_deployment("iris-copy", "blue", &json!({}));
    newer.metadata.name = Some("z".to_owned());
    let live = endpoint(&json!({"traffic": {"blue": 100}}));
    assert_eq!(admission::deletion(&newer, &with(Some(live), &all)), None, "the traffic is the older one's");
}
