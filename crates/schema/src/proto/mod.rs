//! The protobuf form of objects, as Go clients send and expect it, driven by the table of types.

use meta::Gvk;
use serde_json::Value;

use crate::types::Schemas;

/// Why bytes are not an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// The bytes are not a message of the type.
    #[error("{0}")]
    Malformed(String),
    /// Nothing is known of the kind.
    #[error("no kind {0:?} is registered")]
    UnknownKind(String),
}

/// What a list says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListMeta {
    /// The revision of the snapshot.
    pub resource_version: String,
    /// Where the next page starts; empty on the last one.
    pub continue_token: String,
    /// How many items are left after this page, if that is known.
    pub remaining_item_count: Option<i64>,
}

/// An object in its envelope (`k8s\0` and a `runtime.Unknown`); `None` when its kind has no protobuf form.
pub fn encode_object(_schemas: &Schemas, _object: &Value) -> Option<Vec<u8>> {
    None
}

/// The object in an envelope. A body without type information is taken as `expected`.
pub fn decode_object(_schemas: &Schemas, _bytes: &[u8], _expected: Option<&Gvk>) -> Result<Value, ProtoError> {
    Err(ProtoError::Malformed(String::new()))
}

/// A list in its envelope, from the bare messages of its items (see [`raw_of_envelope`]).
pub fn encode_list<'a>(_list: &Gvk, _meta: &ListMeta, _items: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    Vec::new()
}

/// The bare message in an object's envelope.
pub fn raw_of_envelope(_envelope: &[u8]) -> Option<&[u8]> {
    None
}

/// One event of a watch stream with its length before it; `object` is an envelope.
pub fn watch_frame(_event: &str, _object: &[u8]) -> Vec<u8> {
    Vec::new()
}
