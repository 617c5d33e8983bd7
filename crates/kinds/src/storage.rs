//! The group `storage.k8s.io`.

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::age;
use crate::field::{self, text};
use crate::plain::{AGE, Desired, NAME, STATUS, cell, column, name, resource};
use crate::resource::{Column, Part, Resource, Rules, Settings};

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    let storage =
        |kind, plural, singular| Resource { namespaced: false, ..resource("storage.k8s.io", kind, plural, singular) };
    vec![
        storage("CSIDriver", "csidrivers", "csidriver"),
        storage("CSINode", "csinodes", "csinode"),
        resource("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity"),
        Resource {
            short_names: &["sc"],
            columns: STORAGE_CLASS,
            rules: &StorageClass,
            ..storage("StorageClass", "storageclasses", "storageclass")
        },
        Resource {
            subresources: &[STATUS],
            rules: &Desired,
            ..storage("VolumeAttachment", "volumeattachments", "volumeattachment")
        },
        Resource {
            short_names: &["vac"],
            ..storage("VolumeAttributesClass", "volumeattributesclasses", "volumeattributesclass")
        },
    ]
}

const STORAGE_CLASS: &[Column] = &[
    NAME,
    column("Provisioner", "string"),
    column("ReclaimPolicy", "string"),
    column("VolumeBindingMode", "string"),
    column("AllowVolumeExpansion", "string"),
    AGE,
];

struct StorageClass;

impl Rules for StorageClass {
    fn default(&self, object: &mut Value) {
        field::default(object, "reclaimPolicy", "Delete");
        field::default(object, "volumeBindingMode", "Immediate");
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut errors = Errors::new();
        if text(object, "/provisioner").is_empty() {
            errors.push(Error::required(&Path::new("provisioner"), ""));
        }
        let policy = text(object, "/reclaimPolicy");
        if !matches!(policy, "Delete" | "Retain") {
            errors.push(Error::not_supported(&Path::new("reclaimPolicy"), policy, &["Delete", "Retain"]));
        }
        let mode = text(object, "/volumeBindingMode");
        if !matches!(mode, "Immediate" | "WaitForFirstConsumer") {
            errors.push(Error::not_supported(
                &Path::new("volumeBindingMode"),
                mode,
                &["Immediate", "WaitForFirstConsumer"],
            ));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        for (name, detail) in [
            ("parameters", "updates to parameters are forbidden."),
            ("provisioner", "updates to provisioner are forbidden."),
        ] {
            if new.get(name) != old.get(name) {
                errors.push(Error::forbidden(&Path::new(name), detail));
            }
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let default = text(object, "/metadata/annotations/storageclass.kubernetes.io~1is-default-class") == "true";
        let shown = if default { json!(format!("{} (default)", text(object, "/metadata/name"))) } else { name(object) };
        let expansion = object["allowVolumeExpansion"].as_bool().unwrap_or(false);
        vec![
            shown,
            cell(object, "/provisioner", ""),
            cell(object, "/reclaimPolicy", ""),
            cell(object, "/volumeBindingMode", ""),
            json!(expansion),
            age::of(object, now),
        ]
    }
}
