//! What serves objects: the one path that every read and write of the API takes, on a cache that follows the store.
//!
//! Reads are snapshots of the cache, writes go through admission, defaults, validation and the store, and return once the
//! cache has passed them, so everyone sees their own writes. Built-in kinds differ only by their rows in
//! [`Resources`]; nothing here knows HTTP, and who may do what is decided before a call arrives.

mod admission;
mod cache;
mod continuation;
mod custom;
mod list;
mod metadata;
mod registry;
mod resources;
mod selection;
mod snapshot;
#[cfg(test)]
mod tests;
mod versioned;
mod view;
mod watch;
mod write;

pub use crate::admission::{Admission, Attributes, Operation, Reader, Request};
pub use crate::custom::Converter;
pub use crate::registry::{OpenError, Registry, RegistryConfig};
pub use crate::resources::Resources;
pub use crate::snapshot::Snapshot;
pub use crate::watch::WatchStream;
