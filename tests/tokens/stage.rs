//! A namespace with an endpoint that wants tokens, and a gateway with a service account of its own.

use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::RwLockReadGuard;

use crate::place::{Place, setting};
use crate::process::{Gateway, PATIENCE};
use crate::token;
use crate::wire::{self, Answer};

pub struct Stage {
    pub place: Place,
    pub gateway: Gateway,
    _running: Option<RwLockReadGuard<'static, ()>>,
}

impl Stage {
    /// With a gateway that has all the rights of the chart.
    pub async fn new(name: &str) -> Self {
        let running = crate::api_server::running().await;
        Self { _running: Some(running), ..Self::with(name, true).await }
    }

    /// With a gateway that may review tokens or may not. Its endpoint `iris` has no instance: whoever is let in is
    /// told so.
    pub async fn with(name: &str, may_review: bool) -> Self {
        let place = Place::new(name).await;
        for account in ["gateway", "caller", "stranger"] {
            let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
            place.apply(account).await;
        }
        let reads = json!([
            {"apiGroups": ["mooring.dev"], "resources": ["endpointroutes"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"]},
        ]);
        role(&place, "gateway", &reads).await;
        let stage = Self { gateway: gateway(&place).await, place, _running: None };
        stage.allow().await;
        if may_review {
            stage.allow_reviews().await;
        }
        stage.place.apply(route(&stage.audience())).await;
        let found = |answer: &Answer| answer.status != 404;
        stage.until("no token", "the route to come", found).await;
        stage
    }

    /// Gives the gateway the right to ask about tokens. The built-in role has the same two rules as the chart's.
    pub async fn allow_reviews(&self) {
        let namespace = &self.place.namespace;
        let binding: ClusterRoleBinding = serde_json::from_value(json!({
            "metadata": {"name": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
            "subjects": [{"kind": "ServiceAccount", "name": "gateway", "namespace": namespace}],
        }))
        .unwrap();
        Api::all(self.place.client.clone()).create(&PostParams::default(), &binding).await.unwrap();
    }

    /// Lets the caller score.
    pub async fn allow(&self) {
        let score = json!([
            {"apiGroups": ["mooring.dev"], "resources": ["onlineendpoints"], "resourceNames": ["iris"], "verbs": ["score"]},
        ]);
        role(&self.place, "caller", &score).await;
    }

    pub fn audience(&self) -> String {
        format!("mooring.dev/{}/iris", self.place.namespace)
    }

    pub async fn token(&self, account: &str) -> String {
        token::of(&self.place, account, &self.audience()).await
    }

    pub async fn score(&self, token: &str) -> Answer {
        let path = format!("/api/v1/endpoint/{}/iris/score", self.place.namespace);
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        wire::exchange(self.gateway.address, request).await
    }

    /// Scores until the answer is as wanted.
    pub async fn until(&self, token: &str, what: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        self.until_within(2 * PATIENCE, token, what, wanted).await
    }

    pub async fn until_within(
        &self,
        patience: Duration,
        token: &str,
        what: &str,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Answer {
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let answer = self.score(token).await;
            if wanted(&answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "waiting for {what}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The token shows nowhere in what the gateway has said.
    pub fn keeps_secret(&self, token: &str) {
        let signature = token.rsplit('.').next().unwrap();
        assert_eq!((self.gateway.lines(token), self.gateway.lines(signature)), (0, 0));
    }

    pub async fn done(self) {
        let bindings = Api::<ClusterRoleBinding>::all(self.place.client.clone());
        let _ = bindings.delete(&self.place.namespace, &DeleteParams::default()).await;
        self.place.done().await;
    }
}

/// Whether the caller was let in: the endpoint has no instance.
pub fn is_let_in(answer: &Answer) -> bool {
    (answer.status, &answer.error()["code"]) == (424, &json!("ModelNotReady"))
}

/// The message of a 401.
pub fn refusal(answer: &Answer) -> String {
    assert_eq!((answer.status, &answer.error()["code"]), (401, &json!("Unauthorized")), "{answer:?}");
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    answer.error()["message"].as_str().unwrap().to_owned()
}

/// A role with these rules, which the service account of its name has.
async fn role(place: &Place, name: &str, rules: &Value) {
    let api_version = "rbac.authorization.k8s.io/v1";
    place.apply(json!({"apiVersion": api_version, "kind": "Role", "metadata": {"name": name}, "rules": rules})).await;
    place
        .apply(json!({
            "apiVersion": api_version, "kind": "RoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": place.namespace}],
        }))
        .await;
}

/// The route of `iris`, as the operator writes it.
fn route(audience: &str) -> Value {
    json!({
        "apiVersion": "mooring.dev/v1alpha1", "kind": "EndpointRoute", "metadata": {"name": "iris"},
        "spec": {
            "endpointName": "iris", "endpointGeneration": 1,
            "auth": {"mode": "AMLToken", "tokenAudience": audience},
            "limits": {"requestsPerSecond": 100_000, "maxRequestBytes": 1000, "maxResponseBytes": 1000},
            "deployments": [{
                "name": "blue", "weight": 100, "service": "iris-blue", "port": 5001, "scoringPath": "/score",
                "requestTimeoutMs": 1000, "maxConcurrentRequestsPerInstance": 1, "maxQueueWaitMs": 1000, "instances": 1,
            }],
        },
    })
}

/// A gateway for the namespace, with the rights of its service account there.
async fn gateway(place: &Place) -> Gateway {
    let folder = tempfile::tempdir().unwrap();
    let mut kubeconfig = kube::config::Kubeconfig::read_from(setting("MOORING_TEST_KUBECONFIG")).unwrap();
    let token = token::of(place, "gateway", "https://kubernetes.default.svc.cluster.local").await;
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(serde_json::from_value(json!({"token": token})).unwrap());
    }
    let path = folder.path().join("kubeconfig");
    // An auth_info hides its token when written by itself.
    let mut document = serde_json::to_value(&kubeconfig).unwrap();
    for user in document["users"].as_array_mut().unwrap() {
        user["user"] = json!({"token": token});
    }
    std::fs::write(&path, document.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mooring-gateway"));
    command.args(["--source=cluster", "--namespace", &place.namespace]).env("KUBECONFIG", path).stdin(Stdio::null());
    Gateway::run(command, folder).await
}
