//! What we say of our objects: the status, written last and only when it says something new, and an Event for what
//! went wrong and for what is right again.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::ObjectMeta;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::api::label::MANAGER;
use crate::plan::status::news::News;

/// What our Events are reported by.
const CONTROLLER: &str = "mooring.dev/operator";

/// Writes a status that differs from the one before. `None`: there was nothing to say, or nobody to say it to.
pub(super) async fn status<K, S>(
    client: &Client,
    object: &K,
    before: Option<&S>,
    status: &S,
) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    S: Serialize + PartialEq,
{
    if before == Some(status) {
        return Ok(None);
    }
    let name = object.name_any();
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        // A new object of the same name answers with a conflict.
        "metadata": {"name": name, "uid": object.uid()},
        "status": status,
    });
    match api.patch_status(&name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await {
        Ok(written) => Ok(Some(written)),
        Err(kube::Error::Api(answer)) if answer.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Tells news as an Event. The status has it already, so a failure is only logged.
pub(super) async fn event<K>(client: &Client, object: &K, news: &News)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    if let Err(error) = try_event(client, object, news).await {
        let metadata = object.meta();
        let (namespace, name) = (metadata.namespace.as_deref(), metadata.name.as_deref());
        tracing::warn!(namespace, name, reason = news.reason, %error, "an Event could not be written");
    }
}

/// The same news has the same name: what happened before becomes a series.
async fn try_event<K>(client: &Client, object: &K, news: &News) -> Result<(), kube::Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    let namespace = object.meta().namespace.clone();
    let api: Api<Event> = Api::namespaced(client.clone(), namespace.as_deref().unwrap_or_default());
    let name = news.event_name(&object.name_any());
    let now = MicroTime(Timestamp::now());
    let repeated = |count: i32| EventSeries { count, last_observed_time: now.clone() };
    if news.count > 1 {
        let patch = Patch::Merge(json!({"series": repeated(news.count)}));
        match api.patch(&name, &PatchParams::default(), &patch).await {
            Ok(_) => return Ok(()),
            // Never told, or forgotten by the cluster meanwhile.
            Err(kube::Error::Api(answer)) if answer.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    let event = Event {
        metadata: ObjectMeta { name: Some(name.clone()), namespace, ..ObjectMeta::default() },
        type_: Some(if news.is_warning { "Warning" } else { "Normal" }.to_owned()),
        reason: Some(news.reason.clone()),
        note: Some(news.note.clone()),
        action: Some("Reconcile".to_owned()),
        regarding: Some(object.object_ref(&())),
        event_time: Some(now.clone()),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(MANAGER.to_owned()),
        ..Event::default()
    };
    match api.create(&PostParams::default(), &event).await {
        Err(kube::Error::Api(answer)) if answer.is_already_exists() => {
            let patch = Patch::Merge(json!({"series": repeated(news.count.max(2))}));
            api.patch(&name, &PatchParams::default(), &patch).await.map(|_| ())
        }
        other => other.map(|_| ()),
    }
}
