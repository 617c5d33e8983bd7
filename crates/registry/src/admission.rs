//! What may change or refuse a write before it happens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kinds::custom::Custom;
use meta::{ApiError, DeleteOptions, Gvk, Gvr, Object, UserInfo};
use serde_json::Value;

/// What a write does to its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are upstream's operations")]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// What is known of a write without looking at its object.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// Who asks.
    pub user: UserInfo,
    /// The endpoint.
    pub resource: Gvr,
    /// The type of the object.
    pub kind: Gvk,
    /// Empty for cluster-scoped objects.
    pub namespace: String,
    /// Empty for objects whose name is still to be made.
    pub name: String,
    /// Empty for the object itself.
    pub subresource: String,
    /// What happens.
    pub operation: Operation,
    /// Whether nothing will be kept.
    pub dry_run: bool,
}

impl Attributes {
    /// Whether the write goes to this resource of the core group, `pods` or `pods/binding` for example.
    pub fn is_core(&self, resource: &str) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        self.resource.group.is_empty() && self.resource.resource == resource && self.subresource == subresource
    }
}

/// A write on its way.
#[derive(Debug)]
pub struct Request<'a> {
    /// What is known of it.
    pub attributes: Attributes,
    /// The object as it shall be; null for deletions.
    pub object: Value,
    /// The object as it is; `None` for creations.
    pub old: Option<&'a Value>,
    /// How to delete; `None` for other operations.
    pub delete: Option<&'a DeleteOptions>,
    /// What the client should be warned of.
    pub warnings: Vec<String>,
    /// The same, said by plugins that validate: they may change nothing else.
    pub told: Mutex<Vec<String>>,
    /// Set by plugins that change the object without knowing its type: it is brought into form again before the next one sees it.
    pub patched: bool,
}

impl<'a> Request<'a> {
    /// A request with nothing to say yet.
    pub fn new(attributes: Attributes, object: Value, old: Option<&'a Value>) -> Self {
        Self { attributes, object, old, delete: None, warnings: Vec::new(), told: Mutex::default(), patched: false }
    }

    /// Warns the client, from a plugin that validates.
    pub fn tell(&self, warning: String) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(warning);
    }
}

/// What admission may read: the cache.
#[async_trait]
pub trait Reader: Send + Sync {
    /// One object; an empty namespace for cluster-scoped resources.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>>;

    /// The same, and where it is missing it has until `within` to come: for what a controller is about to make.
    async fn wait(&self, place: (&str, &str), namespace: &str, name: &str, within: Duration) -> Option<Arc<Object>>;

    /// All objects of a namespace, or of all namespaces where it is empty.
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Arc<Object>>;

    /// Where the objects of a kind are, and whether they are in namespaces.
    fn resource_of(&self, _kind: &Gvk) -> Option<(Gvr, bool)> {
        None
    }

    /// What a definition says of a kind, if it is a custom one.
    fn custom(&self, _kind: &Gvk) -> Option<Arc<Custom>> {
        None
    }
}

/// An admission plugin. It decides on the object and on what the [`Reader`] shows; it writes nothing.
#[async_trait]
pub trait Admission: Send + Sync {
    /// Upstream's name of the plugin.
    fn name(&self) -> &'static str;

    /// Whether it has to do with such a write.
    fn handles(&self, attributes: &Attributes) -> bool;

    /// Whether it looks at objects of every kind, and says by [`Request::patched`] whether it changed one.
    fn is_for_all(&self) -> bool {
        false
    }

    /// Changes the object, or refuses it.
    async fn mutate(&self, _request: &mut Request<'_>, _reader: &dyn Reader) -> Result<(), ApiError> {
        Ok(())
    }

    /// Refuses the object as it shall be stored, or lets it pass.
    async fn validate(&self, _request: &Request<'_>, _reader: &dyn Reader) -> Result<(), ApiError> {
        Ok(())
    }
}
