//! Whether a node takes a pod that was bound to it.

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod};
use meta::Quantity;

use crate::cgroups::pod_request;
use crate::lifecycle::{Role, roles};
use crate::security::is_privileged;

const SYSTEM: &str = "linux";
const ALL_ADDRESSES: &str = "0.0.0.0";

/// Why a pod is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It stays pending; the message of an event says why.
    Ignored(String),
    /// It has failed: reason and message.
    Failed { reason: String, message: String },
}

impl Refused {
    /// The node runs short.
    pub(crate) fn evicted(message: &str) -> Self {
        failed("Evicted", message)
    }
}

/// What the node has to give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allocatable {
    pub(crate) cpu: Quantity,
    pub(crate) memory: Quantity,
    pub(crate) pods: u32,
    pub(crate) allow_privileged: bool,
    /// The kernel confines programs by AppArmor's profiles.
    pub(crate) app_armor: bool,
}

/// Decides about a pod beside those that run already.
pub(crate) fn admit(pod: &Pod, others: &[Pod], node: Allocatable) -> Result<(), Refused> {
    if !node.allow_privileged {
        privileged(pod)?;
    }
    system(pod)?;
    sysctls(pod)?;
    if !node.app_armor {
        app_armor(pod)?;
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
    ports(pod, others)
}

/// Compat: a pod may say for which operating system it is, in a field and by a label.
fn system(pod: &Pod) -> Result<(), Refused> {
    let refuse = |reason: &str, message: &str| Err(failed(reason, message));
    let label = pod.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/os"));
    if label.is_some_and(|system| system != SYSTEM) {
        let message = "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label";
        return refuse("PodOSSelectorNodeLabelDoesNotMatch", message);
    }
    let field = pod.spec.as_ref().and_then(|spec| spec.os.as_ref());
    if field.is_some_and(|system| system.name != SYSTEM) {
        return refuse("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS");
    }
    Ok(())
}

/// Compat: the kernel parameters that upstream counts as safe: they are the pod's own and cannot harm the node.
const SAFE_SYSCTLS: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

fn sysctls(pod: &Pod) -> Result<(), Refused> {
    let Some(spec) = &pod.spec else { return Ok(()) };
    let wanted = spec.security_context.as_ref().and_then(|context| context.sysctls.as_deref()).unwrap_or_default();
    for sysctl in wanted {
        // Both `/` and `.` separate the parts of a name.
        let name = sysctl.name.replace('/', ".");
        let why = match name.as_str() {
            safe if !SAFE_SYSCTLS.contains(&safe) => "not allowlisted",
            net if net.starts_with("net.") && spec.host_network == Some(true) => "not allowed with host net enabled",
            ipc if ipc.starts_with("kernel.") && spec.host_ipc == Some(true) => "not allowed with host ipc enabled",
            _ => continue,
        };
        return Err(failed("SysctlForbidden", &format!("forbidden sysctl: {:?} {why}", sysctl.name)));
    }
    Ok(())
}

/// A pod that wants a profile has to have it.
fn app_armor(pod: &Pod) -> Result<(), Refused> {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";
    let wants = |profile: Option<&AppArmorProfile>| profile.is_some_and(|profile| profile.type_ != "Unconfined");
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let of_pod = wants(of_pod.and_then(|context| context.app_armor_profile.as_ref()));
    let of_container = |(_, container): &(Role, Container)| {
        wants(container.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref()))
    };
    let mut annotations = pod.metadata.annotations.iter().flatten();
    let annotated = annotations.any(|(key, value)| key.starts_with(ANNOTATION) && value != "unconfined");
    if of_pod || annotated || roles(pod).iter().any(of_container) {
        return Err(failed("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host"));
    }
    Ok(())
}

/// The ports of the node that a pod takes, with their addresses and protocols.
fn host_ports(pod: &Pod) -> Vec<(String, String, i32)> {
    let ports = roles(pod).into_iter().filter(|(role, _)| matches!(role, Role::Main | Role::Sidecar));
    let ports = ports.flat_map(|(_, container)| container.ports.unwrap_or_default());
    let or = |text: Option<String>, default: &str| text.filter(|text| !text.is_empty()).unwrap_or(default.to_owned());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            Some((or(port.host_ip, ALL_ADDRESSES), or(port.protocol, "TCP"), number))
        })
        .collect()
}

/// No two pods can have a port of the node.
fn ports(pod: &Pod, others: &[Pod]) -> Result<(), Refused> {
    let own = host_ports(pod);
    let meet = |a: &str, b: &str| a == b || a == ALL_ADDRESSES || b == ALL_ADDRESSES;
    let is_taken = |taken: &(String, String, i32)| {
        own.iter().any(|port| port.1 == taken.1 && port.2 == taken.2 && meet(&port.0, &taken.0))
    };
    if others.iter().flat_map(host_ports).any(|port| is_taken(&port)) {
        let message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return Err(failed("NodePorts", message));
    }
    Ok(())
}

fn failed(reason: &str, message: &str) -> Refused {
    Refused::Failed { reason: reason.to_owned(), message: format!("Pod was rejected: {message}") }
}

fn out_of(resource: &str, requested: i64, used: i64, capacity: i64) -> Refused {
    let message = format!(
        "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
    );
    failed(&format!("OutOf{resource}"), &message)
}

fn privileged(pod: &Pod) -> Result<(), Refused> {
    let (mut init, mut main) = (0, 0);
    for (role, container) in roles(pod) {
        let (list, index) = match role {
            Role::Init | Role::Sidecar => ("initContainers", &mut init),
            Role::Main => ("containers", &mut main),
            Role::Ephemeral => continue,
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
            app_armor: false,
        };
        let taken = json!([{"containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1", "protocol": "TCP"}]);
        let other = pod(json!({"name": "o", "resources": {"requests": {"cpu": "1500m"}}, "ports": taken}));
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
        let port = |address: &str, protocol: &str| {
            let port = json!({"containerPort": 1, "hostPort": 8080, "hostIP": address, "protocol": protocol});
            json!({"name": "a", "ports": [port]})
        };
        let taken =
            "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        check(port("", "TCP"), Some(taken));
        check(port("127.0.0.1", "TCP"), Some(taken));
        check(port("127.0.0.2", "TCP"), None);
        check(port("", "UDP"), None);
        let profile = |kind: &str| json!({"name": "a", "securityContext": {"appArmorProfile": {"type": kind}}});
        check(profile("Unconfined"), None);
        let refused = "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host";
        check(profile("RuntimeDefault"), Some(refused));
        check(
            json!({"name": "a", "securityContext": {"privileged": true}}),
            Some(
                "Error validating pod \"p\".\"n\" from api, ignoring: \
                 spec.containers[0].securityContext.privileged: forbidden",
            ),
        );
    }
}
