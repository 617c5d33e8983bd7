//! Controllers of pods that come from a template, and what they share: which objects are theirs, making and deleting pods,
//! conditions and revisions.

mod adoption;
mod children;
mod conditions;
mod daemon_set;
mod deployment;
mod document;
mod history;
mod pod;
mod replica_set;
mod stateful_set;

use std::sync::Arc;

use client::{Client, Controller, Informer, Recorder};
use meta::Gvr;

use crate::Context;

/// What every one of them is made with.
pub(crate) struct Tools {
    pub(crate) client: Client,
    pub(crate) recorder: Recorder,
    pub(crate) clock: Arc<dyn meta::Clock>,
}

impl Tools {
    pub(crate) fn now(&self) -> String {
        meta::format_time(self.clock.now())
    }
}

/// Every controller of workloads.
pub(crate) fn all(context: &Context, pods: &Informer, nodes: &Informer) -> Vec<Arc<dyn Controller>> {
    let informer = |group: &str, resource: &str| Informer::new(context.reader.clone(), Gvr::new(group, "v1", resource));
    let tools = |user: &str, component: &str| {
        let client = (context.client)(user);
        let recorder = Recorder::new(client.clone(), component, "", Arc::clone(&context.clock));
        Tools { client, recorder, clock: Arc::clone(&context.clock) }
    };
    let (sets, revisions) = (informer("apps", "replicasets"), informer("apps", "controllerrevisions"));
    vec![
        Arc::new(replica_set::Replicas {
            tools: tools("replicaset-controller", "replicaset-controller"),
            flavour: replica_set::Flavour::ReplicaSet,
            sets: sets.clone(),
            pods: pods.clone(),
        }),
        Arc::new(replica_set::Replicas {
            tools: tools("replication-controller", "replication-controller"),
            flavour: replica_set::Flavour::ReplicationController,
            sets: informer("", "replicationcontrollers"),
            pods: pods.clone(),
        }),
        Arc::new(deployment::Deployments {
            tools: tools("deployment-controller", "deployment-controller"),
            deployments: informer("apps", "deployments"),
            sets,
            pods: pods.clone(),
        }),
        Arc::new(daemon_set::DaemonSets::new(
            tools("daemon-set-controller", "daemonset-controller"),
            informer("apps", "daemonsets"),
            revisions.clone(),
            pods.clone(),
            nodes.clone(),
        )),
        Arc::new(stateful_set::StatefulSets {
            tools: tools("statefulset-controller", "statefulset-controller"),
            sets: informer("apps", "statefulsets"),
            revisions,
            pods: pods.clone(),
            claims: informer("", "persistentvolumeclaims"),
        }),
    ]
}
