//! A namespace with its operator and its node.

use serde_json::json;

use super::documents::{deployment, endpoint};
use super::kubelet::Kubelet;
use super::operator::Operator;
use super::place::{Place, setting};

pub struct Stage {
    pub place: Place,
    pub kubelet: Kubelet,
    pub operator: Operator,
}

impl Stage {
    pub async fn empty(name: &str) -> Self {
        let place = Place::new(name).await;
        let kubelet = Kubelet::start(&place).await;
        let operator = Operator::start(&place.namespace, setting("MOORING_TEST_KUBECONFIG").as_ref());
        Self { place, kubelet, operator }
    }

    /// With endpoint `iris` and its deployment `blue`, which has all the traffic.
    pub async fn serving(name: &str) -> Self {
        let stage = Self::empty(name).await;
        stage.place.apply(endpoint(&json!({"blue": 100}))).await;
        stage.place.apply(deployment("blue", "good:1")).await;
        stage.place.ready("iris", &["iris-blue"]).await;
        stage
    }

    pub async fn done(self) {
        self.place.done().await;
        self.kubelet.stop().await;
    }
}
