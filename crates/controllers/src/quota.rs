//! Keeps the status of ResourceQuotas: what of a namespace's objects is used.
//!
//! A write is charged in its own commit, so this is about what becomes less, and about quotas that are new or changed. It counts what lists
//! show at one moment, and its status goes through only if nothing was charged since.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use kinds::quota;
use meta::{Clock, Gvr, ListOptions, Object};
use serde_json::Value;
use tokio::sync::{Notify, watch};

use crate::Served;

/// Upstream counts everything anew so often.
const ANEW: Duration = Duration::from_secs(300);

/// Group and plural.
type Id = (String, String);

/// Collections whose changes are followed while a quota counts their objects.
#[derive(Default)]
struct Followed {
    informers: BTreeMap<Id, Informer>,
    /// Those that the driver has not been given yet.
    fresh: Vec<Informer>,
}

/// The controller.
pub(crate) struct Quotas {
    client: Client,
    clock: Arc<dyn Clock>,
    quotas: Informer,
    served: watch::Receiver<Vec<Served>>,
    followed: Mutex<Followed>,
    more: Notify,
}

fn quotas() -> Gvr {
    Gvr::new("", "v1", "resourcequotas")
}

/// The controller for quotas.
pub(crate) fn controller(context: &crate::Context) -> Arc<dyn Controller> {
    let client = (context.client)("resourcequota-controller");
    Arc::new(Quotas {
        quotas: Informer::new(client.clone(), quotas()),
        client,
        clock: Arc::clone(&context.clock),
        served: context.served.clone(),
        followed: Mutex::default(),
        more: Notify::new(),
    })
}

/// The resources whose objects a quota counts.
fn counted(quota: &Value, served: &[Served]) -> Vec<Gvr> {
    let namespaced = served.iter().filter(|served| served.namespaced);
    let ids = namespaced.clone().map(|served| (served.gvr.group.as_str(), served.gvr.resource.as_str()));
    let wanted: BTreeSet<(&str, &str)> = quota::counts(quota, ids).into_iter().collect();
    let of = |served: &&Served| wanted.contains(&(served.gvr.group.as_str(), served.gvr.resource.as_str()));
    namespaced.filter(of).map(|served| served.gvr.clone()).collect()
}

/// Whether a quota that looks like this needs a count: its status is not yet about what it says.
fn is_stale(quota: &Value) -> bool {
    let (hard, used) = (&quota["status"]["hard"], &quota["status"]["used"]);
    let keys = |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<BTreeSet<_>>());
    quota["spec"]["hard"] != *hard || keys(hard) != keys(used)
}

impl Quotas {
    /// Brings what is followed in step with what the quotas count.
    fn follow(&self) {
        let served = self.served.borrow().clone();
        let wanted: BTreeMap<Id, Gvr> = self
            .quotas
            .list()
            .iter()
            .flat_map(|quota| counted(&quota.value(), &served))
            .map(|gvr| ((gvr.group.clone(), gvr.resource.clone()), gvr))
            .collect();
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.informers.retain(|id, informer| {
            let stays = wanted.contains_key(id);
            if !stays {
                informer.end();
            }
            stays
        });
        for (id, gvr) in wanted {
            if !followed.informers.contains_key(&id) {
                let informer = Informer::new(self.client.clone(), gvr);
                followed.fresh.push(informer.clone());
                followed.informers.insert(id, informer);
                self.more.notify_one();
            }
        }
    }
}

#[async_trait]
impl Controller for Quotas {
    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source { informer: self.quotas.clone(), keys: |_| Vec::new() }]
    }

    async fn more_sources(&self) -> Vec<Source> {
        self.more.notified().await;
        let fresh = std::mem::take(&mut self.followed.lock().unwrap_or_else(PoisonError::into_inner).fresh);
        fresh.into_iter().map(|informer| Source { informer, keys: |_| Vec::new() }).collect()
    }

    /// Of what a quota counts, objects that are gone, and those that may cost less than before.
    fn keys(&self, source: &Source, object: &Object) -> Vec<String> {
        let metadata = &object.metadata;
        let gvr = source.informer.gvr();
        if *gvr == quotas() {
            self.follow();
            return if is_stale(&object.value()) { vec![metadata.key()] } else { Vec::new() };
        }
        let gone = source.informer.get(&metadata.key()).is_none_or(|found| found.metadata.uid != metadata.uid);
        let less = match gvr.resource.as_str() {
            // One that was changed may ask for less than it did.
            "pods" => {
                let ended = matches!(object.field("status.phase"), Some("Succeeded" | "Failed"));
                ended || metadata.is_terminating() || metadata.generation > 1
            }
            "services" | "persistentvolumeclaims" | "resourceclaims" => true,
            _ => false,
        };
        if !gone && !less {
            return Vec::new();
        }
        let resource = (gvr.group.as_str(), gvr.resource.as_str());
        let about = |quota: &Arc<Object>| !quota::counts(&quota.value(), std::iter::once(resource)).is_empty();
        let quotas = self.quotas.in_namespace(&metadata.namespace).into_iter().filter(about);
        quotas.map(|quota| quota.metadata.key()).collect()
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        // Compat: the controller's role has no right to read a single object.
        let Some(quota) = self.quotas.get(key) else { return Ok(Outcome::default()) };
        let namespace = &quota.metadata.namespace;
        let mut value = quota.value();
        let resources = counted(&value, &self.served.borrow());
        let mut objects = Vec::new();
        for gvr in &resources {
            let list = self.client.list(gvr, namespace, ListOptions::default()).await?;
            let of = (gvr.group.as_str(), gvr.resource.as_str());
            objects.extend(list.items.iter().map(|object| (of, object.value())));
        }
        if let Some(status) = quota::recount(&value, &objects, self.clock.now().as_second()) {
            value["status"] = status;
            self.client.update_status(&quotas(), value).await?;
        }
        Ok(Outcome { again_after: Some(ANEW), wrote: 0 })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_quota_whose_status_is_about_something_else_is_counted() {
        let check = |status: Value, expected: bool| {
            assert_eq!(is_stale(&json!({"spec": {"hard": {"pods": "1"}}, "status": status})), expected, "{status}");
        };
        check(json!({}), true);
        check(json!({"hard": {"pods": "1"}}), true);
        check(json!({"hard": {"pods": "2"}, "used": {"pods": "0"}}), true);
        check(json!({"hard": {"pods": "1"}, "used": {"pods": "0"}}), false);
    }
}
