//! The way from outside the cluster.

use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{DeleteParams, Patch, PatchParams};
use mooring_operator::api::endpoint_route::EndpointRoute;
use mooring_operator::api::http_route::HTTPRoute;
use serde_json::json;

use crate::support::documents::{endpoint, with};
use crate::support::outcomes::gone;
use crate::support::stage::Stage;

#[tokio::test]
async fn an_ingress_is_kept_as_the_endpoint_says() {
    let stage = Stage::serving("ingress").await;
    let place = &stage.place;
    let document = |host: &str| {
        let ingress = json!({"className": "nginx", "host": host, "tlsSecretName": "tls", "annotations": {"a/b": "c"}});
        with(endpoint(&json!({"blue": 100})), "/spec/ingress", ingress)
    };
    let host_is = |host: &'static str| {
        move |it: Option<&Ingress>| {
            let rules = it.and_then(|it| it.spec.as_ref()?.rules.as_ref());
            rules.is_some_and(|rules| rules[0].host.as_deref() == Some(host))
        }
    };
    place.apply(document("iris.example.com")).await;
    place.until("iris", "made", host_is("iris.example.com")).await;
    let hosts_of = |host: &'static str| move |it: Option<&EndpointRoute>| it.is_some_and(|it| it.spec.hosts == [host]);
    place.until("iris", "of the host", hosts_of("iris.example.com")).await;
    place.apply(document("iris.example.org")).await;
    place.until("iris", "of the other host", host_is("iris.example.org")).await;
    // Somebody's change does not last, and neither does a deletion.
    let ingresses = place.api::<Ingress>();
    let change = json!({"spec": {"ingressClassName": "other"}});
    ingresses.patch("iris", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    place
        .until("iris", "put right", |it: Option<&Ingress>| {
            let class = it.and_then(|it| it.spec.as_ref()?.ingress_class_name.as_deref());
            class == Some("nginx")
        })
        .await;
    let before = ingresses.get("iris").await.unwrap().metadata.uid;
    ingresses.delete("iris", &DeleteParams::default()).await.unwrap();
    loop {
        match ingresses.get_opt("iris").await.unwrap() {
            Some(again) if again.metadata.uid != before => break,
            _ => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
        }
    }
    place.apply(with(document("iris.example.org"), "/spec/publicNetworkAccess", json!("Disabled"))).await;
    gone::<Ingress>(place, "iris").await;
    stage.done().await;
}

#[tokio::test]
async fn a_way_through_a_gateway_takes_the_place_of_an_ingress_and_gives_it_back() {
    let stage = Stage::serving("gateways").await;
    let place = &stage.place;
    let document = |ingress| with(endpoint(&json!({"blue": 100})), "/spec/ingress", ingress);
    place.apply(document(json!({"host": "iris.example.com"}))).await;
    place.until("iris", "made", |it: Option<&Ingress>| it.is_some()).await;
    let gateway = json!({"name": "public", "namespace": "gateways", "sectionName": "https"});
    place.apply(document(json!({"host": "iris.example.com", "gateway": gateway}))).await;
    gone::<Ingress>(place, "iris").await;
    let made = place.until("iris", "made", |it: Option<&HTTPRoute>| it.is_some()).await;
    assert_eq!(made.spec.parent_refs[0].section_name.as_deref(), Some("https"));
    assert_eq!(made.spec.hostnames, ["iris.example.com"]);
    place.ready("iris", &["iris-blue"]).await;
    // Somebody's change does not last.
    let change = json!({"spec": {"hostnames": ["other.example.com"]}});
    place.api::<HTTPRoute>().patch("iris", &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    place
        .until("iris", "put right", |it: Option<&HTTPRoute>| {
            it.is_some_and(|it| it.spec.hostnames == ["iris.example.com"])
        })
        .await;
    place.apply(endpoint(&json!({"blue": 100}))).await;
    gone::<HTTPRoute>(place, "iris").await;
    stage.done().await;
}
