//! Volumes that somebody else keeps: what each needs to be found.

use meta::field::{Error, Path};
use meta::names;
use serde_json::Value;

use super::{Check, has};
use crate::field::{items, number, text};

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
        "local" => &["path"],
        _ => &[],
    }
}

/// Whether it is a name of iSCSI: `iqn.2003-01.com.example:disk`, `eui.` with 16 signs or `naa.` with 32.
fn is_iscsi_name(name: &str) -> bool {
    let of_signs = |text: &str, count: usize| text.len() == count && text.chars().all(|c| c.is_ascii_alphanumeric());
    if let Some(rest) = name.strip_prefix("iqn.") {
        let Some((date, rest)) = rest.split_once('.') else { return false };
        let Some((year, month)) = date.split_once('-') else { return false };
        let Some((authority, own)) = rest.split_once(':') else { return false };
        let digits = |text: &str, count: usize| text.len() == count && text.chars().all(|c| c.is_ascii_digit());
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let fine = |c: char| !c.is_whitespace() && !",;*&$|".contains(c);
        let named = !authority.is_empty() && authority.chars().all(plain) && !own.is_empty() && own.chars().all(fine);
        return digits(year, 4) && digits(month, 2) && named;
    }
    match name.split_once('.') {
        Some(("eui", rest)) => of_signs(rest, 16),
        Some(("naa", rest)) => of_signs(rest, 32),
        _ => false,
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
            "iscsi" => self.iscsi(source, path),
            "local" if !text(source, "/path").is_empty() => {
                self.without_backsteps(text(source, "/path"), &path.child("path"));
            }
            "azureFile" if source["secretNamespace"] == "" => {
                self.say(Error::required(&path.child("secretNamespace"), ""));
            }
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

    fn iscsi(&mut self, source: &Value, path: &Path) {
        let mut name = |field: &str, at: &str| {
            let name = text(source, &format!("/{field}"));
            if !name.is_empty() && !is_iscsi_name(name) {
                self.say(Error::invalid(&path.child(at), name, "must be valid format"));
            }
        };
        name("iqn", "iqn");
        name("initiatorName", "initiatorname");
        if let Some(lun) = number(source, "/lun").filter(|lun| !(0..=255).contains(lun)) {
            self.say(Error::invalid(&path.child("lun"), lun, "must be between 0 and 255, inclusive"));
        }
        let asks = source["chapAuthDiscovery"] == true || source["chapAuthSession"] == true;
        if asks && !has(source, "secretRef") {
            self.say(Error::required(&path.child("secretRef"), ""));
        }
        if has(source, "secretRef") {
            self.require(&source["secretRef"], "name", &path.child("secretRef"));
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
