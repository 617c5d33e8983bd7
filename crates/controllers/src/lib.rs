//! Controllers: each brings one thing of the cluster to where its objects say it should be.
//!
//! One file each, and one line in [`all`]. They see the cluster through the API as everyone does, each as its own user, and keep
//! the rules of [`client::Controller`]. They know neither the server nor the nodes' insides.

mod admission_policies;
mod certificates;
mod cluster_roles;
mod conditions;
mod cron_job;
mod custom_resources;
mod disrupted;
mod disruption;
mod ephemeral_volumes;
mod garbage;
mod job;
mod namespaces;
mod node_health;
mod nodes;
mod pod_garbage;
mod quota;
mod root_ca;
mod service_accounts;
mod services;
mod taint_eviction;
mod ttl_after_finished;
mod volumes;
mod workload;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use client::{Client, Controller, Informer, Recorder};
use meta::Gvr;

pub use certificates::Sign;
pub use volumes::PROVISIONER;

/// What controllers are made with.
pub struct Context {
    /// A client for reading collections, as upstream's controller manager shares one: `system:kube-controller-manager`.
    pub reader: Client,
    /// A client for the writes of the controller of this name.
    pub client: Box<dyn Fn(&str) -> Client + Send + Sync>,
    /// A client of the API server's own user, for what upstream's API server does to objects by itself.
    pub api_server: Client,
    /// The time for stamps.
    pub clock: Arc<dyn meta::Clock>,
    /// The cluster's authority, PEM: what pods check the API server by.
    pub root_ca: String,
    /// The cluster's signers.
    pub sign: Sign,
    /// Tells every namespaced resource that can be listed and deleted, custom ones included, as it is now.
    pub namespaced: Arc<dyn Fn() -> Vec<Gvr> + Send + Sync>,
    /// Every resource that can be followed and deleted, custom ones included, as they come and go.
    pub served: tokio::sync::watch::Receiver<Vec<Served>>,
    /// Where the built-in provisioner makes volumes.
    pub volumes: PathBuf,
}

/// A resource that the cluster serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// Its name.
    pub gvr: Gvr,
    /// The kind of its objects.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// Every controller.
pub fn all(context: &Context) -> Vec<Arc<dyn Controller>> {
    let core = |resource: &str| Informer::new(context.reader.clone(), Gvr::new("", "v1", resource));
    let (namespaces, pods, writer) = (core("namespaces"), core("pods"), &context.client);
    let (nodes, claims) = (core("nodes"), core("persistentvolumeclaims"));
    let mut all: Vec<Arc<dyn Controller>> = vec![
        Arc::new(admission_policies::AdmissionPolicies {
            client: context.api_server.clone(),
            policies: Informer::new(context.api_server.clone(), admission_policies::policies()),
        }),
        Arc::new(custom_resources::CustomResources {
            client: context.api_server.clone(),
            definitions: Informer::new(context.api_server.clone(), custom_resources::definitions()),
            clock: Arc::clone(&context.clock),
        }),
        Arc::new(cluster_roles::ClusterRoles {
            client: writer("clusterrole-aggregation-controller"),
            roles: cluster_roles::followed(&context.reader),
        }),
        Arc::new(namespaces::Namespaces {
            client: writer("namespace-controller"),
            clock: Arc::clone(&context.clock),
            namespaces: namespaces.clone(),
            pods: pods.clone(),
            resources: Arc::clone(&context.namespaced),
        }),
        Arc::new(nodes::Nodes {
            client: writer("node-controller"),
            clock: Arc::clone(&context.clock),
            nodes: nodes.clone(),
        }),
        Arc::new(service_accounts::ServiceAccounts {
            client: writer("service-account-controller"),
            namespaces: namespaces.clone(),
            accounts: core("serviceaccounts"),
        }),
        Arc::new(root_ca::RootCa {
            client: writer("root-ca-cert-publisher"),
            published: root_ca::published(&context.reader),
            namespaces,
            authority: context.root_ca.clone(),
        }),
        Arc::new(volumes::Volumes {
            client: writer("persistent-volume-binder"),
            pods: pods.clone(),
            claims: claims.clone(),
            volumes: core("persistentvolumes"),
            classes: Informer::new(context.reader.clone(), Gvr::new("storage.k8s.io", "v1", "storageclasses")),
            folder: context.volumes.clone(),
        }),
        Arc::new(ephemeral_volumes::EphemeralVolumes {
            client: writer("ephemeral-volume-controller"),
            recorder: Recorder::new(
                writer("ephemeral-volume-controller"),
                "ephemeral_volume",
                "",
                Arc::clone(&context.clock),
            ),
            pods: pods.clone(),
            claims,
        }),
    ];
    all.push(Arc::new(certificates::Certificates {
        client: writer("certificate-controller"),
        clock: Arc::clone(&context.clock),
        requests: Informer::new(
            context.reader.clone(),
            Gvr::new("certificates.k8s.io", "v1", "certificatesigningrequests"),
        ),
        sign: Arc::clone(&context.sign),
    }));
    all.extend(services::all(context, &pods));
    all.extend(workload::all(context, &pods, &nodes));
    all.extend(node_life(context, &pods, &nodes));
    all.push(garbage::collector(context));
    all.push(quota::controller(context));
    all.extend(batch(context, &pods));
    all
}

/// What follows from nodes that fail, are tainted or are gone.
fn node_life(context: &Context, pods: &Informer, nodes: &Informer) -> Vec<Arc<dyn Controller>> {
    let client = (context.client)("node-controller");
    let clock = || Arc::clone(&context.clock);
    let recorder = |component: &str| Recorder::new(client.clone(), component, "", clock());
    vec![
        Arc::new(node_health::NodeHealth {
            client: client.clone(),
            recorder: recorder("node-controller"),
            clock: clock(),
            nodes: nodes.clone(),
            leases: Informer::new(context.reader.clone(), Gvr::new("coordination.k8s.io", "v1", "leases")),
            pods: pods.clone(),
            heard: Mutex::default(),
        }),
        Arc::new(taint_eviction::TaintEviction {
            client: client.clone(),
            recorder: recorder("taint-eviction-controller"),
            clock: clock(),
            nodes: nodes.clone(),
            pods: pods.clone(),
            bearing: Mutex::default(),
        }),
        Arc::new(pod_garbage::PodGarbage {
            client: (context.client)("pod-garbage-collector"),
            clock: clock(),
            nodes: nodes.clone(),
            pods: pods.clone(),
            missing: Mutex::default(),
        }),
    ]
}

/// Jobs, and what is about pods alone.
fn batch(context: &Context, pods: &Informer) -> Vec<Arc<dyn Controller>> {
    let informer = |group: &str, resource: &str| Informer::new(context.reader.clone(), Gvr::new(group, "v1", resource));
    let writer = |name: &str| (context.client)(name);
    let recorder = |controller: &str, component: &str| {
        Recorder::new(writer(controller), component, "", Arc::clone(&context.clock))
    };
    let (jobs, clock) = (informer("batch", "jobs"), || Arc::clone(&context.clock));
    let events = recorder("job-controller", "job-controller");
    vec![
        Arc::new(job::Jobs::new(writer("job-controller"), events, clock(), jobs.clone(), pods.clone())),
        Arc::new(cron_job::CronJobs {
            client: writer("cronjob-controller"),
            recorder: recorder("cronjob-controller", "cronjob-controller"),
            clock: clock(),
            cron_jobs: informer("batch", "cronjobs"),
            jobs: jobs.clone(),
        }),
        Arc::new(ttl_after_finished::TtlAfterFinished {
            client: writer("ttl-after-finished-controller"),
            clock: clock(),
            jobs,
        }),
        Arc::new(disruption::Disruption {
            client: writer("disruption-controller"),
            recorder: recorder("disruption-controller", "controllermanager"),
            clock: clock(),
            budgets: informer("policy", "poddisruptionbudgets"),
            pods: pods.clone(),
        }),
    ]
}
