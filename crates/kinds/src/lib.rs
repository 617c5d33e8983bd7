//! The built-in kinds: names, scope, columns, defaults, validation and update rules. Pure and synchronous.
//!
//! A kind is one file or folder beneath its group's folder, and one line in [`all`]. Routes, discovery, tables, RBAC names
//! and garbage collection follow from its [`Resource`].

mod resource;

pub use resource::{Column, Part, Resource, Rules, Settings, Subresource, keep_other_part};

/// Every built-in resource.
pub fn all() -> &'static [Resource] {
    &[]
}
