//! What the taints of nodes mean for an instance. Since Kubernetes 1.34 the scheduler names no taint in its message, so
//! that a node that is lost for a while and one that is kept for others read alike.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PodSpec, Taint, Toleration};
use kube::ResourceExt;

/// Taints that pass by themselves: of a node that is lost, or new and not up yet.
/// Source: Kubernetes, "Taints and Tolerations" and "Cloud Controller Manager".
const PASSING: [&str; 5] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/network-unavailable",
    "node.cloudprovider.kubernetes.io/uninitialized",
    "node.cloudprovider.kubernetes.io/shutdown",
];

/// What the taints of all nodes mean for the instances of one deployment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taints {
    /// The nodes whose taints keep the instances away.
    pub nodes: usize,
    /// Which they are.
    pub standing: Standing,
}

/// The node that matters most among those whose taints keep an instance away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The deployment does not select it anyway.
    #[default]
    Elsewhere,
    /// The deployment selects it.
    Selected,
    /// The deployment selects it, and it takes instances again once it is back.
    Passing,
}

/// What the taints of `nodes` mean for instances that are as `pod` says.
#[must_use]
pub fn of(nodes: &[Arc<Node>], pod: &PodSpec) -> Taints {
    let standing = |node: &Arc<Node>| {
        let mut repelling = repelling(node, pod).peekable();
        repelling.peek()?;
        let passing = repelling.all(|taint| is_passing(&taint.key));
        Some(match (selects(pod, node), passing) {
            (true, true) => Standing::Passing,
            (true, false) => Standing::Selected,
            (false, _) => Standing::Elsewhere,
        })
    };
    let all = nodes.iter().filter_map(standing);
    all.fold(Taints::default(), |sum, one| Taints { nodes: sum.nodes + 1, standing: sum.standing.max(one) })
}

/// Whether a taint with this key passes by itself.
#[must_use]
pub fn is_passing(key: &str) -> bool {
    PASSING.contains(&key)
}

/// The taints that keep an instance from being placed on a node.
fn repelling<'a>(node: &'a Node, pod: &'a PodSpec) -> impl Iterator<Item = &'a Taint> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    taints.filter(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !pod.tolerations.iter().flatten().any(|toleration| tolerates(toleration, taint))
    })
}

fn selects(pod: &PodSpec, node: &Node) -> bool {
    let labels = node.labels();
    pod.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let key = toleration.key.as_deref().unwrap_or_default();
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let exists = toleration.operator.as_deref() == Some("Exists");
    let value = toleration.value.as_deref().unwrap_or_default();
    (effect.is_empty() || effect == taint.effect)
        && (key == taint.key || (key.is_empty() && exists))
        && (exists || value == taint.value.as_deref().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(labels: &Value, taints: &Value) -> Arc<Node> {
        let node = json!({"metadata": {"name": "n", "labels": labels}, "spec": {"taints": taints}});
        Arc::new(serde_json::from_value(node).unwrap())
    }

    fn seen(nodes: &[Arc<Node>], pod: &Value) -> Taints {
        let mut pod = pod.clone();
        pod["containers"] = json!([]);
        of(nodes, &serde_json::from_value(pod).unwrap())
    }

    fn taint(key: &str) -> Value {
        json!({"key": key, "effect": "NoSchedule"})
    }

    #[test]
    fn a_lost_worker_beside_a_control_plane_is_waited_for() {
        let control_plane = node(&json!({}), &json!([taint("node-role.kubernetes.io/control-plane")]));
        let executes = json!({"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"});
        let lost = node(&json!({}), &json!([taint("node.kubernetes.io/unreachable"), executes]));
        let both = seen(&[control_plane.clone(), lost], &json!({}));
        assert_eq!(both, Taints { nodes: 2, standing: Standing::Passing });
        assert_eq!(seen(&[control_plane], &json!({})), Taints { nodes: 1, standing: Standing::Selected });
    }

    #[test]
    fn a_lost_node_that_could_not_take_it_is_not_waited_for() {
        let sku = json!({"key": "sku", "value": "gpu", "effect": "NoSchedule"});
        let lost = [node(&json!({"pool": "gpu"}), &json!([taint("node.kubernetes.io/not-ready"), sku]))];
        let gpu = json!({"nodeSelector": {"pool": "gpu"}});
        let cpu = json!({"nodeSelector": {"pool": "cpu"}});
        assert_eq!(seen(&lost, &gpu).standing, Standing::Selected);
        assert_eq!(seen(&lost, &cpu).standing, Standing::Elsewhere);
        let tolerant = json!({"nodeSelector": {"pool": "gpu"}, "tolerations": [{"key": "sku", "value": "gpu"}]});
        assert_eq!(seen(&lost, &tolerant).standing, Standing::Passing);
    }

    #[test]
    fn taints_that_keep_nobody_away_do_not_count() {
        let preferred = node(&json!({}), &json!([{"key": "k", "effect": "PreferNoSchedule"}]));
        let tolerated = node(&json!({}), &json!([{"key": "k", "value": "v", "effect": "NoExecute"}]));
        let pod = json!({"tolerations": [{"operator": "Exists", "effect": "NoExecute"}]});
        assert_eq!(seen(&[preferred, tolerated], &pod).nodes, 0);
    }
}
