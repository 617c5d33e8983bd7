//! The types of the API as data, and what can be done to a document by knowing its type: decoding with pruning and
//! canonical form, and protobuf.
//!
//! Nothing here knows of HTTP, stores, or what a kind means.

pub mod cel;
mod decode;
mod duplicates;
mod duration;
mod enumerations;
pub mod proto;
mod structural;
mod syntax;
mod table;
mod types;

pub use decode::{DecodeError, Decoded, decode, decode_value, go_kind};
pub use duplicates::duplicates;
pub use enumerations::Enumerations;
pub use structural::{Checks, CustomObject, Rule, Structural};
pub use syntax::json_error;
pub use types::{
    Any, Field, List, ListKind, Map, MapKey, Patch, Scalar, SchemaOr, SchemaOrKind, Schemas, Struct, Type, TypeId,
    Wire, WirePart,
};
