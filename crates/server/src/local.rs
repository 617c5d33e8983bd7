//! The front door for components in the process: each comes as its own user, and nothing is encoded.

use std::sync::Arc;

use async_trait::async_trait;
use client::{Transport, WatchStream};
use meta::{ApiError, Call, Reply, ResourcePath, UserInfo, WatchOptions};

use crate::door::Door;

/// A transport for one user.
#[derive(Clone)]
pub struct Local {
    door: Arc<Door>,
    user: Arc<UserInfo>,
}

impl Local {
    /// Calls come as this user.
    pub fn new(door: &Arc<Door>, user: UserInfo) -> Self {
        Self { door: Arc::clone(door), user: Arc::new(user) }
    }
}

#[async_trait]
impl Transport for Local {
    async fn call(&self, path: &ResourcePath, call: Call) -> Result<Reply, ApiError> {
        self.door.call(&self.user, path, call).await
    }

    async fn watch(&self, path: &ResourcePath, options: WatchOptions) -> Result<WatchStream, ApiError> {
        Ok(Box::pin(self.door.watch(&self.user, path, options)?))
    }
}
