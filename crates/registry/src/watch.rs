//! Watches: each reads the resource's history at its own pace.
//!
//! A watch has no queue that others fill: it remembers a revision, reads what came after, and waits for more. One that is
//! too slow finds its place forgotten and ends with 410; it never holds anyone up.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::stream::{self, BoxStream, StreamExt};
use meta::{ApiError, Gvk, Object, WatchEvent, WatchKind, WatchOptions};
use serde_json::json;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use crate::cache::{Cache, ObjectChange, Storage, at_revision};
use crate::list::{newest, parse_revision, wait_for};
use crate::selection::Selection;

/// How many changes are read at once.
const BATCH: usize = 128;

/// How often watches that like bookmarks get one. All of them at the same instants, so that an idle process wakes once.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);

/// The events of a watch. An error is its last item; without one it ends only with the registry.
pub struct WatchStream(BoxStream<'static, Result<WatchEvent, ApiError>>);

impl WatchStream {
    /// A watch of these events.
    pub(crate) fn new(events: impl Stream<Item = Result<WatchEvent, ApiError>> + Send + 'static) -> Self {
        Self(events.boxed())
    }
}

impl Stream for WatchStream {
    type Item = Result<WatchEvent, ApiError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WatchStream")
    }
}

/// What a watch works with.
pub(crate) struct WatchParts {
    /// All caches.
    pub(crate) cache: Arc<Cache>,
    /// The resource's cache.
    pub(crate) storage: Arc<Storage>,
    /// Which objects.
    pub(crate) selection: Selection,
    /// The type that bookmarks carry.
    pub(crate) kind: Gvk,
    /// Turns true when all watches shall end.
    pub(crate) stopped: Receiver<bool>,
    /// The instant that bookmarks are counted from.
    pub(crate) epoch: Instant,
}

impl WatchParts {
    /// The objects that a watch with these options doesn't begin with, though they were there.
    pub(crate) fn before(&self, options: &WatchOptions) -> Vec<Arc<Object>> {
        let asked = parse_revision(&options.resource_version).ok().flatten().filter(|revision| *revision > 0);
        let map = match (options.send_initial_events, asked) {
            (Some(true), _) | (None, None) => return Vec::new(),
            (Some(false) | None, Some(revision)) => self.storage.at(revision),
            (Some(false), None) => Some(newest(&self.cache, &self.storage).0),
        };
        let objects = map.iter().flat_map(|map| map.beneath(&self.selection.prefix));
        objects.filter(|(key, object)| self.selection.matches(key, object)).map(|(_, object)| object.clone()).collect()
    }
}

/// Begins a watch.
pub(crate) fn watch(parts: WatchParts, options: &WatchOptions) -> Result<WatchStream, ApiError> {
    let asked = parse_revision(&options.resource_version)?;
    let changed = parts.storage.changes();
    let mut watcher = Watcher {
        position: asked.unwrap_or(0),
        initial: None,
        queue: VecDeque::new(),
        changed,
        bookmarks: options.bookmarks,
        bookmark_due: false,
        announce_end: options.send_initial_events == Some(true),
        ended: false,
        parts,
    };
    match (options.send_initial_events, asked) {
        (Some(true), revision) | (None, revision @ (None | Some(0))) => watcher.initial = Some(revision.unwrap_or(0)),
        (Some(false), None | Some(0)) => watcher.position = newest(&watcher.parts.cache, &watcher.parts.storage).1,
        (Some(false) | None, Some(_)) => {}
    }
    if watcher.initial.is_some_and(|revision| revision <= watcher.parts.cache.revision()) {
        watcher.begin();
    }
    let events =
        stream::unfold(watcher, |mut watcher| async move { watcher.next().await.map(|event| (event, watcher)) });
    Ok(WatchStream(events.boxed()))
}

struct Watcher {
    parts: WatchParts,
    /// Everything up to here was delivered or is queued.
    position: u64,
    /// Set until what is there was queued: at which revision at least.
    initial: Option<u64>,
    queue: VecDeque<WatchEvent>,
    changed: Receiver<u64>,
    bookmarks: bool,
    bookmark_due: bool,
    announce_end: bool,
    ended: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<WatchEvent, ApiError>> {
        loop {
            if self.ended || *self.parts.stopped.borrow() {
                return None;
            }
            if let Some(event) = self.queue.pop_front() {
                return Some(Ok(event));
            }
            if let Some(revision) = self.initial {
                if let Err(error) = wait_for(&self.parts.cache, revision).await {
                    return self.fail(error);
                }
                self.begin();
                continue;
            }
            self.changed.borrow_and_update();
            // Before the history is read: all of the resource's changes up to here are then in it.
            let reached = self.parts.cache.revision();
            match self.parts.storage.after(self.position, BATCH) {
                Err(since) => {
                    let text = format!("too old resource version: {} ({since})", self.position);
                    return self.fail(ApiError::expired(text, None));
                }
                Ok(changes) if !changes.is_empty() => self.take(&changes),
                Ok(_) if self.bookmark_due => {
                    self.bookmark_due = false;
                    self.position = self.position.max(reached);
                    return Some(Ok(self.bookmark(false)));
                }
                Ok(_) => self.wait().await,
            }
        }
    }

    fn fail(&mut self, error: ApiError) -> Option<Result<WatchEvent, ApiError>> {
        self.ended = true;
        Some(Err(error))
    }

    /// Queues what is there now.
    fn begin(&mut self) {
        let (map, revision) = newest(&self.parts.cache, &self.parts.storage);
        let selection = &self.parts.selection;
        let here = map.beneath(&selection.prefix).filter(|(key, object)| selection.matches(key, object));
        let added = here.map(|(_, object)| WatchEvent { kind: WatchKind::Added, object: object.clone() });
        self.queue.extend(added);
        self.position = revision;
        self.initial = None;
        if self.announce_end && self.bookmarks {
            let end = self.bookmark(true);
            self.queue.push_back(end);
        }
    }

    fn take(&mut self, changes: &[Arc<ObjectChange>]) {
        let selection = &self.parts.selection;
        self.queue.extend(changes.iter().filter_map(|change| event(change, selection)));
        if let Some(last) = changes.last() {
            self.position = last.revision;
        }
    }

    async fn wait(&mut self) {
        let bookmark = async {
            if self.bookmarks {
                let since = self.parts.epoch.elapsed().as_secs() / BOOKMARK_PERIOD.as_secs();
                let next = BOOKMARK_PERIOD * u32::try_from(since + 1).unwrap_or(u32::MAX);
                tokio::time::sleep_until(self.parts.epoch + next).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = self.changed.changed() => {}
            _ = self.parts.stopped.wait_for(|stopped| *stopped) => {}
            () = bookmark => self.bookmark_due = true,
        }
    }

    fn bookmark(&self, initial_events_end: bool) -> WatchEvent {
        let mut metadata = json!({"resourceVersion": self.position.to_string()});
        if initial_events_end {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let kind = &self.parts.kind;
        let value = json!({"kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata});
        let object = Object::from_value(&value).expect("a bookmark's metadata has the types of metadata");
        WatchEvent { kind: WatchKind::Bookmark, object: Arc::new(object) }
    }
}

/// What a change is to whoever sees only a selection.
fn event(change: &ObjectChange, selection: &Selection) -> Option<WatchEvent> {
    let before = change.before.as_ref().filter(|before| selection.matches(&change.key, before));
    let now = Some(&change.now).filter(|now| !change.deleted && selection.matches(&change.key, now));
    Some(match (before, now) {
        (None, None) => return None,
        (None, Some(now)) => WatchEvent { kind: WatchKind::Added, object: now.clone() },
        (Some(_), Some(now)) => WatchEvent { kind: WatchKind::Modified, object: now.clone() },
        (Some(_), None) if change.deleted => WatchEvent { kind: WatchKind::Deleted, object: change.now.clone() },
        // It no longer matches: the watcher hears of the last state that did.
        (Some(before), None) => {
            WatchEvent { kind: WatchKind::Deleted, object: Arc::new(at_revision(before, change.revision)) }
        }
    })
}
