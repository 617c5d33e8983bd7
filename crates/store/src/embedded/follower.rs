//! One watcher: a cursor that reads the ring while it keeps up and the file while it does not.

use std::collections::VecDeque;
use std::sync::Arc;

use futures::stream;
use tokio::sync::watch;

use super::Shared;
use super::table::History;
use crate::recent::{After, Progress};
use crate::{Batch, Revision, Watch, WatchError};

/// So many batches are taken from the ring at once.
const TAKE: usize = 64;

pub(super) struct Follower {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    /// Everything up to here is given or in `ready`.
    cursor: Revision,
    ready: VecDeque<Arc<Batch>>,
}

impl Follower {
    pub(super) fn watch(shared: Arc<Shared>, from: Revision) -> Watch {
        let progress = shared.recent.follow();
        let follower = Self { shared, progress, cursor: from, ready: VecDeque::new() };
        Watch::new(stream::unfold(Some(follower), |follower| async move {
            let mut follower = follower?;
            let item = follower.next().await;
            let rest = item.is_ok().then_some(follower);
            Some((item, rest))
        }))
    }

    async fn next(&mut self) -> Result<Batch, WatchError> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Batch::clone(&batch));
            }
            let closed = self.progress.borrow_and_update().closed;
            match self.shared.recent.after(self.cursor, TAKE) {
                After::Older(floor) => self.read_history(floor).await?,
                After::Batches(batches) if !batches.is_empty() => self.advance(batches),
                After::Batches(_) if closed => return Err(WatchError::Closed),
                After::Batches(_) => self.progress.changed().await.map_err(|_| WatchError::Closed)?,
            }
        }
    }

    /// The next page between the cursor and where the ring begins.
    async fn read_history(&mut self, floor: Revision) -> Result<(), WatchError> {
        let from = self.cursor;
        let page = self.shared.read(move |reader| reader.history(from, floor)).await;
        match page.map_err(WatchError::Backend)? {
            History::Compacted(revision) => Err(WatchError::Compacted(revision)),
            History::Batches(batches) if batches.is_empty() => {
                self.cursor = floor;
                Ok(())
            }
            History::Batches(batches) => {
                self.advance(batches.into_iter().map(Arc::new).collect());
                Ok(())
            }
        }
    }

    fn advance(&mut self, batches: Vec<Arc<Batch>>) {
        if let Some(last) = batches.last() {
            self.cursor = last.revision;
        }
        self.ready.extend(batches);
    }
}
