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
    manager: &'static str,
}

/// Who manages the fields that a component sets. Compat: upstream's components are called after their programs.
fn manager(user: &str) -> &'static str {
    match user {
        "system:kube-scheduler" => "kube-scheduler",
        node if node.starts_with("system:node:") => "kubelet",
        controller if controller.starts_with("system:serviceaccount:kube-system:") => "kube-controller-manager",
        _ => "",
    }
}

impl Local {
    /// Calls come as this user.
    pub fn new(door: &Arc<Door>, user: UserInfo) -> Self {
        let manager = manager(&user.name);
        Self { door: Arc::clone(door), user: Arc::new(user), manager }
    }
}

#[async_trait]
impl Transport for Local {
    async fn call(&self, path: &ResourcePath, mut call: Call) -> Result<Reply, ApiError> {
        if let Call::Create { options, .. } | Call::Update { options, .. } | Call::Patch { options, .. } = &mut call
            && options.field_manager.is_empty()
        {
            self.manager.clone_into(&mut options.field_manager);
        }
        self.door.call(&self.user, path, call).await
    }

    async fn watch(&self, path: &ResourcePath, options: WatchOptions) -> Result<WatchStream, ApiError> {
        Ok(Box::pin(self.door.watch(&self.user, path, options)?))
    }
}
