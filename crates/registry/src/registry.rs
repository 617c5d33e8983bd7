//! The registry itself: what callers hold.

use std::sync::Arc;

use kinds::Settings;
use meta::{ApiError, Call, Clock, Gvr, Object, Reply, ResourcePath, UserInfo, WatchOptions};
use store::{Store, StoreError};

use crate::admission::Admission;
use crate::resources::Resources;
use crate::watch::WatchStream;

/// What a registry is made of.
pub struct RegistryConfig {
    /// Where objects are kept.
    pub store: Arc<dyn Store>,
    /// The time for stamps.
    pub clock: Arc<dyn Clock>,
    /// What rules depend on.
    pub settings: Settings,
    /// Admission plugins, in the order they run.
    pub admission: Vec<Arc<dyn Admission>>,
    /// What is served.
    pub resources: Resources,
}

/// Why a registry can't open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store can't be read.
    #[error("read the store")]
    Store(#[from] StoreError),
}

/// Serves objects. See the crate's documentation.
pub struct Registry {
    resources: Arc<Resources>,
}

impl Registry {
    /// Reads everything from the store and follows it from then on.
    pub async fn open(config: RegistryConfig) -> Result<Arc<Self>, OpenError> {
        Ok(Arc::new(Self { resources: Arc::new(config.resources) }))
    }

    /// What is served now.
    pub fn resources(&self) -> Arc<Resources> {
        self.resources.clone()
    }

    /// Carries out a call for a user who may do it.
    pub async fn call(&self, user: &UserInfo, path: &ResourcePath, call: Call) -> Result<Reply, ApiError> {
        let _ = (user, path, call);
        Err(ApiError::no_such_resource())
    }

    /// Begins a watch.
    pub fn watch(&self, path: &ResourcePath, options: WatchOptions) -> Result<WatchStream, ApiError> {
        let _ = (path, options);
        Err(ApiError::no_such_resource())
    }

    /// One object as the cache has it; an empty namespace for cluster-scoped resources.
    pub fn get_cached(&self, gvr: &Gvr, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let _ = (gvr, namespace, name);
        None
    }

    /// Ends the feed and all watches. The store stays open.
    pub async fn shutdown(&self) {}
}
