//! A resource's objects at one revision, for readers in the process.

use std::sync::Arc;

use meta::Object;

use crate::cache::{Map, Storage};

/// All objects of a resource at one revision. Cheap to make, cheap to copy, and it never changes.
#[derive(Clone)]
pub struct Snapshot {
    storage: Arc<Storage>,
    map: Map,
    revision: u64,
}

impl Snapshot {
    pub(crate) fn new(storage: Arc<Storage>, (map, revision): (Map, u64)) -> Self {
        Self { storage, map, revision }
    }

    /// A watch from here misses nothing.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One object; an empty namespace for cluster-scoped resources.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Object>> {
        self.map.get(&self.storage.key(namespace, name))
    }

    /// All of them, by namespace and name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.map.from("").map(|(_, object)| object)
    }

    /// Those of one namespace, by name.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<Object>> {
        self.map.beneath(&self.storage.key(namespace, "")).map(|(_, object)| object.clone()).collect()
    }
}
