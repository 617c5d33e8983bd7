//! A collection as it changes, held once for everyone in the process who looks at it.
//!
//! In process the objects are the very ones of the server's cache: holding them costs a pointer each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, RwLock, Weak};
use std::time::Duration;

use futures::StreamExt;
use meta::{ApiError, FieldSelector, Gvr, LabelSelector, ListOptions, Object, ResourcePath, WatchKind, WatchOptions};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::Client;

/// How long to wait after a failure before the collection is read anew.
const AGAIN: Duration = Duration::from_secs(1);

/// How long [`Informer::catch_up`] waits at most.
const CATCH_UP: Duration = Duration::from_secs(1);

/// The words that an object is to be found by. Two different objects may share one.
pub type Words = fn(&Object) -> Vec<String>;

/// The objects by key, which of them an owner has, and which of them have a word.
#[derive(Debug)]
struct Objects {
    by_key: BTreeMap<String, Arc<Object>>,
    owned: HashMap<String, BTreeSet<String>>,
    words: Words,
    /// Together with the words of each key: those must not be made again to be forgotten.
    by_word: (HashMap<String, BTreeSet<String>>, HashMap<String, Vec<String>>),
}

impl Objects {
    fn new(words: Words) -> Self {
        Self { by_key: BTreeMap::new(), owned: HashMap::new(), words, by_word: Default::default() }
    }

    fn insert(&mut self, object: Arc<Object>) {
        let key = object.metadata.key();
        self.remove(&key);
        for owner in &object.metadata.owner_references {
            self.owned.entry(owner.uid.clone()).or_default().insert(key.clone());
        }
        let words = (self.words)(&object);
        if !words.is_empty() {
            for word in &words {
                self.by_word.0.entry(word.clone()).or_default().insert(key.clone());
            }
            self.by_word.1.insert(key.clone(), words);
        }
        self.by_key.insert(key, object);
    }

    fn remove(&mut self, key: &str) {
        let Some(object) = self.by_key.remove(key) else { return };
        for owner in &object.metadata.owner_references {
            forget(&mut self.owned, &owner.uid, key);
        }
        for word in self.by_word.1.remove(key).into_iter().flatten() {
            forget(&mut self.by_word.0, &word, key);
        }
    }
}

/// Takes a key out of a set, and the set away with its last key.
fn forget(sets: &mut HashMap<String, BTreeSet<String>>, name: &str, key: &str) {
    let Some(keys) = sets.get_mut(name) else { return };
    keys.remove(key);
    if keys.is_empty() {
        sets.remove(name);
    }
}

/// Holds a collection. The task that follows it ends with the last clone.
#[derive(Clone, Debug)]
pub struct Informer {
    shared: Arc<Shared>,
    _task: Arc<Task>,
}

#[derive(Debug)]
struct Shared {
    gvr: Gvr,
    objects: RwLock<Objects>,
    /// The revision that the collection has reached; 0 before the first read.
    revision: watch::Sender<u64>,
    subscribers: Mutex<Vec<Weak<Mailbox>>>,
    /// Cancelled when nothing is followed any more.
    ended: CancellationToken,
}

/// What a subscriber has not taken yet: of each object that came, changed or went, the last state.
#[derive(Debug, Default)]
struct Mailbox {
    waiting: Mutex<Waiting>,
    filled: Notify,
}

/// In the order of their first change. An object that comes under the name of one that went is another one.
#[derive(Debug, Default)]
struct Waiting {
    objects: Vec<Arc<Object>>,
    places: HashMap<String, usize>,
}

impl Mailbox {
    fn put(&self, object: &Arc<Object>) {
        let mut waiting = self.waiting.lock().expect("no holder of this lock can panic");
        match waiting.places.get(&object.metadata.uid).copied() {
            Some(place) => waiting.objects[place] = Arc::clone(object),
            None => {
                let place = waiting.objects.len();
                waiting.places.insert(object.metadata.uid.clone(), place);
                waiting.objects.push(Arc::clone(object));
            }
        }
        self.filled.notify_one();
    }

    fn take(&self) -> Vec<Arc<Object>> {
        std::mem::take(&mut *self.waiting.lock().expect("no holder of this lock can panic")).objects
    }
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A subscription to an informer's changes.
#[derive(Debug)]
pub struct Index {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    pending: std::vec::IntoIter<Arc<Object>>,
}

impl Informer {
    /// Begins to follow a collection across all namespaces.
    pub fn new(client: Client, gvr: Gvr) -> Self {
        Self::indexed(client, gvr, |_| Vec::new())
    }

    /// The same, with words by which [`Informer::with_word`] finds objects without looking at all of them.
    pub fn indexed(client: Client, gvr: Gvr, words: Words) -> Self {
        Self::follow(client, gvr, (LabelSelector::default(), FieldSelector::default()), words)
    }

    /// Begins to follow the part of a collection that selectors choose.
    pub fn selected(client: Client, gvr: Gvr, labels: LabelSelector, fields: FieldSelector) -> Self {
        Self::follow(client, gvr, (labels, fields), |_| Vec::new())
    }

    fn follow(client: Client, gvr: Gvr, (labels, fields): (LabelSelector, FieldSelector), words: Words) -> Self {
        let shared = Arc::new(Shared {
            gvr,
            objects: RwLock::new(Objects::new(words)),
            revision: watch::Sender::new(0),
            subscribers: Mutex::default(),
            ended: CancellationToken::new(),
        });
        let follower = Follower { client, labels, fields, shared: Arc::clone(&shared) };
        Self { shared, _task: Arc::new(Task(tokio::spawn(follower.run()))) }
    }

    /// Returns once the collection was read.
    pub async fn wait_synced(&self) {
        self.wait_for(1).await;
    }

    /// Returns once the collection has reached a revision, or never will.
    pub async fn wait_for(&self, revision: u64) {
        let mut reached = self.shared.revision.subscribe();
        tokio::select! {
            // The sender lives as long as this informer.
            _ = reached.wait_for(|reached| *reached >= revision) => {}
            () = self.shared.ended.cancelled() => {}
        }
    }

    /// Ends it for everyone who holds it: the resource isn't served any more.
    pub fn end(&self) {
        self.shared.ended.cancel();
    }

    /// The revision that the collection has reached; 0 before it was read.
    pub fn revision(&self) -> u64 {
        *self.shared.revision.borrow()
    }

    /// What is followed.
    pub fn gvr(&self) -> &Gvr {
        &self.shared.gvr
    }

    /// One object, by `namespace/name` or, cluster-scoped, by name.
    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.shared.read().by_key.get(key).cloned()
    }

    /// Every object, by key.
    pub fn list(&self) -> Vec<Arc<Object>> {
        self.shared.read().by_key.values().cloned().collect()
    }

    /// Every object of a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<Object>> {
        self.find(namespace, |_| true)
    }

    /// The objects of a namespace that fit.
    pub fn find(&self, namespace: &str, fits: impl Fn(&Object) -> bool) -> Vec<Arc<Object>> {
        let begin = format!("{namespace}/");
        let objects = self.shared.read();
        objects
            .by_key
            .range(begin.clone()..)
            .take_while(|(key, _)| key.starts_with(&begin))
            .filter(|(_, object)| fits(object))
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// The objects that have a word.
    pub fn with_word(&self, word: &str) -> Vec<Arc<Object>> {
        let objects = self.shared.read();
        let keys = objects.by_word.0.get(word).into_iter().flatten();
        keys.filter_map(|key| objects.by_key.get(key)).cloned().collect()
    }

    /// Whether there is an object in a namespace.
    pub fn has_any_in(&self, namespace: &str) -> bool {
        let begin = format!("{namespace}/");
        let objects = self.shared.read();
        objects.by_key.range(begin.clone()..).next().is_some_and(|(key, _)| key.starts_with(&begin))
    }

    /// The objects that name an owner.
    pub fn owned_by(&self, uid: &str) -> Vec<Arc<Object>> {
        let objects = self.shared.read();
        let keys = objects.owned.get(uid).into_iter().flatten();
        keys.filter_map(|key| objects.by_key.get(key)).cloned().collect()
    }

    /// The objects that an owner controls.
    pub fn controlled_by(&self, uid: &str) -> Vec<Arc<Object>> {
        let controlled = |object: &Arc<Object>| object.metadata.controller().is_some_and(|owner| owner.uid == uid);
        self.owned_by(uid).into_iter().filter(controlled).collect()
    }

    /// Waits until the collection shows an own write to it, for a second at most: who wrote then never acts on a state that
    /// lacks what it just did.
    pub async fn catch_up(&self, revision: u64) {
        if tokio::time::timeout(CATCH_UP, self.wait_for(revision)).await.is_err() {
            tracing::debug!(resource = %self.gvr().qualified(), revision, "a collection lags behind an own write");
        }
    }

    /// Everything that is there, then what changes: of each object the newest state that was not taken yet.
    pub fn subscribe(&self) -> Index {
        let mailbox = Arc::<Mailbox>::default();
        let mut subscribers = self.shared.subscribers.lock().expect("no holder of this lock can panic");
        subscribers.retain(|subscriber| subscriber.strong_count() > 0);
        subscribers.push(Arc::downgrade(&mailbox));
        drop(subscribers);
        Index { shared: Arc::clone(&self.shared), mailbox, pending: self.list().into_iter() }
    }
}

impl Index {
    /// The next object that came, changed or went: of one that went, the last state. However slow a subscriber is, it
    /// misses no object, only states between. `None` when the informer ended.
    pub async fn next(&mut self) -> Option<Arc<Object>> {
        loop {
            if let Some(object) = self.pending.next() {
                return Some(object);
            }
            self.pending = self.mailbox.take().into_iter();
            if self.pending.len() == 0 {
                tokio::select! {
                    () = self.mailbox.filled.notified() => {}
                    () = self.shared.ended.cancelled() => return None,
                }
            }
        }
    }
}

impl Shared {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Objects> {
        self.objects.read().expect("no holder of this lock can panic")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Objects> {
        self.objects.write().expect("no holder of this lock can panic")
    }

    fn tell(&self, object: &Arc<Object>) {
        let subscribers = self.subscribers.lock().expect("no holder of this lock can panic");
        subscribers.iter().filter_map(Weak::upgrade).for_each(|mailbox| mailbox.put(object));
    }

    fn reach(&self, revision: u64) {
        self.revision.send_if_modified(|reached| std::mem::replace(reached, revision.max(*reached)) < revision);
    }

    fn apply(&self, kind: WatchKind, object: Arc<Object>) {
        let revision = object.revision;
        match kind {
            WatchKind::Added | WatchKind::Modified => self.write().insert(Arc::clone(&object)),
            WatchKind::Deleted => self.write().remove(&object.metadata.key()),
            WatchKind::Bookmark => return self.reach(revision),
        }
        self.tell(&object);
        self.reach(revision);
    }

    /// Takes a fresh list over: what is not in it went while nobody looked.
    fn replace(&self, items: Vec<Arc<Object>>, revision: u64) {
        let mut fresh = Objects::new(self.read().words);
        items.iter().for_each(|object| fresh.insert(Arc::clone(object)));
        let old = std::mem::replace(&mut *self.write(), fresh);
        let kept: BTreeSet<&str> = items.iter().map(|object| object.metadata.uid.as_str()).collect();
        let gone = old.by_key.values().filter(|object| !kept.contains(object.metadata.uid.as_str()));
        let unchanged = |object: &&Arc<Object>| {
            old.by_key.get(&object.metadata.key()).is_some_and(|old| old.revision == object.revision)
        };
        let changed = items.iter().filter(|object| !unchanged(object));
        gone.chain(changed).for_each(|object| self.tell(object));
        self.reach(revision.max(1));
    }
}

struct Follower {
    client: Client,
    labels: LabelSelector,
    fields: FieldSelector,
    shared: Arc<Shared>,
}

impl Follower {
    async fn run(self) {
        let ended = self.shared.ended.clone();
        ended.run_until_cancelled(self.follow_always()).await;
    }

    async fn follow_always(self) {
        loop {
            if let Err(error) = self.follow().await {
                let expired = error.reason == meta::Reason::Expired || error.reason == meta::Reason::Gone;
                if !expired {
                    tracing::warn!(resource = %self.shared.gvr.qualified(), %error, "following a collection failed; it is read anew");
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Reads the collection and follows it until the watch fails.
    async fn follow(&self) -> Result<(), ApiError> {
        let options =
            ListOptions { labels: self.labels.clone(), fields: self.fields.clone(), ..ListOptions::default() };
        let list = self.client.list(&self.shared.gvr, "", options).await?;
        let mut revision = list.revision;
        self.shared.replace(list.items, revision);
        let path = ResourcePath::collection(self.shared.gvr.clone(), "");
        loop {
            let options = WatchOptions {
                labels: self.labels.clone(),
                fields: self.fields.clone(),
                resource_version: revision.to_string(),
                bookmarks: true,
                ..WatchOptions::default()
            };
            let mut events = self.client.watch(&path, options).await?;
            while let Some(event) = events.next().await {
                let event = event?;
                revision = event.object.revision;
                self.shared.apply(event.kind, event.object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures::FutureExt;
    use meta::{Call, Reply};

    use super::*;
    use crate::api::{Transport, WatchStream};

    /// Serves nothing.
    struct Nothing;

    #[async_trait]
    impl Transport for Nothing {
        async fn call(&self, _: &ResourcePath, _: Call) -> Result<Reply, ApiError> {
            Err(ApiError::no_such_resource())
        }

        async fn watch(&self, _: &ResourcePath, _: WatchOptions) -> Result<WatchStream, ApiError> {
            Err(ApiError::no_such_resource())
        }
    }

    fn object(name: &str, uid: &str, revision: u64) -> Arc<Object> {
        let value = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "n", "uid": uid, "resourceVersion": revision.to_string()},
        });
        Arc::new(Object::from_value(&value).expect("an object"))
    }

    #[tokio::test]
    async fn a_slow_subscriber_gets_the_newest_state_of_each_object() {
        let informer = Informer::new(Client::new(Nothing), Gvr::new("", "v1", "configmaps"));
        let mut changes = informer.subscribe();
        for (kind, object) in [
            (WatchKind::Added, object("a", "1", 1)),
            (WatchKind::Added, object("b", "2", 2)),
            (WatchKind::Modified, object("a", "1", 3)),
            (WatchKind::Deleted, object("a", "1", 4)),
            (WatchKind::Added, object("a", "3", 5)),
        ] {
            informer.shared.apply(kind, object);
        }
        let mut told = Vec::new();
        while let Some(Some(object)) = changes.next().now_or_never() {
            told.push((object.metadata.uid.clone(), object.revision));
        }
        assert_eq!(told, [("1".to_owned(), 4), ("2".to_owned(), 2), ("3".to_owned(), 5)]);
    }

    #[tokio::test]
    async fn a_fresh_list_tells_what_went_and_what_took_its_name() {
        let informer = Informer::new(Client::new(Nothing), Gvr::new("", "v1", "configmaps"));
        informer.shared.replace(vec![object("a", "1", 1), object("b", "2", 2)], 2);
        let mut changes = informer.subscribe();
        informer.shared.replace(vec![object("a", "3", 3), object("b", "2", 2)], 4);
        let mut told = Vec::new();
        while let Some(Some(object)) = changes.next().now_or_never() {
            told.push(object.metadata.uid.clone());
        }
        assert_eq!(told, ["1", "2", "1", "3"], "what was there, then what changed");
    }

    #[tokio::test]
    async fn an_ended_informer_keeps_nobody_waiting() {
        let informer = Informer::new(Client::new(Nothing), Gvr::new("example.com", "v1", "things"));
        let mut changes = informer.subscribe();
        informer.end();
        assert!(changes.next().await.is_none());
        informer.wait_synced().await;
    }
}
