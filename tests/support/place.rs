//! The cluster that `tests/run` has started, and a namespace of its own for each test.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::config::KubeConfigOptions;
use kube::core::DynamicObject;
use kube::discovery::ApiResource;
use kube::{Client, Resource, ResourceExt};
use serde_json::Value;

/// What `tests/run` tells the tests; see `tests/run --help`.
pub fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run these tests with `tests/run`"))
}

/// A namespace of one test, removed when the test ends well; left for a look when it fails.
pub struct Place {
    pub client: Client,
    pub namespace: String,
}

impl Place {
    pub async fn new(name: &str) -> Self {
        Self::labelled(name, &[]).await
    }

    pub async fn labelled(name: &str, labels: &[(&str, &str)]) -> Self {
        // Several tests may install it; the first one wins.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = kube::config::Kubeconfig::read_from(setting("MOORING_TEST_KUBECONFIG")).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let client = Client::try_from(config).unwrap();
        let namespaces: Api<Namespace> = Api::all(client.clone());
        // Everything that we make is admitted by the strictest profile.
        let labels = labels.iter().copied().chain([("pod-security.kubernetes.io/enforce", "restricted")]);
        let namespace = Namespace {
            metadata: kube::core::ObjectMeta {
                generate_name: Some(format!("test-{name}-")),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
                ..Default::default()
            },
            ..Default::default()
        };
        let made = namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        Self { client, namespace: made.name_any() }
    }

    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// `kubectl apply --server-side` of one document.
    pub async fn apply(&self, document: Value) {
        let object: DynamicObject = serde_json::from_value(document).unwrap();
        let types = object.types.clone().unwrap();
        let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
        let kind = kube::core::GroupVersionKind::gvk(group, version, &types.kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), &self.namespace, &ApiResource::from_gvk(&kind));
        let parameters = PatchParams::apply("test").force();
        api.patch(&object.name_any(), &parameters, &Patch::Apply(&object)).await.unwrap();
    }

    pub async fn done(self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.delete(&self.namespace, &DeleteParams::default()).await.unwrap();
    }
}
