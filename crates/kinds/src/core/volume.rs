//! PersistentVolume and PersistentVolumeClaim.

use meta::Quantity;
use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::age;
use crate::field::{self, items, text};
use crate::plain::{AGE, NAME, cell, column, name, wide};
use crate::resource::{Column, Part, Rules, Settings, keep_other_part};

pub(crate) const VOLUME: &[Column] = &[
    NAME,
    column("Capacity", "string"),
    column("Access Modes", "string"),
    column("Reclaim Policy", "string"),
    column("Status", "string"),
    column("Claim", "string"),
    column("StorageClass", "string"),
    column("VolumeAttributesClass", "string"),
    column("Reason", "string"),
    AGE,
    wide("VolumeMode"),
];

pub(crate) const CLAIM: &[Column] = &[
    NAME,
    column("Status", "string"),
    column("Volume", "string"),
    column("Capacity", "string"),
    column("Access Modes", "string"),
    column("StorageClass", "string"),
    column("VolumeAttributesClass", "string"),
    AGE,
    wide("VolumeMode"),
];

/// Access modes in short: `RWO,ROX`.
fn modes(object: &Value, pointer: &str) -> Value {
    let short = |mode: &Value| match mode.as_str().unwrap_or_default() {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        _ => "RWOP",
    };
    json!(items(object, pointer).iter().map(short).collect::<Vec<_>>().join(","))
}

fn check_modes(spec: &Value, path: &Path) -> Errors {
    const KNOWN: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    let given = items(spec, "/accessModes");
    if given.is_empty() {
        return vec![Error::required(path, "at least 1 access mode is required")];
    }
    let unknown = given.iter().filter(|mode| !KNOWN.contains(&mode.as_str().unwrap_or_default()));
    unknown.map(|mode| Error::not_supported(path, mode.clone(), &KNOWN)).collect()
}

/// What is wrong with what a claim asks for.
pub(crate) fn check_claim(spec: &Value, path: &Path) -> Errors {
    let modes = path.child("accessModes");
    let mut errors = check_modes(spec, &modes);
    let alone = items(spec, "/accessModes").iter().any(|mode| mode == "ReadWriteOncePod");
    if alone && items(spec, "/accessModes").iter().any(|mode| mode != "ReadWriteOncePod") {
        errors.push(Error::forbidden(&modes, "may not use ReadWriteOncePod with other access modes"));
    }
    let storage = path.child("resources").key("storage");
    match spec.pointer("/resources/requests/storage").and_then(Value::as_str) {
        None => errors.push(Error::required(&storage, "")),
        Some(size) if size.parse::<Quantity>().is_ok_and(|size| size.is_zero() || size.is_negative()) => {
            errors.push(Error::invalid(&storage, size, "must be greater than zero"));
        }
        Some(_) => {}
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        let name = text(spec, &format!("/{field}"));
        if !name.is_empty() {
            let wrong = meta::names::subdomain(name);
            errors.extend(wrong.iter().map(|rule| Error::invalid(&path.child(field), name, rule)));
        }
    }
    let mode = text(spec, "/volumeMode");
    if !matches!(mode, "" | "Block" | "Filesystem") {
        errors.push(Error::not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]));
    }
    errors
}

fn phase_or_terminating(object: &Value) -> Value {
    let terminating = !text(object, "/metadata/deletionTimestamp").is_empty();
    if terminating { "Terminating".into() } else { cell(object, "/status/phase", "") }
}

pub(crate) struct Volume;

impl Rules for Volume {
    fn default(&self, object: &mut Value) {
        let spec = field::child(object, "spec");
        field::default(spec, "persistentVolumeReclaimPolicy", "Retain");
        field::default(spec, "volumeMode", "Filesystem");
        if let Some(source) = spec.get_mut("hostPath") {
            field::default(source, "type", "");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"phase": "Pending"});
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let spec = Path::new("spec");
        let mut errors = check_modes(&object["spec"], &spec.child("accessModes"));
        if object.pointer("/spec/capacity/storage").is_none() {
            errors.push(Error::required(&spec.child("capacity"), ""));
        }
        const NO_SOURCE: [&str; 10] = [
            "accessModes",
            "capacity",
            "claimRef",
            "mountOptions",
            "nodeAffinity",
            "persistentVolumeReclaimPolicy",
            "storageClassName",
            "volumeMode",
            "volumeAttributesClassName",
            "status",
        ];
        if !field::fields(&object["spec"]).any(|(name, _)| !NO_SOURCE.contains(&name.as_str())) {
            errors.push(Error::required(&spec, "must specify a volume type"));
        }
        errors
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["name"]
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        vec![("name".to_owned(), text(object, "/metadata/name").to_owned())]
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let claim = match text(object, "/spec/claimRef/name") {
            "" => String::new(),
            claim => format!("{}/{claim}", text(object, "/spec/claimRef/namespace")),
        };
        vec![
            name(object),
            cell(object, "/spec/capacity/storage", ""),
            modes(object, "/spec/accessModes"),
            cell(object, "/spec/persistentVolumeReclaimPolicy", ""),
            phase_or_terminating(object),
            claim.into(),
            cell(object, "/spec/storageClassName", ""),
            cell(object, "/spec/volumeAttributesClassName", "<unset>"),
            cell(object, "/status/reason", ""),
            age::of(object, now),
            cell(object, "/spec/volumeMode", "<unset>"),
        ]
    }
}

pub(crate) struct Claim;

impl Rules for Claim {
    fn default(&self, object: &mut Value) {
        field::default(field::child(object, "spec"), "volumeMode", "Filesystem");
        field::default(field::child(object, "status"), "phase", "Pending");
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"phase": "Pending"});
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        check_claim(&object["spec"], &Path::new("spec"))
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        keep_other_part(new, old, part);
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        let bare = |object: &Value| {
            let mut spec = object["spec"].clone();
            for name in ["resources", "volumeName", "storageClassName", "volumeAttributesClassName"] {
                field::remove(&mut spec, name);
            }
            spec
        };
        if part == Part::Main && bare(new) != bare(old) {
            let detail = "spec is immutable after creation except resources.requests and volumeAttributesClassName for \
                          bound claims";
            errors.push(Error::forbidden(&Path::new("spec"), detail));
        }
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let bound = !text(object, "/spec/volumeName").is_empty();
        let capacity = if bound { cell(object, "/status/capacity/storage", "") } else { "".into() };
        let access = if bound { modes(object, "/status/accessModes") } else { "".into() };
        vec![
            name(object),
            phase_or_terminating(object),
            cell(object, "/spec/volumeName", ""),
            capacity,
            access,
            cell(object, "/spec/storageClassName", ""),
            cell(object, "/spec/volumeAttributesClassName", "<unset>"),
            age::of(object, now),
            cell(object, "/spec/volumeMode", "<unset>"),
        ]
    }
}
