//! Controllers: a key at a time, level-triggered.
//!
//! The rules that every controller keeps: it takes a key, never an event; twice changes nothing; a restart is the normal
//! path. The [`Driver`] does not hand out a key before the informers have seen the controller's own last write for it, so a
//! controller never acts on a state that lacks what it just did.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use meta::{ApiError, Object};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::informer::Informer;
use crate::queue::Queue;

/// What became of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Look again after this long, whatever happens meanwhile.
    pub again_after: Option<Duration>,
    /// The newest revision that the controller wrote; 0 for none.
    pub wrote: u64,
}

/// Why a key must be tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The API refused.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// An object can't be understood.
    #[error(transparent)]
    Object(#[from] meta::ObjectError),
    /// Something else went wrong.
    #[error("{0}")]
    Other(String),
}

/// From an object that changed to the keys that want work.
pub type Mapping = fn(&Object) -> Vec<String>;

/// A collection that a controller looks at.
#[derive(Clone)]
pub struct Source {
    /// The collection.
    pub informer: Informer,
    /// Which keys a change there concerns.
    pub keys: Mapping,
}

/// Brings one key's part of the cluster to where it should be.
#[async_trait]
pub trait Controller: Send + Sync + 'static {
    /// For logs.
    fn name(&self) -> &'static str;

    /// What it looks at.
    fn sources(&self) -> Vec<Source>;

    /// Which keys a change concerns. Asks the source, unless the controller must know more than the object says.
    fn keys(&self, source: &Source, object: &Object) -> Vec<String> {
        (source.keys)(object)
    }

    /// Returns when there are more collections to look at, with these.
    async fn more_sources(&self) -> Vec<Source> {
        std::future::pending().await
    }

    /// Does what is to be done for a key.
    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError>;
}

/// Runs one controller.
pub struct Driver {
    controller: Arc<dyn Controller>,
    clock: Arc<dyn meta::Clock>,
    queue: Queue,
    wrote: Mutex<HashMap<String, u64>>,
    sources: Vec<Source>,
}

impl Driver {
    /// Prepares to run a controller.
    pub fn new(controller: Arc<dyn Controller>, clock: Arc<dyn meta::Clock>) -> Self {
        let sources = controller.sources();
        Self { controller, clock, queue: Queue::default(), wrote: Mutex::default(), sources }
    }

    /// Works with this many workers until `stop`.
    pub async fn run(self, workers: usize, stop: CancellationToken) {
        let driver = Arc::new(self);
        let synced = async {
            for source in &driver.sources {
                source.informer.wait_synced().await;
            }
        };
        tokio::select! {
            () = synced => {}
            () = stop.cancelled() => return,
        }
        let mut tasks = JoinSet::new();
        for source in driver.sources.clone() {
            tasks.spawn(Arc::clone(&driver).feed(source));
        }
        for _ in 0..workers {
            tasks.spawn(Arc::clone(&driver).work());
        }
        loop {
            tokio::select! {
                more = driver.controller.more_sources() => for source in more {
                    tasks.spawn(Arc::clone(&driver).feed(source));
                },
                () = stop.cancelled() => break,
            }
        }
        tasks.shutdown().await;
    }

    async fn feed(self: Arc<Self>, source: Source) {
        let mut changes = source.informer.subscribe();
        while let Some(object) = changes.next().await {
            self.controller.keys(&source, &object).into_iter().for_each(|key| self.queue.add(key));
        }
    }

    async fn work(self: Arc<Self>) {
        loop {
            let key = self.queue.next(&*self.clock).await;
            self.wait_for_own_write(&key).await;
            self.reconcile(&key).await;
            self.queue.done(&key);
        }
    }

    /// A collection that has nothing new need not reach the revision by itself: bookmarks carry it there. So all wait at
    /// once; who writes to one collection only waits with [`Informer::catch_up`] instead.
    async fn wait_for_own_write(&self, key: &str) {
        let wrote = self.wrote.lock().expect("no holder of this lock can panic").remove(key);
        let Some(revision) = wrote else { return };
        futures::future::join_all(self.sources.iter().map(|source| source.informer.catch_up(revision))).await;
    }

    async fn reconcile(&self, key: &str) {
        let name = self.controller.name();
        match AssertUnwindSafe(self.controller.reconcile(key)).catch_unwind().await {
            Ok(Ok(outcome)) => {
                self.queue.succeeded(key);
                if outcome.wrote > 0 {
                    self.wrote.lock().expect("no holder of this lock can panic").insert(key.to_owned(), outcome.wrote);
                }
                if let Some(wait) = outcome.again_after {
                    self.queue.add_after(key.to_owned(), wait, self.clock.instant());
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(controller = name, key, %error, "reconciling failed; tried again later");
                self.queue.add_failed(key.to_owned(), self.clock.instant());
            }
            Err(_) => {
                tracing::error!(controller = name, key, "reconciling panicked; tried again later");
                self.queue.add_failed(key.to_owned(), self.clock.instant());
            }
        }
    }
}
