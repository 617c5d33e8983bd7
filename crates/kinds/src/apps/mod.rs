//! The group `apps`: one file per kind.

mod controller_revision;
mod daemon_set;
mod deployment;
pub(crate) mod replica_set;
mod stateful_set;
pub(crate) mod template;

use crate::plain::{Desired, SCALE, STATUS, resource};
use crate::resource::Resource;

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    let workload = |kind, plural, singular, short_names| Resource {
        short_names,
        categories: &["all"],
        subresources: &[SCALE, STATUS],
        rules: &Desired,
        ..resource("apps", kind, plural, singular)
    };
    vec![
        Resource {
            columns: controller_revision::COLUMNS,
            rules: &controller_revision::ControllerRevision,
            ..resource("apps", "ControllerRevision", "controllerrevisions", "controllerrevision")
        },
        Resource {
            subresources: &[STATUS],
            columns: daemon_set::COLUMNS,
            rules: &daemon_set::DaemonSet,
            ..workload("DaemonSet", "daemonsets", "daemonset", &["ds"])
        },
        Resource {
            columns: deployment::COLUMNS,
            rules: &deployment::Deployment,
            ..workload("Deployment", "deployments", "deployment", &["deploy"])
        },
        Resource {
            columns: replica_set::COLUMNS,
            rules: &replica_set::ReplicaSet,
            ..workload("ReplicaSet", "replicasets", "replicaset", &["rs"])
        },
        Resource {
            columns: stateful_set::COLUMNS,
            rules: &stateful_set::StatefulSet,
            ..workload("StatefulSet", "statefulsets", "statefulset", &["sts"])
        },
    ]
}
