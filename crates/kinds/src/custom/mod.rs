//! Resources that CustomResourceDefinitions make: one [`Resource`](crate::Resource) for each served version.
//!
//! What a definition says of a version becomes a [`Custom`], which brings the rules of its objects as a file of this crate does for
//! a built-in kind. Definitions are taken as the API server has accepted them; nothing here decides whether they may be.

mod columns;
mod definition;
mod json_path;
mod names;
mod rules;
mod version;

use schema::cel::Rules;
use schema::{CustomObject, Schemas, Structural, TypeId};
use serde_json::Value;

pub use definition::resources;
pub use json_path::JsonPath;
pub use names::Names;
pub use version::compare_versions;

/// What a definition says of one served version.
#[derive(Debug)]
pub struct Custom {
    /// The UID of the definition.
    pub uid: String,
    /// The revision at which the definition began to say this: objects written later have the form of their version.
    pub since: u64,
    /// The version that objects are stored in.
    pub storage_version: String,
    /// How objects become those of another version.
    pub conversion: Conversion,
    /// Whether the definition is being deleted: nothing new is made.
    pub terminating: bool,
    /// The version's OpenAPI schema as the definition has it; null where it has none.
    pub schema: Value,
    /// Whether the whole definition keeps fields that no schema names (`spec.preserveUnknownFields`).
    pub preserve_unknown: bool,
    /// The warning that whoever uses this version gets, if it is deprecated.
    pub deprecation: Option<String>,
    /// Whether `status` is an endpoint of its own.
    pub has_status: bool,
    /// Where `scale` finds its numbers.
    pub scale: Option<ScalePaths>,
    /// The cells of the table beside the name, with the type of each column.
    structural: Structural,
    rules: Option<Rules>,
    /// The types by which fields have their managers.
    types: (Schemas, TypeId),
    cells: Vec<(String, Option<JsonPath>)>,
    /// What the columns say of themselves.
    pub column_descriptions: Vec<String>,
    selectable: &'static [&'static str],
    selectable_paths: Vec<Option<JsonPath>>,
}

/// How objects become those of another version.
#[derive(Clone, Debug, PartialEq)]
pub enum Conversion {
    /// Only `apiVersion` changes.
    None,
    /// A webhook is asked: this is `spec.conversion.webhook`.
    Webhook(Value),
}

/// Where the `scale` of an object is, as the definition says.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalePaths {
    /// The wanted number.
    pub replicas: JsonPath,
    /// The number that there is.
    pub status_replicas: JsonPath,
    /// The selector's text, where the definition names one.
    pub selector: Option<JsonPath>,
}

impl Custom {
    /// Whether this version is the one that objects are stored in.
    pub fn is_stored(&self, version: &str) -> bool {
        self.storage_version == version
    }

    /// An object as it is read from the store, in this version.
    pub fn read(&self, mut object: Value) -> Value {
        self.settle(&mut object);
        object
    }

    /// Reads an object that came in; the error is for people.
    pub fn decode(&self, json: &[u8]) -> Result<CustomObject, String> {
        self.structural.decode(json)
    }

    /// The same for an object that is parsed already: a patched one, say.
    pub fn decode_value(&self, object: Value) -> CustomObject {
        self.structural.decode_value(object)
    }

    /// The types by which fields have their managers, and that of the objects.
    pub fn types(&self) -> (&Schemas, TypeId) {
        (&self.types.0, self.types.1)
    }

    fn settle(&self, object: &mut Value) {
        self.structural.prune(object);
        self.structural.fill(object);
    }
}
