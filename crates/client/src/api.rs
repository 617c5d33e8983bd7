//! Single calls.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Stream;
use meta::{
    ApiError, Call, DeleteOptions, Gvr, ListOptions, Object, ObjectList, PatchType, Preconditions, Reply, ResourcePath,
    WatchEvent, WatchOptions, WriteOptions,
};
use serde_json::Value;

/// What happens to a collection. It ends with an error, or when the server closes it; the watcher then begins anew.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchEvent, ApiError>> + Send>>;

/// Carries calls to an API server, as one user.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Makes a call.
    async fn call(&self, path: &ResourcePath, call: Call) -> Result<Reply, ApiError>;

    /// Opens a watch.
    async fn watch(&self, path: &ResourcePath, options: WatchOptions) -> Result<WatchStream, ApiError>;
}

/// A client of the API. Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<dyn Transport>);

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// A client whose calls this transport carries.
    pub fn new(transport: impl Transport) -> Self {
        Self(Arc::new(transport))
    }

    /// Makes a call.
    pub async fn call(&self, path: &ResourcePath, call: Call) -> Result<Reply, ApiError> {
        self.0.call(path, call).await
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &ResourcePath, options: WatchOptions) -> Result<WatchStream, ApiError> {
        self.0.watch(path, options).await
    }

    async fn object(&self, path: &ResourcePath, call: Call) -> Result<Arc<Object>, ApiError> {
        match self.call(path, call).await? {
            Reply::Object { object, .. } => Ok(object),
            Reply::List(_) | Reply::Status(_) => {
                Err(ApiError::internal("the server answered with something else than an object"))
            }
        }
    }

    /// Reads one object; an empty namespace for cluster-scoped resources.
    pub async fn get(&self, gvr: &Gvr, namespace: &str, name: &str) -> Result<Arc<Object>, ApiError> {
        let path = ResourcePath::object(gvr.clone(), namespace, name);
        self.object(&path, Call::Get { resource_version: String::new() }).await
    }

    /// Reads a collection; an empty namespace for all of them.
    pub async fn list(&self, gvr: &Gvr, namespace: &str, options: ListOptions) -> Result<ObjectList, ApiError> {
        let path = ResourcePath::collection(gvr.clone(), namespace);
        match self.call(&path, Call::List(options)).await? {
            Reply::List(list) => Ok(list),
            Reply::Object { .. } | Reply::Status(_) => {
                Err(ApiError::internal("the server answered with something else than a list"))
            }
        }
    }

    /// Makes an object.
    pub async fn create(&self, gvr: &Gvr, namespace: &str, object: Value) -> Result<Arc<Object>, ApiError> {
        self.create_at(&ResourcePath::collection(gvr.clone(), namespace), object).await
    }

    /// Posts an object to a path, for example a subresource.
    pub async fn create_at(&self, path: &ResourcePath, object: Value) -> Result<Arc<Object>, ApiError> {
        self.object(path, Call::Create { object, options: WriteOptions::default() }).await
    }

    /// Replaces an object; its `resourceVersion`, where there is one, must still be the newest.
    pub async fn update(&self, gvr: &Gvr, object: Value) -> Result<Arc<Object>, ApiError> {
        self.update_at(&path_of(gvr, &object), object).await
    }

    /// Replaces an object's status.
    pub async fn update_status(&self, gvr: &Gvr, object: Value) -> Result<Arc<Object>, ApiError> {
        self.update_at(&path_of(gvr, &object).subresource("status"), object).await
    }

    /// Puts an object to a path.
    pub async fn update_at(&self, path: &ResourcePath, object: Value) -> Result<Arc<Object>, ApiError> {
        self.object(path, Call::Update { object, options: WriteOptions::default() }).await
    }

    /// Changes an object by a JSON merge patch.
    pub async fn merge(&self, path: &ResourcePath, patch: &Value) -> Result<Arc<Object>, ApiError> {
        self.patch(path, PatchType::Merge, patch, WriteOptions::default()).await
    }

    /// Changes an object by a patch of any form.
    pub async fn patch(
        &self,
        path: &ResourcePath,
        form: PatchType,
        patch: &Value,
        options: WriteOptions,
    ) -> Result<Arc<Object>, ApiError> {
        self.object(path, Call::Patch { form, patch: patch.to_string().into(), options }).await
    }

    /// Deletes an object.
    pub async fn delete(&self, gvr: &Gvr, namespace: &str, name: &str, options: DeleteOptions) -> Result<(), ApiError> {
        let path = ResourcePath::object(gvr.clone(), namespace, name);
        self.call(&path, Call::Delete(options)).await.map(drop)
    }

    /// Deletes this very object, not one of the same name that replaced it.
    pub async fn delete_exactly(&self, gvr: &Gvr, object: &Object, mut options: DeleteOptions) -> Result<(), ApiError> {
        let metadata = &object.metadata;
        options.preconditions = Preconditions { uid: Some(metadata.uid.clone()), ..Preconditions::default() };
        self.delete(gvr, &metadata.namespace, &metadata.name, options).await
    }
}

fn path_of(gvr: &Gvr, object: &Value) -> ResourcePath {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    ResourcePath::object(gvr.clone(), text("/metadata/namespace"), text("/metadata/name"))
}
