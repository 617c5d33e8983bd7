//! The group `storage.k8s.io`.

mod attachment;
mod class;
mod csi;

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::Value;

use crate::field::{fields, text};
use crate::plain::{STATUS, resource};
use crate::resource::Resource;

const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETER_BYTES: usize = 256 << 10;

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    let storage =
        |kind, plural, singular| Resource { namespaced: false, ..resource("storage.k8s.io", kind, plural, singular) };
    vec![
        Resource { columns: csi::DRIVER, rules: &csi::Driver, ..storage("CSIDriver", "csidrivers", "csidriver") },
        Resource { columns: csi::NODE, rules: &csi::Node, ..storage("CSINode", "csinodes", "csinode") },
        Resource {
            rules: &csi::Capacity,
            ..resource("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity")
        },
        Resource {
            short_names: &["sc"],
            columns: class::COLUMNS,
            rules: &class::StorageClass,
            ..storage("StorageClass", "storageclasses", "storageclass")
        },
        Resource {
            subresources: &[STATUS],
            columns: attachment::COLUMNS,
            rules: &attachment::Attachment,
            ..storage("VolumeAttachment", "volumeattachments", "volumeattachment")
        },
        Resource {
            short_names: &["vac"],
            columns: class::ATTRIBUTES,
            rules: &class::Attributes,
            ..storage("VolumeAttributesClass", "volumeattributesclasses", "volumeattributesclass")
        },
    ]
}

/// The name of what provides volumes, at a field of the object.
fn provider(object: &Value, field: &str) -> Errors {
    let (name, path) = (text(object, &format!("/{field}")), Path::new(field));
    if name.is_empty() {
        return vec![Error::required(&path, "")];
    }
    let lower = name.to_lowercase();
    names::qualified(&lower).iter().map(|rule| Error::invalid(&path, lower.as_str(), rule)).collect()
}

fn parameters(object: &Value, needed: bool) -> Errors {
    let path = Path::new("parameters");
    let given = || fields(&object["parameters"]);
    if given().count() > MAX_PARAMETERS {
        return vec![Error::too_long(&path, MAX_PARAMETERS)];
    }
    let mut errors = Errors::new();
    if given().any(|(name, _)| name.is_empty()) {
        errors.push(Error::invalid(&path, "", "field can not be empty."));
    }
    let bytes: usize = given().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
    if bytes > MAX_PARAMETER_BYTES {
        errors.push(Error::too_long(&path, MAX_PARAMETER_BYTES));
    }
    if needed && given().next().is_none() {
        errors.push(Error::required(&path, "must contain at least one key/value pair"));
    }
    errors
}

/// The name of a CSI driver.
pub(crate) fn driver_name(name: &str, path: &Path) -> Errors {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    let mut errors = Errors::new();
    if name.len() > 63 {
        errors.push(Error::too_long(path, 63));
    }
    errors.extend(names::subdomain(&name.to_lowercase()).iter().map(|rule| Error::invalid(path, name, rule)));
    errors
}
