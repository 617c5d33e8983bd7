//! The cache: all objects, as the store's feed shows them.
//!
//! Invariant: when the cache says that it has reached a revision, every resource shows all changes up to it. Whoever
//! waits for a revision therefore sees it, and a snapshot taken at one misses nothing before it.

mod feed;
mod history;
mod map;
mod storage;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use kinds::Resource;
use meta::Object;
use store::{Batch, Change, Entry, Key};
use tokio::sync::watch;

pub(crate) use self::feed::Feed;
pub(crate) use self::history::Change as ObjectChange;
pub(crate) use self::map::Map;
pub(crate) use self::storage::{Storage, at_revision, encode};
use crate::custom::{DEFINITIONS, Definitions};
use crate::resources::Resources;

/// What all keys begin with.
pub(crate) const ROOT: &str = "/registry/";

/// All resources' caches, and the table of what is served.
pub(crate) struct Cache {
    /// By `core/pods` and the like.
    storages: RwLock<HashMap<String, Arc<Storage>>>,
    definitions: Mutex<Definitions>,
    served: watch::Sender<Arc<Resources>>,
    reached: watch::Sender<u64>,
    /// What is older is forgotten: lists of it have expired.
    forgotten: AtomicU64,
}

/// `core/pods` or `apps/deployments`: where a resource's keys are beneath [`ROOT`].
pub(crate) fn place(group: &str, resource: &str) -> String {
    let group = if group.is_empty() { "core" } else { group };
    [group, "/", resource].concat()
}

impl Cache {
    /// Empty caches for all that is stored.
    pub(crate) fn new(resources: Resources) -> Self {
        let mut storages = HashMap::new();
        for row in resources.iter() {
            let place = place(row.storage.0, row.storage.1);
            let own = (row.group, row.plural) == row.storage;
            if own || !storages.contains_key(&place) {
                let storage = Storage::new(format!("{ROOT}{place}/"), row.rules);
                storages.insert(place, Arc::new(storage));
            }
        }
        let resources = Arc::new(resources);
        Self {
            storages: RwLock::new(storages),
            definitions: Mutex::new(Definitions::new(resources.clone())),
            served: watch::Sender::new(resources),
            reached: watch::Sender::new(0),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Lists of states before this revision have expired, as far as changes may still be known.
    pub(crate) fn forget(&self, revision: u64) {
        self.forgotten.fetch_max(revision, Ordering::Relaxed);
    }

    /// Whether a state is as old as what the store forgot.
    pub(crate) fn has_forgotten(&self, revision: u64) -> bool {
        revision < self.forgotten.load(Ordering::Relaxed)
    }

    /// The cache of a stored resource.
    pub(crate) fn storage(&self, group: &str, resource: &str) -> Option<Arc<Storage>> {
        self.storages.read().unwrap_or_else(PoisonError::into_inner).get(&place(group, resource)).cloned()
    }

    /// The cache of a resource that is served: a custom one gets its own when it is first asked for.
    pub(crate) fn storage_of(&self, row: &Resource) -> Arc<Storage> {
        self.at_place(&place(row.storage.0, row.storage.1))
    }

    fn at_place(&self, place: &str) -> Arc<Storage> {
        if let Some(storage) = self.storages.read().unwrap_or_else(PoisonError::into_inner).get(place) {
            return storage.clone();
        }
        let mut storages = self.storages.write().unwrap_or_else(PoisonError::into_inner);
        let storage = storages.entry(place.to_owned()).or_insert_with(|| {
            // Custom resources bring the fields that selectors ask for with each version, not with the stored form.
            let storage = Storage::new(format!("{ROOT}{place}/"), kinds::without_rules());
            storage.load([], self.revision());
            Arc::new(storage)
        });
        storage.clone()
    }

    /// What is served now.
    pub(crate) fn resources(&self) -> Arc<Resources> {
        self.served.borrow().clone()
    }

    /// Shows what is served, as it changes.
    pub(crate) fn served(&self) -> watch::Receiver<Arc<Resources>> {
        self.served.subscribe()
    }

    /// Makes the table anew from the definitions that there are.
    fn define(&self) {
        let Some(storage) = self.storage(DEFINITIONS.0, DEFINITIONS.1) else { return };
        let (map, _) = storage.newest();
        let mut definitions = self.definitions.lock().unwrap_or_else(PoisonError::into_inner);
        let table = definitions.table(map.from("").map(|(_, object)| object));
        self.served.send_replace(Arc::new(table));
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
        let mut objects: HashMap<String, Vec<(Key, Arc<Object>)>> = HashMap::new();
        for entry in entries {
            let Some(place) = place_of(&entry.key) else { continue };
            if let Some(object) = decode(&self.at_place(place), &entry) {
                match objects.get_mut(place) {
                    Some(own) => own.push((entry.key, Arc::new(object))),
                    None => drop(objects.insert(place.to_owned(), vec![(entry.key, Arc::new(object))])),
                }
            }
        }
        for (name, storage) in self.storages.read().unwrap_or_else(PoisonError::into_inner).iter() {
            storage.load(objects.remove(name).unwrap_or_default(), revision);
        }
        self.define();
        self.reached.send_replace(revision);
    }

    /// Takes in what one commit changed.
    fn apply(&self, batch: Batch, now: Instant) {
        let definitions = [ROOT, &place(DEFINITIONS.0, DEFINITIONS.1), "/"].concat();
        let mut defined = false;
        for change in batch.changes {
            let Some(place) = place_of(change.key()) else { continue };
            let storage = self.at_place(place);
            defined |= change.key().starts_with(&definitions);
            match change {
                Change::Put(entry) => {
                    if let Some(object) = decode(&storage, &entry) {
                        storage.put(entry.key, Arc::new(object), now);
                    }
                }
                Change::Delete { key, .. } => storage.delete(key, batch.revision.0, now),
            }
        }
        if defined {
            self.define();
        }
        self.reached.send_replace(batch.revision.0);
    }
}

/// The place in a key: `apps/deployments` of `/registry/apps/deployments/default/a`.
fn place_of(key: &str) -> Option<&str> {
    let rest = key.strip_prefix(ROOT)?;
    let slash = rest.find('/')?;
    let end = slash + 1 + rest[slash + 1..].find('/')?;
    Some(&rest[..end])
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
