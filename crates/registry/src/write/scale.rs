//! `scale`: how many replicas, without knowing of what.

use std::sync::Arc;

use bytes::Bytes;
use meta::{ApiError, LabelSelector, Object, PatchType, Reply, WriteOptions};
use serde_json::{Value, json};

use super::fields::text;
use super::{Source, Writer, strategic};

impl Writer<'_> {
    /// The Scale of the object.
    pub(crate) fn scale(&self) -> Result<Reply, ApiError> {
        let object = self.storage.get(&self.key(self.name)).ok_or_else(|| self.not_found(self.name))?;
        shown(&object).map(Reply::object)
    }

    /// Changes the number of replicas.
    pub(crate) async fn rescale(&self, source: Source, options: &WriteOptions) -> Result<Reply, ApiError> {
        let object = self.storage.get(&self.key(self.name)).ok_or_else(|| self.not_found(self.name))?;
        let invalid = |error: &dyn std::fmt::Display| ApiError::bad_request(format!("error decoding patch: {error}"));
        let mut scale = shown(&object)?.value();
        // Only what the client says of the revision counts: the number alone can be set at any time.
        if let Some(metadata) = scale.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
        match source {
            Source::Replace(new) => scale = new,
            Source::Patch(PatchType::Json, patch) => {
                let patch: json_patch::Patch = serde_json::from_slice(&patch).map_err(|error| invalid(&error))?;
                json_patch::patch(&mut scale, &patch).map_err(|error| invalid(&error))?;
            }
            Source::Patch(_, patch) => {
                let patch: Value = serde_json::from_slice(&patch).map_err(|error| invalid(&error))?;
                strategic::merge(schema::Schemas::builtin(), None, &mut scale, patch);
            }
        }
        let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(0);
        let mut change = json!({"spec": {"replicas": replicas}});
        let revision = text(&scale, "/metadata/resourceVersion");
        if !revision.is_empty() {
            change["metadata"] = json!({"resourceVersion": revision});
        }
        let main = Writer { subresource: "", ..*self };
        let change = Source::Patch(PatchType::Merge, Bytes::from(change.to_string()));
        match main.update(change, options).await? {
            Reply::Object { object, warnings, .. } => {
                Ok(Reply::Object { object: shown(&object)?, created: false, warnings })
            }
            other @ (Reply::List(_) | Reply::Status(_)) => Ok(other),
        }
    }
}

fn shown(object: &Object) -> Result<Arc<Object>, ApiError> {
    let value = object.value();
    let number = |pointer: &str| value.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let selector = match value.pointer("/spec/selector") {
        // Compat: a ReplicationController's selector is a plain map.
        Some(Value::Object(fields))
            if !fields.contains_key("matchLabels") && !fields.contains_key("matchExpressions") =>
        {
            LabelSelector::from_value(&json!({"matchLabels": fields}))
        }
        Some(selector) => LabelSelector::from_value(selector),
        None => Ok(LabelSelector::default()),
    };
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(own) = value["metadata"].get(field) {
            metadata[field] = own.clone();
        }
    }
    let scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": number("/spec/replicas")},
        "status": {"replicas": number("/status/replicas"),
            "selector": selector.map(|selector| selector.to_string()).unwrap_or_default()}});
    Object::from_value(&scale).map(Arc::new).map_err(ApiError::internal)
}
