//! Deletes what nothing owns any more: dependents of owners that are gone, in the way their deleter asked for.
//!
//! It follows every resource there is, custom ones as they come and go; the informers' own index of owners is the graph.

mod plan;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{
    ApiError, DeleteOptions, Gvr, Object, OwnerReference, PatchType, Preconditions, Reason, ResourcePath, WriteOptions,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{Context, Served};
use plan::{Action, FOREGROUND, ORPHAN, Owner, OwnerState, has_finalizer, plan};

struct Followed {
    served: Served,
    informer: Informer,
}

pub(crate) struct Garbage {
    client: Client,
    served: tokio::sync::Mutex<watch::Receiver<Vec<Served>>>,
    followed: RwLock<BTreeMap<(String, String), Arc<Followed>>>,
    /// Owners that were found to be absent, by UID: an UID never comes back.
    absent: Mutex<std::collections::BTreeSet<String>>,
}

/// How many absent owners are remembered.
const REMEMBERED: usize = 4096;

/// The garbage collector.
pub(crate) fn collector(context: &Context) -> Arc<dyn Controller> {
    let client = (context.client)("generic-garbage-collector");
    let served = context.served.borrow().clone();
    let garbage = Garbage {
        client,
        served: tokio::sync::Mutex::new(context.served.clone()),
        followed: RwLock::default(),
        absent: Mutex::default(),
    };
    garbage.follow(served);
    Arc::new(garbage)
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn key(api_version: &str, kind: &str, name: &str) -> String {
    format!("{} {kind} {name}", group(api_version))
}

fn key_of(object: &Object) -> String {
    key(object.api_version(), object.kind(), &object.metadata.key())
}

impl Garbage {
    /// Brings what is followed in step with what is served; the resources that are new.
    fn follow(&self, served: Vec<Served>) -> Vec<Source> {
        // Compat: events own nothing and are owned by nothing.
        let served = served.into_iter().filter(|served| served.gvr.resource != "events");
        let served: BTreeMap<(String, String), Served> =
            served.map(|served| ((served.gvr.group.clone(), served.kind.clone()), served)).collect();
        let mut followed = self.followed.write().expect("no holder of this lock can panic");
        followed.retain(|id, old| {
            let stays = served.get(id) == Some(&old.served);
            if !stays {
                old.informer.end();
            }
            stays
        });
        let mut sources = Vec::new();
        for (id, served) in served {
            followed.entry(id).or_insert_with(|| {
                let informer = Informer::new(self.client.clone(), served.gvr.clone());
                sources.push(Source { informer: informer.clone(), keys: |_| Vec::new() });
                Arc::new(Followed { served, informer })
            });
        }
        sources
    }

    fn resource(&self, group: &str, kind: &str) -> Option<Arc<Followed>> {
        let followed = self.followed.read().expect("no holder of this lock can panic");
        followed.get(&(group.to_owned(), kind.to_owned())).cloned()
    }

    fn all(&self) -> Vec<Arc<Followed>> {
        self.followed.read().expect("no holder of this lock can panic").values().cloned().collect()
    }

    fn dependents(&self, uid: &str) -> Vec<Arc<Object>> {
        self.all().iter().flat_map(|followed| followed.informer.owned_by(uid)).collect()
    }

    /// What has become of an owner. One that the collection lacks is asked for itself before it counts as absent.
    async fn owner(&self, object: &Object, owner: &OwnerReference) -> Result<OwnerState, ReconcileError> {
        let Some(followed) = self.resource(group(&owner.api_version), &owner.kind) else {
            return Ok(OwnerState::Unknown);
        };
        let namespace = if followed.served.namespaced { object.metadata.namespace.as_str() } else { "" };
        // Compat: what lives in no namespace can't be owned by what does; such a reference is left alone.
        if followed.served.namespaced && namespace.is_empty() {
            return Ok(OwnerState::Unknown);
        }
        if self.absent.lock().expect("no holder of this lock can panic").contains(&owner.uid) {
            return Ok(OwnerState::Absent);
        }
        let key = if namespace.is_empty() { owner.name.clone() } else { format!("{namespace}/{}", owner.name) };
        let cached = followed.informer.get(&key).filter(|found| found.metadata.uid == owner.uid);
        let found = match cached {
            Some(found) => Some(found),
            None => match self.client.get(&followed.served.gvr, namespace, &owner.name).await {
                Ok(found) => Some(found).filter(|found| found.metadata.uid == owner.uid),
                Err(error) if error.reason == Reason::NotFound => None,
                Err(error) => return Err(error.into()),
            },
        };
        let Some(found) = found else {
            let mut absent = self.absent.lock().expect("no holder of this lock can panic");
            if absent.len() >= REMEMBERED {
                absent.clear();
            }
            absent.insert(owner.uid.clone());
            return Ok(OwnerState::Absent);
        };
        let waits = found.metadata.is_terminating() && has_finalizer(&found.metadata, FOREGROUND);
        Ok(if waits { OwnerState::Waiting } else { OwnerState::Solid })
    }

    async fn act(&self, gvr: &Gvr, object: &Arc<Object>, action: Action) -> Result<(), ReconcileError> {
        match action {
            Action::Nothing => Ok(()),
            Action::Delete(propagation) => {
                let preconditions = Preconditions {
                    uid: Some(object.metadata.uid.clone()),
                    resource_version: Some(object.resource_version()),
                };
                let options =
                    DeleteOptions { preconditions, propagation: Some(propagation), ..DeleteOptions::default() };
                let metadata = &object.metadata;
                gone_is_fine(self.client.delete(gvr, &metadata.namespace, &metadata.name, options).await)
            }
            Action::DropOwners(uids) => {
                let kept = |owner: &Value| !uids.iter().any(|uid| owner["uid"] == uid.as_str());
                self.change(gvr, object, |owners| owners.retain(kept)).await
            }
            Action::Unblock => {
                let unblock = |owner: &mut Value| owner["blockOwnerDeletion"] = json!(false);
                self.change(gvr, object, |owners| owners.iter_mut().for_each(unblock)).await
            }
            Action::Orphan(dependents) => {
                for dependent in dependents {
                    if let Some(followed) = self.resource(group(dependent.api_version()), dependent.kind()) {
                        let kept = |owner: &Value| owner["uid"] != object.metadata.uid.as_str();
                        self.change(&followed.served.gvr, &dependent, |owners| owners.retain(kept)).await?;
                    }
                }
                self.finalize(gvr, object, ORPHAN).await
            }
            Action::Finalize => self.finalize(gvr, object, FOREGROUND).await,
        }
    }

    /// Changes an object's owners, as far as it is still as we know it.
    async fn change(
        &self,
        gvr: &Gvr,
        object: &Object,
        change: impl FnOnce(&mut Vec<Value>),
    ) -> Result<(), ReconcileError> {
        let mut owners = object.value()["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
        change(&mut owners);
        let owners = if owners.is_empty() { Value::Null } else { json!(owners) };
        self.patch(gvr, object, json!({"ownerReferences": owners})).await
    }

    async fn finalize(&self, gvr: &Gvr, object: &Object, finalizer: &str) -> Result<(), ReconcileError> {
        let others: Vec<&String> = object.metadata.finalizers.iter().filter(|own| *own != finalizer).collect();
        self.patch(gvr, object, json!({"finalizers": others})).await
    }

    async fn patch(&self, gvr: &Gvr, object: &Object, mut metadata: Value) -> Result<(), ReconcileError> {
        metadata["uid"] = json!(object.metadata.uid);
        metadata["resourceVersion"] = json!(object.resource_version());
        let path = ResourcePath::object(gvr.clone(), &object.metadata.namespace, &object.metadata.name);
        let patch = json!({"metadata": metadata});
        let done = self.client.patch(&path, PatchType::Merge, &patch, WriteOptions::default()).await;
        gone_is_fine(done.map(drop))
    }
}

fn gone_is_fine(done: Result<(), ApiError>) -> Result<(), ReconcileError> {
    match done {
        Err(error) if error.reason != Reason::NotFound => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[async_trait]
impl Controller for Garbage {
    fn name(&self) -> &'static str {
        "garbage-collector"
    }

    fn sources(&self) -> Vec<Source> {
        let followed = self.all();
        followed.iter().map(|followed| Source { informer: followed.informer.clone(), keys: |_| Vec::new() }).collect()
    }

    async fn more_sources(&self) -> Vec<Source> {
        let mut served = self.served.lock().await;
        if served.changed().await.is_err() {
            return std::future::pending().await;
        }
        let now = served.borrow_and_update().clone();
        self.follow(now)
    }

    /// The object itself; its dependents once it is gone or waits for them; owners that may wait for it.
    fn keys(&self, source: &Source, object: &Object) -> Vec<String> {
        let metadata = &object.metadata;
        let there = source.informer.get(&metadata.key()).is_some_and(|found| found.metadata.uid == metadata.uid);
        let waits = metadata.is_terminating() && has_finalizer(metadata, FOREGROUND);
        let mut keys = Vec::new();
        if there && (!metadata.owner_references.is_empty() || metadata.is_terminating()) {
            keys.push(key_of(object));
        }
        if !there || waits {
            keys.extend(self.dependents(&metadata.uid).iter().map(|dependent| key_of(dependent)));
        }
        for owner in &metadata.owner_references {
            let Some(followed) = self.resource(group(&owner.api_version), &owner.kind) else { continue };
            let namespaced = followed.served.namespaced && !metadata.namespace.is_empty();
            let name = if namespaced { format!("{}/{}", metadata.namespace, owner.name) } else { owner.name.clone() };
            if followed.informer.get(&name).is_some_and(|found| found.metadata.is_terminating()) {
                keys.push(key(&owner.api_version, &owner.kind, &name));
            }
        }
        keys
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let mut parts = key.splitn(3, ' ');
        let (group, kind, name) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
        let Some(followed) = self.resource(group.unwrap_or_default(), kind.unwrap_or_default()) else {
            return Ok(Outcome::default());
        };
        let Some(object) = followed.informer.get(name) else { return Ok(Outcome::default()) };
        let mut owners = Vec::new();
        for reference in &object.metadata.owner_references {
            let state = self.owner(&object, reference).await?;
            owners.push(Owner { uid: reference.uid.clone(), blocked: reference.block_owner_deletion, state });
        }
        let dependents = self.dependents(&object.metadata.uid);
        for action in plan(&object, &owners, &dependents) {
            self.act(&followed.served.gvr, &object, action).await?;
        }
        Ok(Outcome::default())
    }
}

impl std::fmt::Debug for Garbage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Garbage({} resources)", self.all().len())
    }
}
