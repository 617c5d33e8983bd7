//! Following policies and the pods that they speak of.

use std::collections::BTreeMap;

use client::{Client, Index, Informer};
use futures::FutureExt;
use meta::Gvr;
use net::Namespace;

use super::model::{Labels, Pod, Policy};
use super::{Settings, rules};
use crate::netd::NetdError;
use crate::ruleset::Ruleset;
use crate::table::Table;

/// The policies of a node.
pub(crate) struct Policies {
    settings: Settings,
    client: Client,
    table: Table,
    objects: Informer,
    policies: BTreeMap<String, Policy>,
}

/// What policies speak of; nobody follows it where there are none.
struct Subjects {
    pods: (Informer, Index),
    namespaces: (Informer, Index),
    known_pods: BTreeMap<String, Pod>,
    known_namespaces: BTreeMap<String, Labels>,
}

impl Policies {
    /// Opens the kernel's door. `client` may read policies, and all pods and namespaces.
    pub(crate) async fn open(settings: Settings, namespace: &Namespace, client: Client) -> Result<Self, NetdError> {
        let ruleset = Ruleset::new(&settings.table, |change| rules::skeleton(change, &settings));
        let table = Table::open(namespace, ruleset).await?;
        let objects = Informer::new(client.clone(), Gvr::new("networking.k8s.io", "v1", "networkpolicies"));
        Ok(Self { settings, client, table, objects, policies: BTreeMap::new() })
    }

    /// Follows policies until the task is ended.
    pub(crate) async fn run(mut self) {
        self.objects.wait_synced().await;
        let mut changes = self.objects.subscribe();
        let mut subjects = None;
        loop {
            while changes.next().now_or_never().flatten().is_some() {}
            self.policies =
                self.objects.list().iter().map(|object| (object.metadata.key(), Policy::read(object))).collect();
            self.follow_if_needed(&mut subjects).await;
            self.bring_in_step(subjects.as_ref()).await;
            tokio::select! {
                Some(_) = changes.next() => {}
                () = self.table.again() => {}
                () = changed(subjects.as_mut(), &self.settings.node) => {}
            }
        }
    }

    async fn follow_if_needed(&self, subjects: &mut Option<Subjects>) {
        if self.policies.is_empty() {
            *subjects = None;
        } else if subjects.is_none() {
            *subjects = Some(Subjects::follow(&self.client, &self.settings.node).await);
        }
    }

    async fn bring_in_step(&mut self, subjects: Option<&Subjects>) {
        let fragments = subjects.map(|subjects| {
            rules::fragments(rules::Cluster {
                policies: &self.policies,
                pods: &subjects.known_pods,
                namespaces: &subjects.known_namespaces,
            })
        });
        self.table.replace(fragments.unwrap_or_default()).await;
    }
}

/// Returns when something that policies speak of has changed; never if nobody follows it.
async fn changed(subjects: Option<&mut Subjects>, node: &str) {
    match subjects {
        Some(subjects) => subjects.changed(node).await,
        None => std::future::pending().await,
    }
}

impl Subjects {
    async fn follow(client: &Client, node: &str) -> Self {
        let core = |resource: &str| Informer::new(client.clone(), Gvr::new("", "v1", resource));
        let (pods, namespaces) = (core("pods"), core("namespaces"));
        pods.wait_synced().await;
        namespaces.wait_synced().await;
        let (pod_changes, namespace_changes) = (pods.subscribe(), namespaces.subscribe());
        let mut subjects = Self {
            pods: (pods, pod_changes),
            namespaces: (namespaces, namespace_changes),
            known_pods: BTreeMap::new(),
            known_namespaces: BTreeMap::new(),
        };
        subjects.take_over(node);
        subjects
    }

    /// Waits for a change that matters, and takes over everything that has happened until then.
    async fn changed(&mut self, node: &str) {
        loop {
            let key = tokio::select! {
                Some(pod) = self.pods.1.next() => Ok(pod.metadata.key()),
                Some(namespace) = self.namespaces.1.next() => Err(namespace.metadata.name.clone()),
                else => return std::future::pending().await,
            };
            let changed = match key {
                Ok(key) => self.look_at_pod(key, node),
                Err(name) => self.look_at_namespace(name),
            };
            if self.take_over(node) || changed {
                return;
            }
        }
    }

    /// Takes over what has happened; whether it matters.
    fn take_over(&mut self, node: &str) -> bool {
        let mut changed = false;
        while let Some(Some(pod)) = self.pods.1.next().now_or_never() {
            changed |= self.look_at_pod(pod.metadata.key(), node);
        }
        while let Some(Some(namespace)) = self.namespaces.1.next().now_or_never() {
            changed |= self.look_at_namespace(namespace.metadata.name.clone());
        }
        changed
    }

    fn look_at_pod(&mut self, key: String, node: &str) -> bool {
        let new = self.pods.0.get(&key).and_then(|object| Pod::read(&object, node));
        put(&mut self.known_pods, key, new)
    }

    fn look_at_namespace(&mut self, name: String) -> bool {
        let new = self.namespaces.0.get(&name).map(|object| object.metadata.labels.clone());
        put(&mut self.known_namespaces, name, new)
    }
}

/// Keeps what is known now; whether that differs from before.
fn put<T: PartialEq>(all: &mut BTreeMap<String, T>, key: String, new: Option<T>) -> bool {
    match new {
        Some(new) if all.get(&key) == Some(&new) => false,
        Some(new) => {
            all.insert(key, new);
            true
        }
        None => all.remove(&key).is_some(),
    }
}
