//! NodeRestriction: a node touches only itself and what runs on it.

use async_trait::async_trait;
use meta::ApiError;
use registry::{Admission, Attributes, Operation, Reader, Request};
use serde_json::Value;

use crate::fields::{forbidden, items, text};

const MIRROR: &str = "kubernetes.io/config.mirror";

/// Labels of these domains are the cluster's, but for those that kubelets set themselves.
const DOMAINS: [&str; 2] = ["kubernetes.io", "k8s.io"];
const OWN_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";
const OWN_LABELS: [&str; 12] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.kubernetes.io/region",
    "failure-domain.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// The plugin.
pub(crate) struct NodeRestriction;

#[async_trait]
impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    fn handles(&self, attributes: &Attributes) -> bool {
        attributes.user.in_group("system:nodes") && attributes.user.name.starts_with("system:node:")
    }

    async fn validate(&self, request: &Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        let attributes = &request.attributes;
        let node = attributes.user.name.trim_start_matches("system:node:");
        match (attributes.resource.group.as_str(), attributes.resource.resource.as_str()) {
            ("", "pods") => check_pod(request, node, reader),
            ("", "nodes") => check_node(request, node),
            ("", "persistentvolumeclaims") if attributes.subresource != "status" => {
                Err(forbidden(request, "may only update PVC status"))
            }
            ("coordination.k8s.io", "leases") => check_lease(request, node),
            ("storage.k8s.io", "csinodes") if attributes.name != node => {
                Err(forbidden(request, "can only access CSINode with the same name as the requesting node"))
            }
            _ => Ok(()),
        }
    }
}

fn check_pod(request: &Request<'_>, node: &str, reader: &dyn Reader) -> Result<(), ApiError> {
    let attributes = &request.attributes;
    let refuse = |why: String| Err(forbidden(request, &why));
    let on_node = |pod: &Value| text(pod, "/spec/nodeName") == node;
    match (attributes.subresource.as_str(), attributes.operation) {
        ("", Operation::Create) => check_mirror_pod(request, node),
        ("", Operation::Delete) => match request.old {
            Some(old) if !on_node(old) => {
                refuse(format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
            }
            Some(_) | None => Ok(()),
        },
        ("", Operation::Update) => {
            refuse(format!("unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"))
        }
        ("status", _) => {
            let (Some(old), new) = (request.old, &request.object) else { return Ok(()) };
            if !on_node(old) {
                return refuse(format!(
                    "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
                ));
            }
            if old.pointer("/metadata/labels") != new.pointer("/metadata/labels") {
                return refuse(format!("node {node:?} cannot update labels through pod status"));
            }
            Ok(())
        }
        ("eviction", _) => {
            let pod = reader.get("", "pods", &attributes.namespace, &attributes.name);
            match pod {
                Some(pod) if on_node(&pod.value()) => Ok(()),
                Some(_) => refuse(format!("node {node} can only evict pods with spec.nodeName set to itself")),
                None => Err(ApiError::not_found(&attributes.resource, &attributes.name)),
            }
        }
        (other, _) => refuse(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed")),
    }
}

fn check_mirror_pod(request: &Request<'_>, node: &str) -> Result<(), ApiError> {
    let pod = &request.object;
    let refuse = |why: String| Err(forbidden(request, &why));
    if pod.pointer("/metadata/annotations").is_none_or(|annotations| annotations.get(MIRROR).is_none()) {
        return refuse(format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods"));
    }
    if text(pod, "/spec/nodeName") != node {
        return refuse(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let mut owners = items(pod, "/metadata/ownerReferences");
    let (Some(owner), None) = (owners.next(), owners.next()) else {
        return refuse(format!("node {node:?} can only create pods with a single owner reference set to itself"));
    };
    if text(owner, "/kind") != "Node" || text(owner, "/name") != node {
        return refuse(format!("node {node:?} can only create pods with an owner reference set to itself"));
    }
    Ok(())
}

/// A node's taints; none, null and an empty list are the same.
fn taints(node: &Value) -> &[Value] {
    node.pointer("/spec/taints").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn check_node(request: &Request<'_>, node: &str) -> Result<(), ApiError> {
    let attributes = &request.attributes;
    let refuse = |why: String| Err(forbidden(request, &why));
    let own = text(&request.object, "/metadata/name");
    let name = if attributes.name.is_empty() { own } else { attributes.name.as_str() };
    if name != node {
        return refuse(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    match (attributes.operation, request.old) {
        (Operation::Create, _) => {
            let labels = changed_labels(&request.object, None);
            if labels.is_empty() {
                return Ok(());
            }
            let list = labels.join(", ");
            refuse(format!("node {node:?} is not allowed to set the following labels: {list}"))
        }
        (Operation::Update, Some(old)) => {
            let new = &request.object;
            if attributes.subresource.is_empty() && taints(new) != taints(old) {
                return refuse(format!("node {node:?} is not allowed to modify taints"));
            }
            let labels = changed_labels(new, Some(old));
            if labels.is_empty() {
                Ok(())
            } else {
                refuse(format!("is not allowed to modify labels: {}", labels.join(", ")))
            }
        }
        (Operation::Update | Operation::Delete | Operation::Connect, _) => Ok(()),
    }
}

/// Which labels that are not the node's to set are set or changed.
fn changed_labels(new: &Value, old: Option<&Value>) -> Vec<String> {
    let labels = |object: Option<&Value>| {
        object
            .and_then(|object| object.pointer("/metadata/labels"))
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    };
    let (new, old) = (labels(Some(new)), labels(old));
    let mut changed: Vec<String> =
        new.keys().chain(old.keys()).filter(|key| new.get(*key) != old.get(*key) && !is_own(key)).cloned().collect();
    changed.sort_unstable();
    changed.dedup();
    changed
}

fn is_own(label: &str) -> bool {
    let domain = label.split_once('/').map_or("", |(domain, _)| domain);
    let beneath = |top: &str| domain == top || domain.strip_suffix(top).is_some_and(|rest| rest.ends_with('.'));
    if beneath(RESTRICTED_DOMAIN) {
        return false;
    }
    !DOMAINS.into_iter().any(beneath)
        || OWN_DOMAINS.into_iter().any(beneath)
        || OWN_LABELS.contains(&label)
        || label == "node.kubernetes.io/instance-type"
}

fn check_lease(request: &Request<'_>, node: &str) -> Result<(), ApiError> {
    let attributes = &request.attributes;
    if attributes.namespace != "kube-node-lease" {
        return Err(forbidden(request, "can only access leases in the \"kube-node-lease\" system namespace"));
    }
    if attributes.name != node {
        return Err(forbidden(request, "can only access node lease with the same name as the requesting node"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use meta::UserInfo;
    use serde_json::json;

    use super::*;
    use crate::testing::{Cluster, outcome};

    #[tokio::test]
    async fn a_node_touches_only_itself() {
        let cluster = Cluster::new([]);
        let cases = [
            ("nodes", json!({"metadata": {"name": "n", "labels": {"a": "b", "kubernetes.io/os": "linux"}}}), ""),
            ("nodes", json!({"metadata": {"name": "m"}}), "node \"n\" is not allowed to modify node \"m\""),
            (
                "nodes",
                json!({"metadata": {"name": "n", "labels": {"x.node-restriction.kubernetes.io/a": "b"}}}),
                "node \"n\" is not allowed to set the following labels: x.node-restriction.kubernetes.io/a",
            ),
            ("pods", json!({"metadata": {"name": "p"}}), "node \"n\" can only create mirror pods"),
            ("configmaps", json!({"metadata": {"name": "c"}}), ""),
        ];
        for (resource, object, expected) in cases {
            let mut request = cluster.create(resource, "", object);
            request.attributes.user = UserInfo::new("system:node:n", &["system:nodes"]);
            let found = outcome(&NodeRestriction, &cluster, request).await.err().unwrap_or_default();
            assert!(found.ends_with(expected) && found.is_empty() == expected.is_empty(), "{resource}: {found}");
        }
    }

    #[test]
    fn no_taints_are_no_taints() {
        let check = |spec: Value, expected: usize| assert_eq!(taints(&json!({"spec": spec})).len(), expected);
        check(json!({}), 0);
        check(json!({"taints": null}), 0);
        check(json!({"taints": []}), 0);
        check(json!({"taints": [{"key": "k", "effect": "NoSchedule"}]}), 1);
    }
}
