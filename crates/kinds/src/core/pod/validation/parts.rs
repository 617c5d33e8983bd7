//! Parts of pods that other kinds have too, by the same rules.

use meta::field::{Errors, Path};
use serde_json::Value;

use super::{Check, Place};
use crate::resource::Settings;

/// What these parts say does not depend on the server.
const SETTINGS: &Settings = &Settings { allow_privileged: true };

fn found(look: impl FnOnce(&mut Check<'_>)) -> Errors {
    let mut check = Check::new(SETTINGS, Place::Template);
    look(&mut check);
    check.errors
}

/// What is wrong with a LabelSelector.
pub(crate) fn label_selector(selector: &Value, path: &Path) -> Errors {
    found(|check| check.selector(selector, path))
}

/// What is wrong with a NodeSelector.
pub(crate) fn node_selector(selector: &Value, path: &Path) -> Errors {
    found(|check| check.node_selector(selector, path))
}

/// What is wrong with the `tolerations` of an object.
pub(crate) fn tolerations(object: &Value, path: &Path) -> Errors {
    found(|check| check.tolerations(object, path))
}

/// What is wrong with amounts of resources that containers have.
pub(crate) fn container_resources(amounts: &Value, path: &Path) -> Errors {
    found(|check| check.overhead(amounts, path))
}

/// What is wrong with the name of a resource: of containers, or of anything.
pub(crate) fn resource_name(name: &str, of_container: bool, path: &Path) -> Errors {
    found(|check| check.resource_name(name, of_container, path))
}

/// What is wrong with a source of volumes.
pub(crate) fn volume_source(kind: &str, source: &Value, path: &Path) -> Errors {
    found(|check| check.checked_source(kind, source, path))
}
