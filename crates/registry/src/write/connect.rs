//! Admission of streams and proxied requests: nothing is written, and plugins may refuse.

use meta::{ApiError, Gvk, Gvr, ResourcePath, UserInfo};
use serde_json::Value;

use crate::admission::{Attributes, Operation, Request};
use crate::registry::Registry;

impl Registry {
    /// Lets the plugins refuse a connection to an object's subresource, `pods/attach` for example. `options` are what the client
    /// asked for, an object of the kind that the subresource takes: `PodAttachOptions`.
    pub async fn connect(&self, user: &UserInfo, path: &ResourcePath, options: Value) -> Result<(), ApiError> {
        let text = |name: &str| options.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let attributes = Attributes {
            user: user.clone(),
            resource: Gvr::clone(&path.gvr),
            kind: Gvk::new(path.gvr.group.clone(), path.gvr.version.clone(), text("kind")),
            namespace: path.namespace.clone().unwrap_or_default(),
            name: path.name.clone().unwrap_or_default(),
            subresource: path.subresource.clone().unwrap_or_default(),
            operation: Operation::Connect,
            dry_run: false,
        };
        let mut request = Request::new(attributes, options, None);
        for plugin in &self.admission {
            if plugin.handles(&request.attributes) {
                plugin.mutate(&mut request, self).await?;
            }
        }
        for plugin in &self.admission {
            if plugin.handles(&request.attributes) {
                plugin.validate(&request, self).await?;
            }
        }
        Ok(())
    }
}
