//! A cache and requests for the plugins' tests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use meta::{Gvk, Gvr, Object, UserInfo};
use registry::{Admission, Attributes, Operation, Reader, Request};
use serde_json::Value;

/// A few objects, by resource.
pub(crate) struct Cluster(Vec<(&'static str, Arc<Object>)>);

impl Cluster {
    /// A cache of these.
    pub(crate) fn new(objects: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let object = |(resource, value): (&'static str, Value)| {
            (resource, Arc::new(Object::from_value(&value).expect("an object")))
        };
        Self(objects.into_iter().map(object).collect())
    }

    /// The creation of an object of the core group by an ordinary user.
    pub(crate) fn create(&self, resource: &str, namespace: &str, object: Value) -> Request<'static> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let attributes = Attributes {
            user: UserInfo::new("tester", &[]),
            resource: Gvr::new("", "v1", resource),
            kind: Gvk::new("", "v1", ""),
            namespace: namespace.to_owned(),
            name,
            subresource: String::new(),
            operation: Operation::Create,
            dry_run: false,
        };
        Request::new(attributes, object, None)
    }
}

#[async_trait]
impl Reader for Cluster {
    fn get(&self, _: &str, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.list("", resource, namespace).into_iter().find(|object| object.metadata.name == name)
    }

    async fn wait(&self, place: (&str, &str), namespace: &str, name: &str, _: Duration) -> Option<Arc<Object>> {
        self.get(place.0, place.1, namespace, name)
    }

    fn list(&self, _: &str, resource: &str, namespace: &str) -> Vec<Arc<Object>> {
        let here = |object: &Arc<Object>| namespace.is_empty() || object.metadata.namespace == namespace;
        self.0
            .iter()
            .filter(|(own, object)| *own == resource && here(object))
            .map(|(_, object)| object.clone())
            .collect()
    }
}

/// What a plugin makes of a request: the object, or why it is refused.
pub(crate) async fn outcome(
    plugin: &dyn Admission,
    cluster: &Cluster,
    mut request: Request<'_>,
) -> Result<Value, String> {
    if plugin.handles(&request.attributes) {
        plugin.mutate(&mut request, cluster).await.map_err(|error| error.to_string())?;
        plugin.validate(&request, cluster).await.map_err(|error| error.to_string())?;
    }
    Ok(request.object)
}
