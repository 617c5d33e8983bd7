//! The objects of one stored resource, and what recently happened to them.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use kinds::Rules;
use meta::{Object, ObjectError};
use store::Key;
use tokio::sync::watch;

use super::history::{Change, History};
use super::map::Map;

/// The first byte of a stored value: what follows is JSON.
pub(crate) const FORMAT_JSON: u8 = 1;

/// The bytes the store keeps of a document.
pub(crate) fn encode(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = vec![FORMAT_JSON];
    bytes.extend_from_slice(&meta::encode_object(value));
    bytes
}

/// The cache of one stored resource.
pub(crate) struct Storage {
    /// For example `/registry/core/pods/`.
    pub(crate) prefix: String,
    rules: &'static dyn Rules,
    state: RwLock<State>,
    changed: watch::Sender<u64>,
}

struct State {
    map: Map,
    history: History,
    /// The newest revision that changed something here.
    revision: u64,
}

impl Storage {
    /// An empty cache.
    pub(crate) fn new(prefix: String, rules: &'static dyn Rules) -> Self {
        let state = State { map: Map::default(), history: History::new(0), revision: 0 };
        Self { prefix, rules, state: RwLock::new(state), changed: watch::Sender::new(0) }
    }

    /// The key of an object.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> Key {
        let slash = if namespace.is_empty() { "" } else { "/" };
        [self.prefix.as_str(), namespace, slash, name].concat().into()
    }

    /// An object as the store holds it.
    pub(crate) fn decode(&self, bytes: &[u8], revision: u64) -> Result<Object, ObjectError> {
        let json = bytes.strip_prefix(&[FORMAT_JSON]).ok_or(ObjectError::NoMetadata)?;
        Ok(self.indexed(Object::stored(json, revision)?))
    }

    /// The object with what field selectors ask of it.
    pub(crate) fn indexed(&self, object: Object) -> Object {
        if self.rules.selectable().is_empty() {
            return object;
        }
        let fields = self.rules.fields(&object.value());
        object.with_fields(fields)
    }

    /// Begins anew with what the store holds at `revision`. Watches from before must begin anew too.
    pub(crate) fn load(&self, objects: impl IntoIterator<Item = (Key, Arc<Object>)>, revision: u64) {
        let mut map = Map::default();
        for (key, object) in objects {
            map.insert(key, object);
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) =
            State { map, history: History::new(revision), revision };
        self.changed.send_replace(revision);
    }

    /// Takes in an object that was put.
    pub(crate) fn put(&self, key: Key, object: Arc<Object>, now: Instant) {
        let revision = object.revision;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let before = state.map.insert(key.clone(), object.clone());
        state.record(Change { revision, key, before, now: object, deleted: false }, now);
        drop(state);
        self.changed.send_replace(revision);
    }

    /// Takes in a deletion.
    pub(crate) fn delete(&self, key: Key, revision: u64, now: Instant) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = state.map.remove(&key) else { return };
        let last = Arc::new(at_revision(&before, revision));
        state.record(Change { revision, key, before: Some(before), now: last, deleted: true }, now);
        drop(state);
        self.changed.send_replace(revision);
    }

    /// The object at `key`.
    pub(crate) fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.read().map.get(key).cloned()
    }

    /// Everything as it is now, and the newest revision that changed it.
    pub(crate) fn newest(&self) -> (Map, u64) {
        let state = self.read();
        (state.map.clone(), state.revision)
    }

    /// Everything as it was at `revision`; `None` when that is forgotten.
    pub(crate) fn at(&self, revision: u64) -> Option<Map> {
        let state = self.read();
        state.history.rewind(state.map.clone(), revision)
    }

    /// The changes after `revision`; else the oldest revision that would do.
    pub(crate) fn after(&self, revision: u64, limit: usize) -> Result<Vec<Arc<Change>>, u64> {
        let state = self.read();
        state.history.after(revision, limit).ok_or_else(|| state.history.since())
    }

    /// Shows the newest revision that changed something, and ends with the storage.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn record(&mut self, change: Change, now: Instant) {
        self.revision = change.revision;
        self.history.push(Arc::new(change), now);
    }
}

/// The same object with another revision: the last state of what is gone, or no longer matches.
pub(crate) fn at_revision(object: &Object, revision: u64) -> Object {
    const START: &[u8] = b"\"metadata\":{\"resourceVersion\":\"";
    let json = object.json();
    let splice = || {
        let from = json.windows(START.len()).position(|window| window == START)? + START.len();
        let to = from + json[from..].iter().position(|byte| *byte == b'"')?;
        let mut whole = Vec::with_capacity(json.len() + 8);
        whole.extend_from_slice(&json[..from]);
        whole.extend_from_slice(revision.to_string().as_bytes());
        whole.extend_from_slice(&json[to..]);
        Some(whole)
    };
    let whole = splice().expect("objects of the cache come from the store, which puts the revision first");
    Object::from_json(whole.into())
        .expect("only the revision differs from an object that could be read")
        .with_fields(object.fields().to_vec())
}
