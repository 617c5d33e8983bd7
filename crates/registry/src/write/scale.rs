//! `scale`: how many replicas, without knowing of what.

use std::sync::Arc;

use bytes::Bytes;
use kinds::custom::{JsonPath, ScalePaths};
use meta::{ApiError, LabelSelector, Object, PatchType, Reply, WriteOptions};
use serde_json::{Value, json};

use super::fields::text;
use super::{Source, Writer, strategic};

impl Writer<'_> {
    /// The Scale of the object.
    pub(crate) async fn scale(&self) -> Result<Reply, ApiError> {
        let object = self.storage.get(&self.key(self.name)).ok_or_else(|| self.not_found(self.name))?;
        self.shown_scale(&object).await.map(Reply::object)
    }

    /// Changes the number of replicas.
    pub(crate) async fn rescale(&self, source: Source, options: &WriteOptions) -> Result<Reply, ApiError> {
        let object = self.storage.get(&self.key(self.name)).ok_or_else(|| self.not_found(self.name))?;
        let invalid = |error: &dyn std::fmt::Display| ApiError::bad_request(format!("error decoding patch: {error}"));
        let mut scale = self.shown_scale(&object).await?.value();
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
        let mut change = json!({});
        match self.row.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
            Some(paths) => drop(paths.replicas.set(&mut change, json!(replicas))),
            None => change["spec"]["replicas"] = json!(replicas),
        }
        let revision = text(&scale, "/metadata/resourceVersion");
        if !revision.is_empty() {
            change["metadata"]["resourceVersion"] = json!(revision);
        }
        let main = Writer { subresource: "", ..*self };
        let change = Source::Patch(PatchType::Merge, Bytes::from(change.to_string()));
        match main.update(change, options).await? {
            Reply::Object { object, warnings, .. } => {
                Ok(Reply::Object { object: self.shown_scale(&object).await?, created: false, warnings })
            }
            other @ (Reply::List(_) | Reply::Status(_)) => Ok(other),
        }
    }

    async fn shown_scale(&self, object: &Object) -> Result<Arc<Object>, ApiError> {
        let value = self.registry.document(self.row, object).await?;
        let (replicas, status) = match self.row.custom.as_ref().and_then(|custom| custom.scale.as_ref()) {
            Some(paths) => custom_numbers(&value, paths),
            None => numbers(&value),
        };
        let mut metadata = json!({});
        for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(own) = value["metadata"].get(field) {
                metadata[field] = own.clone();
            }
        }
        let scale = json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
            "spec": {"replicas": replicas}, "status": status});
        Object::from_value(&scale).map(Arc::new).map_err(ApiError::internal)
    }
}

/// The wanted number and the status, where built-in kinds have them.
fn numbers(value: &Value) -> (i64, Value) {
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
    let selector = selector.map(|selector| selector.to_string()).unwrap_or_default();
    (number("/spec/replicas"), json!({"replicas": number("/status/replicas"), "selector": selector}))
}

/// The same where a definition says that they are.
fn custom_numbers(value: &Value, paths: &ScalePaths) -> (i64, Value) {
    let number = |path: &JsonPath| path.first(value).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({"replicas": number(&paths.status_replicas)});
    let selector = paths.selector.as_ref().and_then(|path| path.first(value)).and_then(Value::as_str);
    if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
        status["selector"] = json!(selector);
    }
    (number(&paths.replicas), status)
}
