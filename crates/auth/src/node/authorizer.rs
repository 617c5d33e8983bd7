//! The Node authorizer.

use std::sync::Arc;

use meta::{FieldSelector, UserInfo};

use super::graph::{Graph, Kind};
use crate::attributes::{Attributes, Target};
use crate::authorizer::{Authorizer, Decision, RuleSet};
use crate::rbac::{Rule, bootstrap};

const NODES: &str = "system:nodes";
const NODE_PREFIX: &str = "system:node:";
const LEASES: &str = "kube-node-lease";

/// Decides for nodes; has no opinion on anybody else.
pub struct NodeAuthorizer {
    graph: Arc<Graph>,
    /// What all nodes may do, where nothing below says more.
    rules: Vec<Rule>,
}

/// A request on a resource, taken apart.
struct Request<'a> {
    verb: &'a str,
    subresource: &'a str,
    namespace: &'a str,
    name: &'a str,
    fields: Option<&'a FieldSelector>,
}

/// Why not; empty where upstream gives no reason.
type Refusal = Result<(), String>;

fn refuse(reason: impl Into<String>) -> Refusal {
    Err(reason.into())
}

impl NodeAuthorizer {
    /// On that graph.
    pub fn new(graph: Arc<Graph>) -> Self {
        Self { graph, rules: bootstrap::rules_of("system:node") }
    }

    fn resource(&self, node: &str, group: &str, resource: &str, request: &Request<'_>) -> Option<Refusal> {
        Some(match (group, resource) {
            ("", "secrets") => self.read(node, Kind::Secret, request),
            ("", "configmaps") => self.read(node, Kind::ConfigMap, request),
            ("", "persistentvolumeclaims") if request.subresource == "status" => match request.verb {
                "update" | "patch" => self.related(node, Kind::Claim, request),
                _ => refuse("can only get/update/patch this type"),
            },
            ("", "persistentvolumeclaims") => self.get(node, Kind::Claim, request),
            ("", "persistentvolumes") => Self::only_get(request)
                .and_then(|()| if self.graph.reaches_volume(node, request.name) { Ok(()) } else { unrelated(node) }),
            ("resource.k8s.io", "resourceclaims") => self.get(node, Kind::ResourceClaim, request),
            // Nothing attaches volumes for nodes here, so none is theirs.
            ("storage.k8s.io", "volumeattachments") => Self::only_get(request).and_then(|()| unrelated(node)),
            ("", "serviceaccounts") => self.service_account(node, request),
            ("coordination.k8s.io", "leases") => lease(node, request),
            ("storage.k8s.io", "csinodes") => csi_node(node, request),
            ("", "nodes") => own_node(node, request),
            ("", "pods") => self.pod(node, request),
            _ => return None,
        })
    }

    fn only_get(request: &Request<'_>) -> Refusal {
        match (request.verb, request.subresource) {
            ("get", "") => Ok(()),
            ("get", _) => refuse("cannot get subresource"),
            _ => refuse("can only get individual resources of this type"),
        }
    }

    fn get(&self, node: &str, kind: Kind, request: &Request<'_>) -> Refusal {
        Self::only_get(request)?;
        self.related(node, kind, request)
    }

    fn read(&self, node: &str, kind: Kind, request: &Request<'_>) -> Refusal {
        if !matches!(request.verb, "get" | "list" | "watch") {
            return refuse("can only read resources of this type");
        }
        if !request.subresource.is_empty() {
            return refuse("cannot read subresource");
        }
        if request.namespace.is_empty() {
            return refuse("can only read namespaced object of this type");
        }
        self.related(node, kind, request)
    }

    fn related(&self, node: &str, kind: Kind, request: &Request<'_>) -> Refusal {
        if request.name.is_empty() {
            return refuse("No Object name found");
        }
        if self.graph.reaches(node, kind, request.namespace, request.name) { Ok(()) } else { unrelated(node) }
    }

    fn service_account(&self, node: &str, request: &Request<'_>) -> Refusal {
        if request.verb == "get" && request.subresource.is_empty() {
            return self.read(node, Kind::ServiceAccount, request);
        }
        if request.verb != "create" || request.name.is_empty() {
            return refuse("can only create tokens for individual service accounts");
        }
        if request.subresource != "token" {
            return refuse("can only create token subresource of serviceaccount");
        }
        self.related(node, Kind::ServiceAccount, request)
    }

    fn pod(&self, node: &str, request: &Request<'_>) -> Refusal {
        match (request.subresource, request.verb) {
            ("", "get") => self.get(node, Kind::Pod, request),
            ("", "list" | "watch") => {
                if request.fields.and_then(|fields| fields.required("spec.nodeName")) == Some(node) {
                    Ok(())
                } else if request.name.is_empty() {
                    refuse("can only list/watch pods with spec.nodeName field selector")
                } else {
                    self.related(node, Kind::Pod, request)
                }
            }
            // Whether it is a mirror pod, or a pod of that node, is admission's to say.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => refuse(""),
        }
    }
}

fn unrelated(node: &str) -> Refusal {
    refuse(format!("no relationship found between node '{node}' and this object"))
}

fn lease(node: &str, request: &Request<'_>) -> Refusal {
    if !matches!(request.verb, "get" | "create" | "update" | "patch" | "delete") {
        return refuse("can only get, create, update, patch, or delete a node lease");
    }
    if request.namespace != LEASES {
        return refuse(format!("can only access leases in the {LEASES:?} system namespace"));
    }
    if request.verb != "create" && request.name != node {
        return refuse("can only access node lease with the same name as the requesting node");
    }
    Ok(())
}

fn csi_node(node: &str, request: &Request<'_>) -> Refusal {
    if !matches!(request.verb, "get" | "create" | "update" | "patch" | "delete") {
        return refuse("can only get, create, update, patch, or delete a CSINode");
    }
    if !request.subresource.is_empty() {
        return refuse("cannot authorize CSINode subresources");
    }
    if request.verb != "create" && request.name != node {
        return refuse("can only access CSINode with the same name as the requesting node");
    }
    Ok(())
}

fn own_node(node: &str, request: &Request<'_>) -> Refusal {
    match (request.subresource, request.verb) {
        // That it is its own is admission's to say.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => match request.name {
            own if own == node => Ok(()),
            "" => refuse(format!("node '{node}' cannot read all nodes, only its own Node object")),
            other => refuse(format!("node '{node}' cannot read '{other}', only its own Node object")),
        },
        _ => refuse(""),
    }
}

impl Authorizer for NodeAuthorizer {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        let Some(node) = node_name(attributes.user) else { return Decision::no_opinion("") };
        if let Target::Resource { group, resource, subresource, namespace, name, fields, .. } = attributes.target {
            let request = Request { verb: attributes.verb, subresource, namespace, name, fields };
            match self.resource(node, group, resource, &request) {
                Some(Ok(())) => return Decision::allow(""),
                Some(Err(reason)) => return Decision::no_opinion(reason),
                None => {}
            }
        }
        let allowed = self.rules.iter().any(|rule| rule.allows(attributes));
        if allowed { Decision::allow("") } else { Decision::no_opinion("") }
    }

    fn rules_for(&self, user: &UserInfo, _namespace: &str) -> RuleSet {
        let errors = node_name(user).map(|_| "node authorizer does not support user rule resolution".to_owned());
        RuleSet { incomplete: errors.is_some(), errors: errors.into_iter().collect(), ..RuleSet::default() }
    }
}

/// The node that a user is the kubelet of.
fn node_name(user: &UserInfo) -> Option<&str> {
    let node = user.name.strip_prefix(NODE_PREFIX).filter(|node| !node.is_empty())?;
    user.in_group(NODES).then_some(node)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
