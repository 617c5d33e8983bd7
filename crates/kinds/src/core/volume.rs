//! PersistentVolume and PersistentVolumeClaim.

use meta::Quantity;
use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::age;
use crate::core::pod::{label_selector, node_selector, volume_source};
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

fn check_modes(spec: &Value, path: &Path, missing: &str) -> Errors {
    const KNOWN: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    let given = || items(spec, "/accessModes").iter().filter_map(Value::as_str);
    if given().next().is_none() {
        return vec![Error::required(path, missing)];
    }
    let unknown = given().filter(|mode| !KNOWN.contains(mode));
    let mut errors: Errors = unknown.map(|mode| Error::not_supported(path, mode, &KNOWN)).collect();
    let shared = given().any(|mode| mode != KNOWN[3] && KNOWN.contains(&mode));
    if shared && given().any(|mode| mode == KNOWN[3]) {
        errors.push(Error::forbidden(path, "may not use ReadWriteOncePod with other access modes"));
    }
    errors
}

/// What is wrong with what a claim asks for.
pub(crate) fn check_claim(spec: &Value, path: &Path) -> Errors {
    let modes = path.child("accessModes");
    let mut errors = check_modes(spec, &modes, "at least 1 access mode is required");
    errors.extend(label_selector(&spec["selector"], &path.child("selector")));
    let storage = path.child("resources").key("storage");
    match spec.pointer("/resources/requests/storage").and_then(Value::as_str) {
        None => errors.push(Error::required(&storage, "")),
        Some(size) if size.parse::<Quantity>().is_ok_and(|size| size.is_zero() || size.is_negative()) => {
            errors.push(Error::invalid(&storage, size, "must be greater than zero"));
        }
        Some(_) => {}
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        errors.extend(check_class(spec, field, path));
    }
    let mode = text(spec, "/volumeMode");
    if !matches!(mode, "" | "Block" | "Filesystem") {
        errors.push(Error::not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]));
    }
    errors.extend(check_data_sources(spec, path));
    errors
}

/// Where a claim's first content comes from.
fn check_data_sources(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in ["dataSource", "dataSourceRef"].into_iter().filter(|field| !spec[*field].is_null()) {
        let (source, at) = (&spec[field], path.child(field));
        for part in ["name", "kind"].into_iter().filter(|part| text(source, &format!("/{part}")).is_empty()) {
            errors.push(Error::required(&at.child(part), ""));
        }
        let group = text(source, "/apiGroup");
        if group.is_empty() {
            if text(source, "/kind") != "PersistentVolumeClaim" {
                let why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
                errors.push(Error::invalid(&at, text(source, "/kind"), why));
            }
        } else {
            errors.extend(
                meta::names::subdomain(group).iter().map(|rule| Error::invalid(&at.child("apiGroup"), group, rule)),
            );
        }
    }
    let both = !spec["dataSource"].is_null() && !spec["dataSourceRef"].is_null();
    let same = |part: &&str| spec["dataSource"][*part] == spec["dataSourceRef"][*part];
    if both && !["apiGroup", "kind", "name"].iter().all(same) {
        errors.push(Error::invalid(path, json!({}), "must match dataSourceRef"));
    }
    errors
}

/// Compat: both names of the first content's source say the same, where a client gives only one of them; the older one
/// knows two kinds.
fn normalize_data_sources(spec: &mut Value) {
    let known = |source: &Value| {
        let (group, kind) = (text(source, "/apiGroup"), text(source, "/kind"));
        matches!((group, kind), ("", "PersistentVolumeClaim") | ("snapshot.storage.k8s.io", "VolumeSnapshot"))
    };
    if !spec["dataSource"].is_null() && !known(&spec["dataSource"]) {
        field::remove(spec, "dataSource");
    }
    let (source, reference) = (spec["dataSource"].clone(), spec["dataSourceRef"].clone());
    if reference.is_null() && !source.is_null() {
        spec["dataSourceRef"] = source;
    } else if source.is_null() && !reference.is_null() && text(&reference, "/namespace").is_empty() {
        spec["dataSource"] = reference;
    }
}

/// The sources of volumes, in the order in which upstream looks at them.
const SOURCES: [&str; 22] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// What is wrong with a volume.
fn check_volume(spec: &Value, path: &Path) -> Errors {
    let mut errors = check_modes(spec, &path.child("accessModes"), "");
    errors.extend(check_capacity(spec, &path.child("capacity")));
    let policy = text(spec, "/persistentVolumeReclaimPolicy");
    let (at, known) = (path.child("persistentVolumeReclaimPolicy"), ["Delete", "Recycle", "Retain"]);
    if !policy.is_empty() && !known.contains(&policy) {
        errors.push(Error::not_supported(&at, policy, &known));
    }
    let affinity = path.child("nodeAffinity");
    if !spec["nodeAffinity"].is_null() {
        match &spec["nodeAffinity"]["required"] {
            Value::Null => {
                errors.push(Error::required(&affinity.child("required"), "must specify required node constraints"));
            }
            required => errors.extend(node_selector(required, &affinity.child("required"))),
        }
    }
    errors.extend(check_source(spec, path));
    if text(spec, "/hostPath/path").trim_end_matches('/').is_empty()
        && !spec["hostPath"].is_null()
        && policy == "Recycle"
    {
        errors.push(Error::forbidden(&at, "may not be 'recycle' for a hostPath mount of '/'"));
    }
    errors.extend(check_class(spec, "storageClassName", path));
    let mode = text(spec, "/volumeMode");
    if !matches!(mode, "" | "Block" | "Filesystem") {
        errors.push(Error::not_supported(&path.child("volumeMode"), mode, &["Block", "Filesystem"]));
    }
    if !spec["volumeAttributesClassName"].is_null() {
        if text(spec, "/volumeAttributesClassName").is_empty() {
            let at = path.child("volumeAttributesClassName");
            errors.push(Error::required(&at, "an empty string is disallowed"));
        }
        errors.extend(check_class(spec, "volumeAttributesClassName", path));
        if spec["csi"].is_null() {
            let why = "has to be specified when using volumeAttributesClassName";
            errors.push(Error::required(&path.child("csi"), why));
        }
    }
    errors
}

/// What is wrong with a volume within another object, which only drivers can provide.
pub(crate) fn check_inline(spec: &Value, path: &Path) -> Errors {
    const CONTEXT: &str = "in the context of inline volumes";
    let mut errors = Errors::new();
    for field in ["claimRef", "capacity"].into_iter().filter(|field| field::fields(&spec[*field]).next().is_some()) {
        errors.push(Error::forbidden(&path.child(field), &format!("may not be specified {CONTEXT}")));
    }
    if spec["csi"].is_null() {
        errors.push(Error::required(&path.child("csi"), &format!("has to be specified {CONTEXT}")));
    }
    errors.extend(check_modes(spec, &path.child("accessModes"), ""));
    if !matches!(text(spec, "/persistentVolumeReclaimPolicy"), "" | "Retain") {
        let at = path.child("persistentVolumeReclaimPolicy");
        errors.push(Error::forbidden(&at, &format!("may only be Retain {CONTEXT}")));
    }
    if !spec["nodeAffinity"].is_null() {
        errors.push(Error::forbidden(&path.child("nodeAffinity"), &format!("may not be specified {CONTEXT}")));
    }
    errors.extend(check_source(spec, path));
    if !text(spec, "/storageClassName").is_empty() {
        errors.push(Error::forbidden(&path.child("storageClassName"), &format!("may not be specified {CONTEXT}")));
    }
    if !matches!(text(spec, "/volumeMode"), "" | "Filesystem") {
        let why = format!("may not specify volumeMode other than Filesystem {CONTEXT}");
        errors.push(Error::forbidden(&path.child("volumeMode"), &why));
    }
    errors
}

fn check_capacity(spec: &Value, path: &Path) -> Errors {
    let capacity = &spec["capacity"];
    let count = field::fields(capacity).count();
    let mut errors = Errors::new();
    if count == 0 {
        errors.push(Error::required(path, ""));
    }
    if capacity["storage"].is_null() || count > 1 {
        errors.push(Error::not_supported(path, capacity.clone(), &["storage"]));
    }
    for (name, amount) in field::fields(capacity) {
        let at = path.key(name);
        let text = amount.as_str().unwrap_or_default();
        let Ok(amount) = text.parse::<Quantity>() else { continue };
        if amount.is_negative() || amount.is_zero() {
            errors.push(Error::invalid(&at, text, "must be greater than zero"));
        }
    }
    errors
}

fn check_source(spec: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut given = SOURCES.iter().filter(|kind| !spec[**kind].is_null());
    let Some(first) = given.next() else {
        return vec![Error::required(path, "must specify a volume type")];
    };
    let (source, at) = (&spec[*first], path.child(first));
    match *first {
        "csi" => errors.extend(check_driver(source, &at)),
        other => errors.extend(volume_source(other, source, &at)),
    }
    if *first == "local" && spec["nodeAffinity"].is_null() {
        errors.push(Error::required(&path.child("nodeAffinity"), "Local volume requires node affinity"));
    }
    errors.extend(given.map(|kind| Error::forbidden(&path.child(kind), "may not specify more than 1 volume type")));
    errors
}

fn check_driver(source: &Value, path: &Path) -> Errors {
    let mut errors = crate::storage::driver_name(text(source, "/driver"), &path.child("driver"));
    if text(source, "/volumeHandle").is_empty() {
        errors.push(Error::required(&path.child("volumeHandle"), ""));
    }
    for secret in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        let missing = |part: &&str| !source[secret].is_null() && text(&source[secret], &format!("/{part}")).is_empty();
        let at = path.child(secret);
        errors.extend(
            ["name", "namespace"].iter().filter(|part| missing(part)).map(|part| Error::required(&at.child(part), "")),
        );
    }
    errors
}

fn check_class(spec: &Value, field: &str, path: &Path) -> Errors {
    let name = text(spec, &format!("/{field}"));
    if name.is_empty() {
        return Errors::new();
    }
    meta::names::subdomain(name).iter().map(|rule| Error::invalid(&path.child(field), name, rule)).collect()
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
        let now = object["metadata"]["creationTimestamp"].clone();
        object["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
    }

    fn stamp_update(&self, new: &mut Value, old: &Value, now: &str) {
        let at = "lastPhaseTransitionTime";
        let untold = new["status"][at].is_null() || new["status"][at] == old["status"][at];
        if new["status"]["phase"] != old["status"]["phase"] && untold {
            new["status"][at] = json!(now);
        }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        check_volume(&object["spec"], &Path::new("spec"))
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        let (new, old) = (&new["spec"], &old["spec"]);
        let source = |spec: &Value| {
            let mut source: Vec<_> = SOURCES.iter().map(|kind| spec[*kind].clone()).collect();
            if let Some(driver) = source.last_mut().filter(|_| old["csi"]["controllerExpandSecretRef"].is_null()) {
                field::remove(driver, "controllerExpandSecretRef");
            }
            source
        };
        if source(new) != source(old) {
            let at = Path::new("spec").child("persistentvolumesource");
            errors.push(Error::forbidden(&at, "spec.persistentvolumesource is immutable after creation"));
        }
        if new["volumeMode"] != old["volumeMode"] {
            errors.push(Error::invalid(&Path::new("volumeMode"), new["volumeMode"].clone(), "field is immutable"));
        }
        let affinity = &old["nodeAffinity"];
        if !affinity.is_null() && *affinity != new["nodeAffinity"] {
            let why = "field is immutable, except for updating from beta label to GA";
            errors.push(Error::invalid(&Path::new("nodeAffinity"), new["nodeAffinity"].clone(), why));
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

/// What of a claim may change: its size and its class of attributes once it is bound, and its volume and storage class
/// where it has none yet.
fn claim_change(new: &Value, old: &Value) -> Errors {
    let path = Path::new("spec");
    let bound = text(new, "/status/phase") == "Bound";
    let bare = |object: &Value| {
        let mut spec = object["spec"].clone();
        let mut drop = |name: &str| field::remove(&mut spec, name);
        if text(old, "/spec/volumeName").is_empty() {
            drop("volumeName");
        }
        if old["spec"]["storageClassName"].is_null() {
            drop("storageClassName");
        }
        if bound {
            drop("volumeAttributesClassName");
            spec["resources"]["requests"]["storage"] = Value::Null;
        }
        spec
    };
    let mut errors = Errors::new();
    if bare(new) != bare(old) {
        let why =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(Error::forbidden(&path, why));
    }
    let size = |object: &Value, pointer: &str| text(object, pointer).parse::<Quantity>().unwrap_or(Quantity::units(0));
    let storage = "/spec/resources/requests/storage";
    if size(new, storage) < size(old, storage) && size(new, storage) <= size(old, "/status/capacity/storage") {
        let at = path.child("resources").child("requests").child("storage");
        errors.push(Error::forbidden(&at, "field can not be less than status.capacity"));
    }
    if new["spec"]["volumeMode"] != old["spec"]["volumeMode"] {
        errors.push(Error::invalid(&Path::new("volumeMode"), new["spec"]["volumeMode"].clone(), "field is immutable"));
    }
    errors
}

pub(crate) struct Claim;

impl Rules for Claim {
    fn default(&self, object: &mut Value) {
        field::default(field::child(object, "spec"), "volumeMode", "Filesystem");
        field::default(field::child(object, "status"), "phase", "Pending");
    }

    fn prepare_create(&self, object: &mut Value) {
        object["status"] = json!({"phase": "Pending"});
        normalize_data_sources(field::child(object, "spec"));
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        check_claim(&object["spec"], &Path::new("spec"))
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        keep_other_part(new, old, part);
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = self.validate(new, settings);
        if part == Part::Main {
            errors.extend(claim_change(new, old));
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
