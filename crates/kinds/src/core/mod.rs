//! The core group.

mod component_status;
mod config_map;
mod endpoints;
pub(crate) mod event;
mod limit_range;
mod namespace;
mod node;
pub(crate) mod pod;
mod pod_template;
mod replication_controller;
mod resource_quota;
mod secret;
mod service;
mod service_account;
pub(crate) mod volume;

use crate::plain::{AGE, NAME, READ_WRITE, SCALE, STATUS, resource};
use crate::resource::{Resource, Subresource};

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    let own = |kind, plural, singular, short_names| Resource { short_names, ..resource("", kind, plural, singular) };
    let cluster = |resource: Resource| Resource { namespaced: false, ..resource };
    vec![
        Resource { verbs: &["create"], ..own("Binding", "bindings", "binding", &[]) },
        cluster(Resource {
            columns: component_status::COLUMNS,
            verbs: &["get", "list"],
            rules: &component_status::ComponentStatus,
            ..own("ComponentStatus", "componentstatuses", "componentstatus", &["cs"])
        }),
        Resource {
            columns: config_map::COLUMNS,
            rules: &config_map::ConfigMap,
            ..own("ConfigMap", "configmaps", "configmap", &["cm"])
        },
        Resource {
            columns: endpoints::COLUMNS,
            rules: &endpoints::Endpoints,
            ..own("Endpoints", "endpoints", "endpoints", &["ep"])
        },
        Resource { columns: event::COLUMNS, rules: &event::Event::CORE, ..own("Event", "events", "event", &["ev"]) },
        Resource { rules: &limit_range::LimitRange, ..own("LimitRange", "limitranges", "limitrange", &["limits"]) },
        cluster(Resource {
            columns: namespace::COLUMNS,
            verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
            subresources: &[Subresource { name: "finalize", kind: None, verbs: &["update"] }, STATUS],
            rules: &namespace::Namespace,
            ..own("Namespace", "namespaces", "namespace", &["ns"])
        }),
        cluster(Resource {
            columns: node::COLUMNS,
            subresources: NODE_SUBRESOURCES,
            rules: &node::Node,
            ..own("Node", "nodes", "node", &["no"])
        }),
        Resource {
            columns: volume::CLAIM,
            subresources: &[STATUS],
            rules: &volume::Claim,
            ..own("PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim", &["pvc"])
        },
        cluster(Resource {
            columns: volume::VOLUME,
            subresources: &[STATUS],
            rules: &volume::Volume,
            ..own("PersistentVolume", "persistentvolumes", "persistentvolume", &["pv"])
        }),
        Resource {
            categories: &["all"],
            columns: pod::COLUMNS,
            subresources: POD_SUBRESOURCES,
            rules: &pod::Pod,
            ..own("Pod", "pods", "pod", &["po"])
        },
        Resource {
            columns: pod_template::COLUMNS,
            rules: &pod_template::PodTemplate,
            ..own("PodTemplate", "podtemplates", "podtemplate", &[])
        },
        Resource {
            categories: &["all"],
            subresources: &[SCALE, STATUS],
            columns: replication_controller::COLUMNS,
            rules: &replication_controller::ReplicationController,
            ..own("ReplicationController", "replicationcontrollers", "replicationcontroller", &["rc"])
        },
        Resource {
            columns: resource_quota::COLUMNS,
            subresources: &[STATUS],
            rules: &resource_quota::ResourceQuota,
            ..own("ResourceQuota", "resourcequotas", "resourcequota", &["quota"])
        },
        Resource { columns: secret::COLUMNS, rules: &secret::Secret, ..own("Secret", "secrets", "secret", &[]) },
        Resource {
            columns: &[NAME, AGE],
            subresources: &[Subresource {
                name: "token",
                kind: Some(("authentication.k8s.io", "v1", "TokenRequest")),
                verbs: &["create"],
            }],
            rules: &service_account::ServiceAccount,
            ..own("ServiceAccount", "serviceaccounts", "serviceaccount", &["sa"])
        },
        Resource {
            categories: &["all"],
            columns: service::COLUMNS,
            subresources: SERVICE_SUBRESOURCES,
            rules: &service::Service,
            ..own("Service", "services", "service", &["svc"])
        },
    ]
}

/// Verbs of a path that leads elsewhere.
const RELAY: &[&str] = &["create", "delete", "get", "patch", "update"];

/// What leads to a server behind the object.
const fn proxy(kind: &'static str) -> Subresource {
    Subresource { name: "proxy", kind: Some(("", "v1", kind)), verbs: RELAY }
}

const NODE_SUBRESOURCES: &[Subresource] = &[proxy("NodeProxyOptions"), STATUS];

const SERVICE_SUBRESOURCES: &[Subresource] = &[proxy("ServiceProxyOptions"), STATUS];

const POD_SUBRESOURCES: &[Subresource] = &[
    Subresource { name: "attach", kind: Some(("", "v1", "PodAttachOptions")), verbs: &["create", "get"] },
    Subresource { name: "binding", kind: Some(("", "v1", "Binding")), verbs: &["create"] },
    Subresource { name: "ephemeralcontainers", kind: None, verbs: READ_WRITE },
    Subresource { name: "eviction", kind: Some(("policy", "v1", "Eviction")), verbs: &["create"] },
    Subresource { name: "exec", kind: Some(("", "v1", "PodExecOptions")), verbs: &["create", "get"] },
    Subresource { name: "log", kind: None, verbs: &["get"] },
    Subresource { name: "portforward", kind: Some(("", "v1", "PodPortForwardOptions")), verbs: &["create", "get"] },
    proxy("PodProxyOptions"),
    Subresource { name: "resize", kind: None, verbs: READ_WRITE },
    STATUS,
];
