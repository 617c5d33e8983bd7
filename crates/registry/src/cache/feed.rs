//! The task that carries the store's changes into the cache.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use meta::Clock;
use store::{Revision, Store, StoreError, Watch, WatchError};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Cache, ROOT};

/// How often the store's history is cut, and how much of it stays.
const COMPACTION: Duration = Duration::from_secs(300);

/// The running feed.
pub(crate) struct Feed {
    task: Mutex<Option<JoinHandle<()>>>,
    stop: Arc<watch::Sender<bool>>,
}

impl Feed {
    /// Loads the cache and follows the store from there.
    pub(crate) async fn start(
        store: Arc<dyn Store>,
        cache: Arc<Cache>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let revision = load(&*store, &cache).await?;
        let stop = Arc::new(watch::Sender::new(false));
        let mut stopped = stop.subscribe();
        let ended = Ended(stop.clone());
        let task = tokio::spawn(async move {
            let _ended = ended;
            tokio::select! {
                () = follow(&*store, &cache, &*clock, revision) => {}
                () = compact(&*store, &cache) => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        });
        Ok(Self { task: Mutex::new(Some(task)), stop })
    }

    /// Shows whether the feed has ended or was told to: from then on the cache stands still.
    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Ends the feed, and with it all watches.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = match task {
            Some(task) => Some(task.await),
            None => None,
        } {
            tracing::error!(%error, "the feed of the cache had ended badly");
        }
    }
}

/// However the task ends, nobody waits for it any longer.
struct Ended(Arc<watch::Sender<bool>>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

/// Lets the store forget, every five minutes, what is older than five minutes: as upstream does.
async fn compact(store: &dyn Store, cache: &Cache) {
    let mut before = store.revision();
    loop {
        tokio::time::sleep(COMPACTION).await;
        match store.compact(before).await {
            Ok(()) => {
                cache.forget(before.0);
                before = store.revision();
            }
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "the store could not forget its old history"),
        }
    }
}

async fn load(store: &dyn Store, cache: &Cache) -> Result<Revision, StoreError> {
    let snapshot = store.range(ROOT).await?;
    cache.load(snapshot.entries, snapshot.revision.0);
    Ok(snapshot.revision)
}

async fn follow(store: &dyn Store, cache: &Cache, clock: &dyn Clock, mut from: Revision) {
    loop {
        let ended = match store.watch(from) {
            Ok(watch) => carry(watch, cache, clock).await,
            Err(error) => error,
        };
        if ended == WatchError::Closed {
            return;
        }
        // Whatever was missed is in the store: what watches from before can't be told, they begin anew.
        tracing::warn!(error = %ended, "the store's changes could not be followed; reading everything again");
        match load(store, cache).await {
            Ok(revision) => from = revision,
            Err(error) => {
                tracing::error!(%error, "the store can't be read; the cache stands still");
                return;
            }
        }
    }
}

async fn carry(mut watch: Watch, cache: &Cache, clock: &dyn Clock) -> WatchError {
    while let Some(batch) = watch.next().await {
        match batch {
            Ok(batch) => cache.apply(batch, clock.instant()),
            Err(error) => return error,
        }
    }
    WatchError::Closed
}
