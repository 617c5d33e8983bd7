//! What a pod's author may leave out.

use serde_json::{Value, json};

use super::CONTAINERS;
use crate::field::{child, default, items_mut};
use crate::quota::of_containers;

/// Fills a pod.
pub(super) fn default_pod(pod: &mut Value) {
    let spec = child(pod, "spec");
    default(spec, "enableServiceLinks", true);
    default_spec(spec);
    default_pod_requests(pod);
}

/// Compat: a pod with limits as a whole asks for what its containers ask for, or else for its limits.
fn default_pod_requests(pod: &mut Value) {
    let limits = pod["spec"]["resources"]["limits"].as_object().cloned().unwrap_or_default();
    if limits.is_empty() {
        return;
    }
    let asked = of_containers(pod, "requests");
    let requests = child(&mut pod["spec"]["resources"], "requests");
    for name in ["cpu", "memory"] {
        if let Some(amount) = asked.get(name) {
            default(requests, name, amount.to_string());
        }
    }
    let whole = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    for (name, amount) in limits.into_iter().filter(|(name, _)| whole(name)) {
        default(requests, &name, amount);
    }
}

/// Fills the pod template of a workload.
pub(crate) fn default_template(template: &mut Value) {
    default_spec(child(template, "spec"));
}

fn default_spec(spec: &mut Value) {
    default(spec, "restartPolicy", "Always");
    default(spec, "dnsPolicy", "ClusterFirst");
    default(spec, "schedulerName", "default-scheduler");
    default(spec, "terminationGracePeriodSeconds", 30);
    default(spec, "securityContext", json!({}));
    let account = spec.get("serviceAccountName").or(spec.get("serviceAccount")).cloned();
    if let Some(account) = account.filter(|account| account.as_str().is_some_and(|name| !name.is_empty())) {
        // Compat: the old name of the field is kept equal.
        spec["serviceAccountName"] = account.clone();
        spec["serviceAccount"] = account;
    }
    let host_network = spec["hostNetwork"] == true;
    for list in CONTAINERS {
        for container in items_mut(spec, list) {
            default_container(container, host_network, list == "ephemeralContainers");
        }
    }
    for volume in items_mut(spec, "volumes") {
        default_volume(volume);
    }
    for constraint in items_mut(spec, "topologySpreadConstraints") {
        default(constraint, "nodeAffinityPolicy", "Honor");
        default(constraint, "nodeTaintsPolicy", "Ignore");
    }
}

fn default_container(container: &mut Value, host_network: bool, ephemeral: bool) {
    default(container, "resources", json!({}));
    default(container, "terminationMessagePath", "/dev/termination-log");
    default(container, "terminationMessagePolicy", "File");
    let policy =
        if follows_latest(container["image"].as_str().unwrap_or_default()) { "Always" } else { "IfNotPresent" };
    default(container, "imagePullPolicy", policy);
    for port in items_mut(container, "ports") {
        default(port, "protocol", "TCP");
        if host_network {
            let number = port["containerPort"].clone();
            default(port, "hostPort", number);
        }
    }
    for variable in items_mut(container, "env") {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            default(field, "apiVersion", "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            default_probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(request) = container.pointer_mut(&format!("/lifecycle/{hook}/httpGet")) {
            default_http(request);
        }
    }
    if !ephemeral {
        default_requests(container);
    }
}

// Compat: a limit without a request is a request as well.
fn default_requests(container: &mut Value) {
    let Some(limits) = container["resources"]["limits"].as_object().cloned() else { return };
    let requests = child(&mut container["resources"], "requests");
    for (name, amount) in limits {
        default(requests, &name, amount);
    }
}

fn follows_latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or_default();
    !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

fn default_probe(probe: &mut Value) {
    default(probe, "timeoutSeconds", 1);
    default(probe, "periodSeconds", 10);
    default(probe, "successThreshold", 1);
    default(probe, "failureThreshold", 3);
    if let Some(request) = probe.get_mut("httpGet") {
        default_http(request);
    }
    if let Some(request) = probe.get_mut("grpc") {
        default(request, "service", "");
    }
}

fn default_http(request: &mut Value) {
    default(request, "path", "/");
    default(request, "scheme", "HTTP");
}

fn default_volume(volume: &mut Value) {
    const MODE: i64 = 0o644;
    let has_source = volume.as_object().is_some_and(|fields| fields.keys().any(|name| name != "name"));
    if !has_source {
        // Compat: a volume without a source is an emptyDir.
        volume["emptyDir"] = json!({});
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            default(source, "defaultMode", MODE);
        }
    }
    if let Some(source) = volume.get_mut("hostPath") {
        default(source, "type", "");
    }
    if let Some(items) = volume.get_mut("downwardAPI") {
        default_field_refs(items);
    }
    if let Some(projected) = volume.get_mut("projected") {
        for part in items_mut(projected, "sources") {
            if let Some(token) = part.get_mut("serviceAccountToken") {
                default(token, "expirationSeconds", 3600);
            }
            if let Some(items) = part.get_mut("downwardAPI") {
                default_field_refs(items);
            }
        }
    }
    if let Some(spec) = volume.pointer_mut("/ephemeral/volumeClaimTemplate/spec") {
        default(spec, "volumeMode", "Filesystem");
    }
}

fn default_field_refs(files: &mut Value) {
    for item in items_mut(files, "items") {
        if let Some(field) = item.get_mut("fieldRef") {
            default(field, "apiVersion", "v1");
        }
        if let Some(resource) = item.get_mut("resourceFieldRef") {
            default(resource, "divisor", "0");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_with_limits_asks_for_something() {
        let check = |resources: Value, expected: Value| {
            let container = json!({"name": "a", "image": "i", "resources": {"requests": {"cpu": "100m"}}});
            let mut pod =
                json!({"spec": {"resources": resources, "containers": [container, {"name": "b", "image": "i"}]}});
            default_pod(&mut pod);
            assert_eq!(pod["spec"]["resources"]["requests"], expected);
        };
        check(json!(null), json!(null));
        check(json!({"requests": {"cpu": "1"}}), json!({"cpu": "1"}));
        check(json!({"limits": {"cpu": "2", "memory": "1Gi"}}), json!({"cpu": "100m", "memory": "1Gi"}));
        check(json!({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}), json!({"cpu": "1"}));
    }

    #[test]
    fn a_minimal_pod_becomes_upstreams() {
        let mut pod = json!({"spec": {
            "containers": [{"name": "a", "image": "busybox", "ports": [{"containerPort": 80}],
                            "readinessProbe": {"httpGet": {"port": 80}}, "resources": {"limits": {"cpu": "1"}}}],
            "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "x"}}]}});
        default_pod(&mut pod);
        let once = pod.clone();
        default_pod(&mut pod);
        assert_eq!(pod, once, "defaulting twice changes nothing");
        let container = json!({
            "name": "a", "image": "busybox", "imagePullPolicy": "Always",
            "ports": [{"containerPort": 80, "protocol": "TCP"}],
            "readinessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                               "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
            "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"});
        assert_eq!(pod["spec"]["containers"][0], container);
        let volumes =
            json!([{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "x", "defaultMode": 420}}]);
        assert_eq!(pod["spec"]["volumes"], volumes);
        for (image, latest) in
            [("a", true), ("a:latest", true), ("a:1", false), ("h:5000/a", true), ("a@sha256:x", false)]
        {
            assert_eq!(follows_latest(image), latest, "{image}");
        }
    }
}
