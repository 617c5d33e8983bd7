//! The cache: all objects, as the store's feed shows them.
//!
//! Invariant: when the cache says that it has reached a revision, every resource shows all changes up to it. Whoever
//! waits for a revision therefore sees it, and a snapshot taken at one misses nothing before it.

mod feed;
mod history;
mod map;
mod storage;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use meta::Object;
use store::{Batch, Change, Entry, Key};
use tokio::sync::watch;

pub(crate) use self::feed::Feed;
pub(crate) use self::history::Change as ObjectChange;
pub(crate) use self::map::Map;
pub(crate) use self::storage::{Storage, at_revision, encode};
use crate::resources::Resources;

/// What all keys begin with.
pub(crate) const ROOT: &str = "/registry/";

/// All resources' caches.
pub(crate) struct Cache {
    /// By `core/pods` and the like.
    storages: HashMap<String, Arc<Storage>>,
    reached: watch::Sender<u64>,
}

/// `core/pods` or `apps/deployments`: where a resource's keys are beneath [`ROOT`].
pub(crate) fn place(group: &str, resource: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    [group, "/", resource].concat()
}

impl Cache {
    /// Empty caches for all that is stored.
    pub(crate) fn new(resources: &Resources) -> Self {
        let mut storages = HashMap::new();
        for row in resources.iter() {
            let place = place(row.storage.0, row.storage.1);
            let own = (row.group, row.plural) == row.storage;
            if own || !storages.contains_key(&place) {
                let storage = Storage::new(format!("{ROOT}{place}/"), row.rules);
                storages.insert(place, Arc::new(storage));
            }
        }
        Self { storages, reached: watch::Sender::new(0) }
    }

    /// The cache of a stored resource.
    pub(crate) fn storage(&self, group: &str, resource: &str) -> Option<&Arc<Storage>> {
        self.storages.get(&place(group, resource))
    }

    /// The revision that everything has reached.
    pub(crate) fn revision(&self) -> u64 {
        *self.reached.borrow()
    }

    /// Shows the revision that everything has reached.
    pub(crate) fn reached(&self) -> watch::Receiver<u64> {
        self.reached.subscribe()
    }

    /// Waits until everything has reached `revision`.
    pub(crate) async fn wait(&self, revision: u64) {
        if self.revision() >= revision {
            return;
        }
        // It can't close: this cache holds the sender.
        let _ = self.reached.subscribe().wait_for(|reached| *reached >= revision).await;
    }

    /// Begins anew with all entries of the store at `revision`.
    fn load(&self, entries: Vec<Entry>, revision: u64) {
        let mut objects: HashMap<&str, Vec<(Key, Arc<Object>)>> = HashMap::new();
        for entry in entries {
            let Some((name, storage)) = self.of_key(&entry.key) else { continue };
            if let Some(object) = decode(storage, &entry) {
                objects.entry(name).or_default().push((entry.key, Arc::new(object)));
            }
        }
        for (name, storage) in &self.storages {
            storage.load(objects.remove(name.as_str()).unwrap_or_default(), revision);
        }
        self.reached.send_replace(revision);
    }

    /// Takes in what one commit changed.
    fn apply(&self, batch: Batch, now: Instant) {
        for change in batch.changes {
            let Some((_, storage)) = self.of_key(change.key()) else { continue };
            match change {
                Change::Put(entry) => {
                    if let Some(object) = decode(storage, &entry) {
                        storage.put(entry.key, Arc::new(object), now);
                    }
                }
                Change::Delete { key, .. } => storage.delete(key, batch.revision.0, now),
            }
        }
        self.reached.send_replace(batch.revision.0);
    }

    fn of_key(&self, key: &str) -> Option<(&str, &Arc<Storage>)> {
        let rest = key.strip_prefix(ROOT)?;
        let slash = rest.find('/')?;
        let end = slash + 1 + rest[slash + 1..].find('/')?;
        self.storages.get_key_value(&rest[..end]).map(|(name, storage)| (name.as_str(), storage))
    }
}

fn decode(storage: &Storage, entry: &Entry) -> Option<Object> {
    match storage.decode(&entry.value, entry.mod_revision.0) {
        Ok(object) => Some(object),
        Err(error) => {
            tracing::error!(key = %entry.key, %error, "the store holds an object that can't be read; it is left out");
            None
        }
    }
}
