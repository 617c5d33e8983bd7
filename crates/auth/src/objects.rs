//! What authentication asks about other objects.

use std::sync::Arc;

use meta::Object;

/// Single objects of the core group as the cache has them now. The wiring implements it on the registry.
pub trait Objects: Send + Sync + 'static {
    /// For example `("pods", "default", "web")`; an empty namespace for cluster-scoped resources.
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>>;
}
