//! Whether a node takes a pod that was bound to it.

use k8s_openapi::api::core::v1::Pod;
use meta::Quantity;

use crate::cgroups::pod_request;
use crate::lifecycle::roles;
use crate::security::is_privileged;

/// Why a pod is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It stays pending; the message of an event says why.
    Ignored(String),
    /// It has failed: reason and message.
    Failed { reason: String, message: String },
}

/// What the node has to give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allocatable {
    pub(crate) cpu: Quantity,
    pub(crate) memory: Quantity,
    pub(crate) pods: u32,
    pub(crate) allow_privileged: bool,
}

/// Decides about a pod beside those that run already.
pub(crate) fn admit(pod: &Pod, others: &[Pod], node: Allocatable) -> Result<(), Refused> {
    if !node.allow_privileged {
        privileged(pod)?;
    }
    if others.len() >= usize::try_from(node.pods).unwrap_or(usize::MAX) {
        return Err(out_of("pods", 1, others.len().try_into().unwrap_or(i64::MAX), i64::from(node.pods)));
    }
    let used = |name: &str| others.iter().map(|other| pod_request(other, name)).fold(Quantity::ZERO, |a, b| a + b);
    let (cpu, cpu_used) = (pod_request(pod, "cpu"), used("cpu"));
    if !cpu.is_zero() && cpu + cpu_used > node.cpu {
        return Err(out_of("cpu", cpu.milli_value(), cpu_used.milli_value(), node.cpu.milli_value()));
    }
    let (memory, memory_used) = (pod_request(pod, "memory"), used("memory"));
    if !memory.is_zero() && memory + memory_used > node.memory {
        return Err(out_of("memory", memory.value(), memory_used.value(), node.memory.value()));
    }
    Ok(())
}

fn out_of(resource: &str, requested: i64, used: i64, capacity: i64) -> Refused {
    Refused::Failed {
        reason: format!("OutOf{resource}"),
        message: format!(
            "Pod was rejected: Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, \
             capacity: {capacity}"
        ),
    }
}

fn privileged(pod: &Pod) -> Result<(), Refused> {
    let (mut init, mut main) = (0, 0);
    for (role, container) in roles(pod) {
        let (list, index) = match role {
            crate::lifecycle::Role::Init | crate::lifecycle::Role::Sidecar => ("initContainers", &mut init),
            crate::lifecycle::Role::Main => ("containers", &mut main),
            crate::lifecycle::Role::Ephemeral => continue,
        };
        if is_privileged(&container) {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            return Err(Refused::Ignored(format!(
                "Error validating pod \"{}\".\"{}\" from api, ignoring: \
                 spec.{list}[{index}].securityContext.privileged: forbidden",
                text(&pod.metadata.name),
                text(&pod.metadata.namespace),
            )));
        }
        *index += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(container: Value) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [container]}}),
        )
        .unwrap()
    }

    #[track_caller]
    fn check(container: Value, expected: Option<&str>) {
        let node = Allocatable {
            cpu: Quantity::units(2),
            memory: Quantity::bytes(1 << 30),
            pods: 110,
            allow_privileged: false,
        };
        let other = pod(json!({"name": "o", "resources": {"requests": {"cpu": "1500m"}}}));
        let text = match admit(&pod(container), &[other], node) {
            Ok(()) => None,
            Err(Refused::Ignored(text) | Refused::Failed { message: text, .. }) => Some(text),
        };
        assert_eq!(text.as_deref(), expected);
    }

    #[test]
    fn what_a_node_takes() {
        check(json!({"name": "a", "resources": {"requests": {"cpu": "500m"}}}), None);
        check(
            json!({"name": "a", "resources": {"requests": {"cpu": "1"}}}),
            Some(
                "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000",
            ),
        );
        check(
            json!({"name": "a", "securityContext": {"privileged": true}}),
            Some(
                "Error validating pod \"p\".\"n\" from api, ignoring: \
                 spec.containers[0].securityContext.privileged: forbidden",
            ),
        );
    }
}
