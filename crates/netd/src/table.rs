//! A table in the kernel that follows a ruleset.

use std::sync::Arc;
use std::time::Duration;

use net::Namespace;
use net::nft::{Rules, RulesError, Transaction};

use crate::ruleset::{Fragment, Ruleset};

/// After a failure everything is made anew, but not in a hurry.
const AGAIN: Duration = Duration::from_secs(1);

pub(crate) struct Table {
    rules: Arc<Rules>,
    ruleset: Ruleset,
    /// Whether the kernel has what the ruleset says.
    in_step: bool,
}

impl Table {
    /// Opens the kernel's door. What is there stays until the first [`Table::take`].
    pub(crate) async fn open(namespace: &Namespace, ruleset: Ruleset) -> Result<Self, RulesError> {
        Ok(Self { rules: Arc::new(Rules::of(namespace).await?), ruleset, in_step: false })
    }

    /// Takes new fragments over, and carries them to the kernel. Whether it has them now.
    pub(crate) async fn take(&mut self, fragments: Vec<(String, Fragment)>) -> bool {
        let update = self.ruleset.update(fragments);
        let change = if self.in_step { update } else { Some(self.ruleset.rebuild()) };
        if let Some(change) = change {
            self.in_step = self.commit(change).await;
        }
        self.in_step
    }

    /// Takes over all fragments that there are from now on.
    pub(crate) async fn replace(&mut self, mut fragments: Vec<(String, Fragment)>) -> bool {
        let wanted: std::collections::BTreeSet<&String> = fragments.iter().map(|(owner, _)| owner).collect();
        let gone = self.ruleset.owners().filter(|owner| !wanted.contains(owner)).cloned();
        let gone: Vec<_> = gone.map(|owner| (owner, Fragment::default())).collect();
        fragments.extend(gone);
        self.take(fragments).await
    }

    /// Returns when it is time to try again; never if the kernel has everything.
    pub(crate) async fn again(&self) {
        if self.in_step {
            std::future::pending().await
        }
        tokio::time::sleep(AGAIN).await;
    }

    async fn commit(&self, change: Transaction) -> bool {
        let rules = Arc::clone(&self.rules);
        let changes = change.changes();
        let done = tokio::task::spawn_blocking(move || rules.commit(&change)).await;
        match done {
            Ok(Ok(())) => {
                tracing::debug!(changes, "packet rules changed");
                true
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "change packet rules; all are made anew");
                false
            }
            Err(error) => {
                tracing::error!(%error, "changing packet rules panicked");
                false
            }
        }
    }
}

/// Removes a table, if it is there.
pub(crate) async fn remove(namespace: &Namespace, table: &str) -> Result<(), RulesError> {
    let mut change = Transaction::new(table);
    change.add_table();
    change.remove_table();
    Rules::of(namespace).await?.commit(&change)
}
