//! Reads the table of types that `cargo xtask schema` writes.

use crate::types::Schemas;

/// The types of a table.
pub(crate) fn parse(_text: &str) -> Schemas {
    Schemas::new()
}
