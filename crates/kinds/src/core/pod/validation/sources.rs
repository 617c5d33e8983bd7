//! Volumes that somebody else keeps: what each needs to be found.

use meta::field::{Error, Path};
use meta::names;
use serde_json::Value;

use super::{Check, has};
use crate::field::{items, text};

/// The fields that a source must have, where that is all there is to check.
fn needed(kind: &str) -> &'static [&'static str] {
    match kind {
        "gitRepo" => &["repository"],
        "gcePersistentDisk" => &["pdName"],
        "awsElasticBlockStore" | "cinder" | "portworxVolume" => &["volumeID"],
        "nfs" => &["server", "path"],
        "iscsi" => &["targetPortal", "iqn"],
        "glusterfs" => &["endpoints", "path"],
        "persistentVolumeClaim" => &["claimName"],
        "flexVolume" => &["driver"],
        "azureFile" => &["secretName", "shareName"],
        "azureDisk" => &["diskName", "diskURI"],
        "vsphereVolume" => &["volumePath"],
        "photonPersistentDisk" => &["pdID"],
        "storageos" => &["volumeName"],
        "scaleIO" => &["gateway", "system", "volumeName"],
        "csi" => &["driver"],
        "image" => &["reference"],
        _ => &[],
    }
}

impl Check<'_> {
    pub(super) fn foreign(&mut self, kind: &str, source: &Value, path: &Path) {
        // Compat: upstream has another name for this one in its errors.
        let renamed =
            path.as_str().strip_suffix("gcePersistentDisk").map(|head| Path::new(&format!("{head}persistentDisk")));
        let path = renamed.as_ref().unwrap_or(path);
        let mut sound = true;
        for field in needed(kind) {
            sound &= self.require(source, field, path);
        }
        match kind {
            "nfs" if !text(source, "/path").starts_with('/') => {
                self.say(Error::invalid(&path.child("path"), text(source, "/path"), "must be an absolute path"));
            }
            "rbd" | "cephfs" => {
                if items(source, "/monitors").is_empty() {
                    self.say(Error::required(&path.child("monitors"), ""));
                }
                if kind == "rbd" {
                    self.require(source, "image", path);
                }
            }
            "gitRepo" => self.descending(text(source, "/directory"), &path.child("directory")),
            "csi" => self.csi(source, sound, path),
            "image" => {
                let policies = ["Always", "IfNotPresent", "Never"];
                self.optional(text(source, "/pullPolicy"), &path.child("pullPolicy"), &policies);
            }
            "azureDisk" => self.azure_disk(source, path),
            "fc" => self.fibre_channel(source, path),
            "quobyte" => self.quobyte(source, path),
            "flocker" => self.flocker(source, path),
            _ => {}
        }
    }

    fn csi(&mut self, source: &Value, named: bool, path: &Path) {
        let driver = text(source, "/driver");
        if named {
            let at = path.child("driver");
            if driver.len() > 63 {
                self.say(Error::too_long(&at, 63));
            }
            self.rules(&at, driver, names::subdomain(&driver.to_lowercase()));
        }
        if has(source, "nodePublishSecretRef") {
            self.require(&source["nodePublishSecretRef"], "name", &path.child("nodePublishSecretRef"));
        }
    }

    fn azure_disk(&mut self, source: &Value, path: &Path) {
        let (uri, kind) = (text(source, "/diskURI"), text(source, "/kind"));
        let managed = kind == "Managed";
        let prefix = if managed { "/subscriptions/" } else { "https://" };
        if !uri.starts_with(prefix) {
            let known = if managed {
                "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
            } else {
                "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
            };
            self.say(Error::not_supported(&path.child("diskURI"), uri, &[known]));
        }
    }

    fn fibre_channel(&mut self, source: &Value, path: &Path) {
        let names = !items(source, "/targetWWNs").is_empty();
        let ids = !items(source, "/wwids").is_empty();
        let why = "must specify either targetWWNs or wwids, but not both";
        match (names, ids) {
            (false, false) => self.say(Error::required(&path.child("targetWWNs"), why)),
            (true, true) => {
                self.say(Error::invalid(&path.child("targetWWNs"), source["targetWWNs"].clone(), why));
            }
            (true, false) if !has(source, "lun") => {
                self.say(Error::required(&path.child("lun"), "lun is required if targetWWNs is specified"));
            }
            (true | false, _) => {}
        }
    }

    fn quobyte(&mut self, source: &Value, path: &Path) {
        let registry = text(source, "/registry");
        let why = "must be a host:port pair or multiple pairs separated by commas";
        if registry.is_empty() {
            self.say(Error::required(&path.child("registry"), why));
        } else if registry.split(',').any(|pair| !pair.contains(':')) {
            self.say(Error::invalid(&path.child("registry"), registry, why));
        }
        self.require(source, "volume", path);
    }

    fn flocker(&mut self, source: &Value, path: &Path) {
        let (name, id) = (text(source, "/datasetName"), text(source, "/datasetUUID"));
        if name.is_empty() && id.is_empty() {
            self.say(Error::required(path, "one of datasetName and datasetUUID is required"));
        }
        if !name.is_empty() && !id.is_empty() {
            let why = "datasetName and datasetUUID can not be specified simultaneously";
            self.say(Error::invalid(path, "resource", why));
        }
        if name.contains('/') {
            self.say(Error::invalid(&path.child("datasetName"), name, "must not contain '/'"));
        }
    }
}
