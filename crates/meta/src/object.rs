//! An object of the API at one revision: immutable, shared, encoded once.
//!
//! The JSON is the representation; beside it stands a small typed index of what selectors, controllers and the garbage
//! collector ask for. A full typed view is built by whoever needs one, and dropped after use.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

/// Why bytes are no object.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Not JSON, or a field of the metadata has a wrong type.
    #[error("decode an object's JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// There is no `metadata` where encoded objects have it.
    #[error("the object has no metadata")]
    NoMetadata,
}

/// A reference from a dependent to its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference {
    /// The owner's group and version.
    pub api_version: String,
    /// The owner's kind.
    pub kind: String,
    /// The owner's name.
    pub name: String,
    /// The owner's UID: what really identifies it.
    pub uid: String,
    /// Whether this owner is the managing controller.
    pub controller: bool,
    /// Whether the owner's foreground deletion waits for this dependent.
    pub block_owner_deletion: bool,
}

/// The part of an object's metadata that is kept decoded. Absent strings are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Metadata {
    /// The name; unique within namespace and resource.
    pub name: String,
    /// The namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Unique over time.
    pub uid: String,
    /// Counts changes of the desired state.
    pub generation: i64,
    /// RFC 3339.
    pub creation_timestamp: String,
    /// RFC 3339; set once deletion was asked for.
    pub deletion_timestamp: Option<String>,
    /// Seconds.
    pub deletion_grace_period_seconds: Option<i64>,
    /// What selectors look at.
    pub labels: BTreeMap<String, String>,
    /// Who must be gone before the object goes.
    pub finalizers: Vec<String>,
    /// Who owns the object.
    pub owner_references: Vec<OwnerReference>,
}

impl Metadata {
    /// The owner that manages the object.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }

    /// Whether deletion was asked for.
    pub fn is_terminating(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// `namespace/name`, or the name alone for cluster-scoped objects: the key of queues and logs.
    pub fn key(&self) -> String {
        if self.namespace.is_empty() { self.name.clone() } else { format!("{}/{}", self.namespace, self.name) }
    }
}

/// One revision of an object. Shared as `Arc<Object>` by the cache, every list, every watcher and every informer.
#[derive(Debug)]
pub struct Object {
    /// The decoded part of the metadata.
    pub metadata: Metadata,
    /// The revision: `metadata.resourceVersion` as a number; 0 for objects that are not stored.
    pub revision: u64,
    kind: String,
    api_version: String,
    json: Bytes,
    fields: Vec<(String, String)>,
    protobuf: OnceLock<Bytes>,
}

/// What is read of the bytes to make the index.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "apiVersion")]
    api_version: String,
    #[serde(default)]
    metadata: HeadMetadata,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HeadMetadata {
    #[serde(flatten)]
    metadata: Metadata,
    #[serde(rename = "resourceVersion")]
    resource_version: String,
}

impl Object {
    /// An object as the store holds it (see [`encode_object`]), at its revision.
    pub fn stored(json: &[u8], revision: u64) -> Result<Self, ObjectError> {
        const START: &[u8] = b"\"metadata\":{";
        // kind and apiVersion come first and hold no quotes, so the first match is the object's own metadata.
        let at = json.windows(START.len()).position(|window| window == START).ok_or(ObjectError::NoMetadata)?;
        let (head, tail) = json.split_at(at + START.len());
        let separator = if tail.first() == Some(&b'}') { "" } else { "," };
        let version = format!("\"resourceVersion\":\"{revision}\"{separator}");
        let mut whole = Vec::with_capacity(json.len() + version.len());
        whole.extend_from_slice(head);
        whole.extend_from_slice(version.as_bytes());
        whole.extend_from_slice(tail);
        Self::from_json(whole.into())
    }

    /// An object from JSON that is complete, `resourceVersion` included where there is one.
    pub fn from_json(json: Bytes) -> Result<Self, ObjectError> {
        let head: Head = serde_json::from_slice(&json)?;
        Ok(Self {
            revision: head.metadata.resource_version.parse().unwrap_or(0),
            metadata: head.metadata.metadata,
            kind: head.kind,
            api_version: head.api_version,
            json,
            fields: Vec::new(),
            protobuf: OnceLock::new(),
        })
    }

    /// An object from a document that is complete.
    pub fn from_value(value: &Value) -> Result<Self, ObjectError> {
        Self::from_json(serde_json::to_vec(&Document(value, true))?.into())
    }

    /// With the values that field selectors may ask for, for example `status.phase`.
    #[must_use]
    pub fn with_fields(mut self, fields: Vec<(String, String)>) -> Self {
        self.fields = fields;
        self
    }

    /// The kind.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The group and version.
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// The whole object as JSON, `resourceVersion` included.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// `metadata.resourceVersion` as clients see it.
    pub fn resource_version(&self) -> String {
        self.revision.to_string()
    }

    /// The object as a document that may be changed.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).expect("the bytes were decoded when the object was made")
    }

    /// The object as a typed view.
    pub fn view<T: DeserializeOwned>(&self) -> Result<T, ObjectError> {
        Ok(serde_json::from_slice(&self.json)?)
    }

    /// The values that field selectors may ask for.
    pub fn fields(&self) -> &[(String, String)] {
        &self.fields
    }

    /// One of them; `metadata.name` and `metadata.namespace` are always there.
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(&self.metadata.name),
            "metadata.namespace" => Some(&self.metadata.namespace),
            name => self.fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str()),
        }
    }

    /// The protobuf encoding, made by `encode` the first time it is asked for.
    pub fn protobuf(&self, encode: impl FnOnce(&Self) -> Bytes) -> &Bytes {
        self.protobuf.get_or_init(|| encode(self))
    }
}

/// The bytes the store keeps for a document: kind, apiVersion and metadata first, without `metadata.resourceVersion`.
pub fn encode_object(value: &Value) -> Vec<u8> {
    serde_json::to_vec(&Document(value, false)).expect("a JSON document can always be written")
}

/// A document in the order that [`Object::stored`] relies on; the flag keeps `metadata.resourceVersion`.
struct Document<'a>(&'a Value, bool);

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const FIRST: [&str; 2] = ["kind", "apiVersion"];
        let Value::Object(fields) = self.0 else { return self.0.serialize(serializer) };
        let mut map = serializer.serialize_map(None)?;
        for name in FIRST {
            if let Some(value) = fields.get(name) {
                map.serialize_entry(name, value)?;
            }
        }
        if let Some(metadata) = fields.get("metadata") {
            map.serialize_entry("metadata", &DocumentMetadata(metadata, self.1))?;
        }
        for (name, value) in fields.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()) && *name != "metadata") {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct DocumentMetadata<'a>(&'a Value, bool);

impl Serialize for DocumentMetadata<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Object(fields) = self.0 else { return self.0.serialize(serializer) };
        serializer.collect_map(fields.iter().filter(|(name, _)| self.1 || *name != "resourceVersion"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stored_object_gets_its_revision() {
        for (metadata, expected) in [
            (json!({"name": "a", "resourceVersion": "3"}), r#""metadata":{"resourceVersion":"7","name":"a"}"#),
            (json!({}), r#""metadata":{"resourceVersion":"7"}"#),
        ] {
            let value =
                json!({"data": {"\"metadata\":{": "x"}, "kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata});
            let object = Object::stored(&encode_object(&value), 7).expect("an object");
            let json = std::str::from_utf8(object.json()).expect("text");
            assert!(json.contains(expected), "{json}");
            assert_eq!((object.revision, object.kind(), object.api_version()), (7, "ConfigMap", "v1"));
        }
    }

    #[test]
    fn the_index_holds_what_selectors_and_controllers_ask() {
        let value = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {
            "name": "a", "namespace": "b", "labels": {"app": "x"}, "deletionTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true}]}});
        let object =
            Object::from_value(&value).expect("an object").with_fields(vec![("status.phase".into(), "Running".into())]);
        assert_eq!(object.metadata.key(), "b/a");
        assert!(object.metadata.is_terminating());
        assert_eq!(object.metadata.controller().map(|owner| owner.uid.as_str()), Some("u"));
        assert_eq!((object.field("metadata.name"), object.field("status.phase")), (Some("a"), Some("Running")));
        assert_eq!(object.value(), value);
    }
}
