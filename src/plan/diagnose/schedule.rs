//! What the scheduler says of a pod that no node can take.

use super::taint::{self, Standing, Taints};
use crate::catalogue::Reason;

/// The cause: of all nodes' own causes the one that comes last in the scheduler's filters, since the node that names it
/// passed all others. `taints` is what the nodes show, where they can be looked at. `None` when it passes by itself, as with a node that comes back.
#[must_use]
pub fn cause(message: &str, taints: Option<Taints>) -> Option<Reason> {
    let Some((_, list)) = message.split_once("nodes are available: ") else {
        return Some(whole_pod(message).unwrap_or(Reason::Unschedulable));
    };
    entries(list).iter().filter_map(|entry| of_node(entry, taints)).max_by_key(|(rank, _)| *rank)?.1
}

/// Causes that are the pod's own, whatever the nodes are.
fn whole_pod(text: &str) -> Option<Reason> {
    let unbound = text.starts_with("persistentvolumeclaim ")
        || text.starts_with("pod has unbound immediate PersistentVolumeClaims")
        || text.starts_with("node(s) didn't find available persistent volumes to bind")
        || text.starts_with("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)");
    unbound.then_some(Reason::ArtifactVolumeUnavailable)
}

/// How far a node got, and its cause; `None` for a part of another entry.
fn of_node(entry: &str, taints: Option<Taints>) -> Option<(u8, Option<Reason>)> {
    let text = entry.trim_start_matches(|character: char| character.is_ascii_digit()).trim_start();
    let taint = text.strip_prefix("node(s) had untolerated taint").or_else(|| text.strip_prefix("node(s) had taint"));
    if let Some(reason) = whole_pod(text) {
        return Some((8, Some(reason)));
    }
    if text.starts_with("Insufficient ") || text.starts_with("Too many pods") {
        return Some((7, Some(Reason::InsufficientResources)));
    }
    if text.starts_with("node(s) didn't match Pod's node affinity")
        || text.starts_with("node(s) didn't match node selector")
    {
        return Some((3, Some(Reason::NodeSelectorMismatch)));
    }
    if let Some(taint) = taint {
        let key = taint.trim_start_matches(['(', 's', ')']).trim_start().trim_start_matches('{');
        let key = key.split([':', '}']).next().unwrap_or_default().trim();
        let count = entry.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(1);
        let by_name = if taint::is_passing(key) { (0, None) } else { (2, Some(Reason::TaintNotTolerated)) };
        return Some(match taints.map(|taints| (taints.nodes >= count, taints.standing)) {
            // What the other nodes lack does not matter as much as that this one comes back, but for room.
            Some((true, Standing::Passing)) => (6, None),
            // This filter goes before that of node selectors, where a node without taints would end.
            Some((true, Standing::Selected)) => (4, Some(Reason::TaintNotTolerated)),
            // The watch of nodes is behind the scheduler, and tells soon.
            Some((false, _)) if key.is_empty() => (0, None),
            Some(_) | None => by_name,
        });
    }
    if text.starts_with("that the pod didn't tolerate") || text.is_empty() {
        return None;
    }
    let cordoned = text.starts_with("node(s) were unschedulable");
    Some((if cordoned { 1 } else { 5 }, Some(Reason::Unschedulable)))
}

/// The entries of `1 Insufficient cpu, 2 node(s) had untolerated taint {a: b, c}. preemption: …`; braces and quotes hold
/// what users choose.
fn entries(list: &str) -> Vec<&str> {
    let (mut entries, mut start, mut depth, mut quoted) = (Vec::new(), 0, 0_u32, false);
    let bytes = list.as_bytes();
    let mut end = list.len();
    for (index, byte) in bytes.iter().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'{' if !quoted => depth += 1,
            b'}' if !quoted => depth = depth.saturating_sub(1),
            b',' | b'.' if depth == 0 && !quoted => {
                let separates = bytes.get(index + 1).is_none_or(u8::is_ascii_whitespace);
                if separates {
                    entries.extend(list.get(start..index));
                    start = index + 1;
                }
                if separates && *byte == b'.' {
                    end = index;
                    break;
                }
            }
            _ => {}
        }
    }
    if end == list.len() {
        entries.extend(list.get(start..));
    }
    entries.into_iter().map(str::trim).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_that_got_furthest_decides() {
        let message = "0/6 nodes are available: 1 node(s) had untolerated taint {example.com/Insufficient cpu: a, b. c}, \
                       2 node(s) didn't match Pod's node affinity/selector, 3 Insufficient nvidia.com/gpu. preemption: 0/6 \
                       nodes are available: 6 Preemption is not helpful for scheduling.";
        assert_eq!(cause(message, None), Some(Reason::InsufficientResources));
        let message = "0/2 nodes are available: 1 node(s) had taint {k: Insufficient cpu}, that the pod didn't tolerate, 1 \
                       node(s) were unschedulable.";
        assert_eq!(cause(message, None), Some(Reason::TaintNotTolerated));
    }

    #[test]
    fn a_lost_node_is_waited_for() {
        let message = "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }.";
        assert_eq!(cause(message, None), None);
    }

    #[test]
    fn a_taint_without_a_name_is_what_the_nodes_say() {
        let message = "0/10 nodes are available: 1 node(s) had untolerated taint(s), 9 node(s) didn't match Pod's node \
                       affinity/selector. no new claims to deallocate, preemption: 0/10 nodes are available: 10 Preemption \
                       is not helpful for scheduling.";
        let at = |standing| Some(Taints { nodes: 1, standing });
        assert_eq!(cause(message, at(Standing::Selected)), Some(Reason::TaintNotTolerated));
        assert_eq!(cause(message, at(Standing::Elsewhere)), Some(Reason::NodeSelectorMismatch));
        assert_eq!(cause(message, at(Standing::Passing)), None);
    }

    #[test]
    fn fewer_nodes_with_taints_than_the_scheduler_met_are_not_all() {
        let message = "0/2 nodes are available: 2 node(s) had untolerated taint(s).";
        assert_eq!(cause(message, Some(Taints { nodes: 1, standing: Standing::Selected })), None);
        assert_eq!(cause(message, None), Some(Reason::TaintNotTolerated));
    }
}
