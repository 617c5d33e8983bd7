//! Writes: from a call to a commit, through admission and the kind's rules.

mod claims;
mod commit;
mod connect;
mod create;
mod delete;
mod deletion;
mod eviction;
mod fields;
mod managed;
mod name;
mod patch;
mod pod;
mod quota;
mod scale;
mod strategic;
mod update;

use std::sync::Arc;

use kinds::Resource;
use meta::{ApiError, DeleteOptions, Object, Reason, UserInfo};
use serde_json::Value;
use store::Key;

use crate::admission::{Attributes, Operation, Request};
use crate::cache::Storage;
use crate::registry::Registry;
use crate::view::is_view;

pub(crate) use self::update::Source;

/// One write on its way.
pub(crate) struct Writer<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) user: &'a UserInfo,
    pub(crate) row: &'a Resource,
    pub(crate) storage: &'a Arc<Storage>,
    /// Empty for cluster-scoped resources.
    pub(crate) namespace: &'a str,
    /// Empty where the object brings it.
    pub(crate) name: &'a str,
    /// Empty for the object itself.
    pub(crate) subresource: &'a str,
}

/// An attempt at a write that did not go through.
enum Failure {
    /// Somebody else changed the object meanwhile.
    Stale,
    /// Somebody else took what was chosen for it; another choice may do.
    Taken,
    /// It can't be done.
    Api(ApiError),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

impl Writer<'_> {
    fn key(&self, name: &str) -> Key {
        self.storage.key(self.namespace, name)
    }

    fn attributes(&self, operation: Operation, name: &str, dry_run: bool) -> Attributes {
        Attributes {
            user: self.user.clone(),
            resource: self.row.gvr(),
            kind: self.row.gvk(),
            namespace: self.namespace.to_owned(),
            name: name.to_owned(),
            subresource: self.subresource.to_owned(),
            operation,
            dry_run,
        }
    }

    fn not_found(&self, name: &str) -> ApiError {
        ApiError::not_found(&self.row.gvr(), name)
    }

    /// Lets the plugins change the object; whether any of them looked at it.
    async fn mutate(&self, request: &mut Request<'_>) -> Result<bool, ApiError> {
        let mut touched = false;
        for plugin in &self.registry.admission {
            if plugin.handles(&request.attributes) {
                plugin.mutate(request, self.registry).await?;
                // What changes objects of any kind says whether it did.
                touched |= !plugin.is_for_all() || request.patched;
                if std::mem::take(&mut request.patched) {
                    self.reform(&mut request.object)?;
                }
            }
        }
        Ok(touched)
    }

    /// Brings an object that was patched blindly into the form of its type.
    fn reform(&self, object: &mut Value) -> Result<(), ApiError> {
        let (value, _) = self.typed(std::mem::take(object)).map_err(ApiError::internal)?;
        *object = value;
        self.row.rules().default(object);
        Ok(())
    }

    /// Lets the plugins refuse what shall be stored.
    async fn admit(&self, request: &Request<'_>) -> Result<(), ApiError> {
        for plugin in &self.registry.admission {
            if plugin.handles(&request.attributes) {
                plugin.validate(request, self.registry).await?;
            }
        }
        Ok(())
    }

    /// Lets the plugins refuse a deletion.
    async fn admit_deletion(&self, old: &Value, name: &str, options: &DeleteOptions) -> Result<(), ApiError> {
        let attributes = self.attributes(Operation::Delete, name, options.dry_run);
        let mut request = Request { delete: Some(options), ..Request::new(attributes, Value::Null, Some(old)) };
        self.mutate(&mut request).await?;
        self.admit(&request).await
    }

    /// Objects carry the kind and version of the endpoint, also where a client in the process left them out.
    fn check_kind(&self, object: &mut Value) -> Result<(), ApiError> {
        let Some(map) = object.as_object_mut() else {
            return Err(ApiError::bad_request("the object provided is not a structure"));
        };
        let gvk = self.row.gvk();
        for (field, own) in [("kind", gvk.kind.clone()), ("apiVersion", gvk.api_version())] {
            match map.get(field).and_then(Value::as_str) {
                None | Some("") => {
                    map.insert(field.to_owned(), own.into());
                }
                Some(text) if text == own => {}
                Some(_) => {
                    let text = |name: &str| map.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                    return Err(ApiError::bad_request(format!(
                        "the object provided is unrecognized (must be of type {}): {} {}",
                        gvk.kind,
                        text("apiVersion"),
                        text("kind"),
                    )));
                }
            }
        }
        Ok(())
    }
}

/// An object that is shown and never stored: the outcome of a dry run.
fn unstored(writer: &Writer<'_>, value: &Value) -> Result<Arc<Object>, ApiError> {
    let value = if is_view(writer.row) { &to_stored(writer.row, value) } else { value };
    let object = Object::from_value(value).map_err(ApiError::internal)?;
    Ok(Arc::new(writer.storage.indexed(object)))
}

fn to_stored(row: &Resource, value: &Value) -> Value {
    let mut stored = value.clone();
    row.rules.to_stored(&mut stored);
    stored
}

fn plain(text: &str) -> ApiError {
    ApiError { code: Some(500), ..ApiError::new(Reason::Unknown, text) }
}
