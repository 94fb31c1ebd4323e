use serde_json::{Value, json};

use super::example::{config, deployment};
use super::world::{Moment, containers, done, moment, running, seen, time, waiting};
use crate::api::deployment::Download;
use crate::plan::deployment::plan;
use crate::plan::seen::SeenDeployment;

/// What the status says of a download that instances were last heard of.
fn told(moment: &Moment) -> Option<Download> {
    let seen = seen(&deployment(&json!({})), moment);
    let heard = Download { bytes_done: 7, ..Download::default() };
    plan(time(moment.at), &config(), &SeenDeployment { download: Some(heard), ..seen }).status.download
}

fn instance(name: &str, initializer: &Value) -> Value {
    containers(name, initializer, &waiting("PodInitializing", ""))
}

#[test]
fn a_download_is_told_while_an_instance_of_the_current_revision_downloads() {
    let (downloads, has_it) = (instance("a", &running(2, false)), instance("b", &done()));
    assert_eq!(told(&moment(9, (2, 2, 0), [downloads.clone(), has_it.clone()])).unwrap().bytes_done, 7);
    assert_eq!(told(&moment(9, (1, 1, 0), [has_it])), None);
    let mut old = downloads;
    old["metadata"]["labels"]["pod-template-hash"] = json!("h0");
    assert_eq!(told(&moment(9, (2, 1, 0), [old])), None);
}

#[test]
fn a_restart_of_the_operator_takes_nothing_back() {
    let moment = moment(9, (1, 1, 0), [instance("a", &running(2, false))]);
    let mut object = deployment(&json!({}));
    let heard = Download { bytes_done: 7, ..Download::default() };
    let before = SeenDeployment { download: Some(heard), ..seen(&object, &moment) };
    object.status = Some(plan(time(moment.at), &config(), &before).status);
    let after = plan(time(moment.at), &config(), &seen(&object, &moment)).status;
    assert_eq!(object.status, Some(after));
}

#[test]
fn what_was_heard_of_the_revision_before_is_not_told_of_the_next() {
    let object = deployment(&json!({}));
    let moment = moment(9, (1, 1, 0), [instance("a", &running(2, false))]);
    let mut seen = seen(&object, &moment);
    seen.download = Some(Download { bytes_done: 7, ..Download::default() });
    let mut changed = object;
    changed.spec.environment.image = "registry/sklearn@sha256:2".to_owned();
    seen.object = std::sync::Arc::new(changed);
    assert_eq!(plan(time(moment.at), &config(), &seen).status.download, None);
}
