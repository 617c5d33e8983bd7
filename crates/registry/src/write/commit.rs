//! Putting one object into the store, and seeing it in the cache.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meta::{ApiError, Object, Reason};
use serde_json::Value;
use store::{Commit, CommitError, Durability, Expect, Key, Op, Revision};

use super::claims::Claims;
use super::{Failure, Writer};
use crate::cache::encode;

/// Upstream's default for events.
const EVENT_TTL: Duration = Duration::from_secs(3600);

/// The size that etcd takes by default.
const MAX_OBJECT: usize = 1_572_864;

impl Writer<'_> {
    /// Stores a document at `key` if `expect` holds, and answers the object it became.
    pub(super) async fn put(&self, key: Key, value: &Value, expect: Expect) -> Result<Arc<Object>, Failure> {
        self.put_with(key, value, expect, &Claims::default()).await
    }

    /// The same together with what the object takes and gives back.
    pub(super) async fn put_with(
        &self,
        key: Key,
        value: &Value,
        expect: Expect,
        claims: &Claims,
    ) -> Result<Arc<Object>, Failure> {
        let bytes = encode(&self.registry.stored(self.row, value).await?);
        if bytes.len() > MAX_OBJECT {
            let text = "Request entity too large: etcdserver: request is too large";
            return Err(ApiError::new(Reason::RequestEntityTooLarge, text).into());
        }
        let bytes = Bytes::from(bytes);
        let ttl = (self.row.storage == ("", "events")).then_some(EVENT_TTL);
        let mut commit = Commit {
            expects: vec![(key.clone(), expect)],
            ops: vec![Op::Put { key: key.clone(), value: bytes.clone(), ttl }],
            durability: self.durability(expect),
        };
        claims.extend(&mut commit);
        let revision = self.commit(commit, claims).await?;
        if let Some(object) = self.storage.get(&key).filter(|object| object.revision == revision.0) {
            return Ok(object);
        }
        // Somebody was faster to change it again; the caller still sees what it wrote.
        let object = self.storage.decode(&bytes, revision.0).map_err(ApiError::internal)?;
        Ok(Arc::new(object))
    }

    /// Removes `object` from `key` if it is still at `revision`, and answers the revision of that.
    pub(super) async fn remove(&self, key: Key, object: &Value, revision: u64) -> Result<Revision, Failure> {
        let claims = self.released(object);
        let mut commit = Commit::delete(key, Some(Expect::Revision(Revision(revision))));
        claims.extend(&mut commit);
        self.commit(commit, &claims).await
    }

    /// Commits and waits until the cache has passed it.
    async fn commit(&self, commit: Commit, claims: &Claims) -> Result<Revision, Failure> {
        let store = &self.registry.store;
        match store.commit(commit).await {
            Ok(revision) => {
                self.registry.passed(revision.0).await;
                Ok(revision)
            }
            Err(CommitError::Conflict { key, .. }) => {
                // What stood in the way is to be seen by the next attempt.
                self.registry.passed(store.revision().0).await;
                Err(self.taken(claims, &key).unwrap_or(Failure::Stale))
            }
            Err(error @ CommitError::Full(_)) => Err(ApiError::internal(error).into()),
            Err(CommitError::Closed) => {
                Err(ApiError::new(Reason::ServiceUnavailable, "the server is shutting down").into())
            }
            Err(error @ (CommitError::TooLarge | CommitError::Twice { .. } | CommitError::Backend(_))) => {
                tracing::error!(%error, resource = self.row.plural, name = self.name, "a commit failed");
                Err(ApiError::internal("the object could not be stored").into())
            }
        }
    }

    /// Nodes renew their leases all the time: losing one to a power cut costs nothing.
    fn durability(&self, expect: Expect) -> Durability {
        let renewal = self.row.plural == "leases"
            && self.namespace == "kube-node-lease"
            && matches!(expect, Expect::Revision(_))
            && self.user.in_group("system:nodes");
        if renewal { Durability::Relaxed } else { Durability::Durable }
    }
}
