//! Where containers have the pod's volumes.

use std::collections::BTreeSet;

use meta::field::{Error, Path};
use serde_json::Value;

use super::{Check, Volumes, has};
use crate::field::{items, text};

/// The names and places of a list of mounts or devices.
fn pairs<'a>(container: &'a Value, list: &str, place: &str) -> Vec<(&'a str, &'a str)> {
    let pair = |item: &'a Value| (text(item, "/name"), text(item, &format!("/{place}")));
    items(container, &format!("/{list}")).iter().map(pair).collect()
}

impl Check<'_> {
    pub(super) fn mounts(&mut self, container: &Value, path: &Path, volumes: &Volumes<'_>) {
        let devices = pairs(container, "volumeDevices", "devicePath");
        let mut seen = BTreeSet::new();
        for (index, mount) in items(container, "/volumeMounts").iter().enumerate() {
            let at = path.index(index);
            let (name, target) = (text(mount, "/name"), text(mount, "/mountPath"));
            self.require(mount, "name", &at);
            if !volumes.contains_key(name) {
                self.say(Error::not_found(&at.child("name"), name));
            }
            self.require(mount, "mountPath", &at);
            if !seen.insert(target) {
                self.say(Error::invalid(&at.child("mountPath"), target, "must be unique"));
            }
            if devices.iter().any(|(other, _)| *other == name) {
                self.say(Error::invalid(&at.child("name"), name, "must not already exist in volumeDevices"));
            }
            if devices.iter().any(|(_, other)| *other == target) {
                let why = "must not already exist as a path in volumeDevices";
                self.say(Error::invalid(&at.child("mountPath"), target, why));
            }
            self.sub_paths(mount, &at, path);
            self.propagation(mount, container, path);
        }
    }

    /// Compat: upstream leaves the index out of these paths.
    fn sub_paths(&mut self, mount: &Value, at: &Path, list: &Path) {
        let (plain, expression) = (text(mount, "/subPath"), text(mount, "/subPathExpr"));
        self.descending(plain, &list.child("subPath"));
        if !expression.is_empty() {
            if !plain.is_empty() {
                let why = "subPathExpr and subPath are mutually exclusive";
                self.say(Error::invalid(&at.child("subPathExpr"), expression, why));
            }
            self.descending(expression, &list.child("subPathExpr"));
        }
    }

    fn propagation(&mut self, mount: &Value, container: &Value, list: &Path) {
        let propagation = text(mount, "/mountPropagation");
        let at = list.child("mountPropagation");
        self.optional(propagation, &at, &["Bidirectional", "HostToContainer", "None"]);
        if propagation == "Bidirectional" && container["securityContext"]["privileged"] != true {
            let why = "Bidirectional mount propagation is available only to privileged containers";
            self.say(Error::forbidden(&at, why));
        }
        let at = list.child("recursiveReadOnly");
        match text(mount, "/recursiveReadOnly") {
            "" | "Disabled" => {}
            "Enabled" | "IfPossible" => {
                if mount["readOnly"] != true {
                    self.say(Error::forbidden(&at, "may only be specified when readOnly is true"));
                }
                if !matches!(propagation, "" | "None") {
                    let why = "may only be specified when mountPropagation is None or not specified";
                    self.say(Error::forbidden(&at, why));
                }
            }
            other => self.say(Error::not_supported(&at, other, &["Disabled", "Enabled", "IfPossible"])),
        }
    }

    pub(super) fn devices(&mut self, container: &Value, path: &Path, volumes: &Volumes<'_>) {
        let mounts = pairs(container, "volumeMounts", "mountPath");
        let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
        for (index, device) in items(container, "/volumeDevices").iter().enumerate() {
            let at = path.index(index);
            let (name, target) = (text(device, "/name"), text(device, "/devicePath"));
            self.require(device, "name", &at);
            if names.contains(name) {
                self.say(Error::invalid(&at.child("name"), name, "must be unique"));
            }
            match volumes.get(name) {
                None => self.say(Error::not_found(&at.child("name"), name)),
                Some(volume) if !has(volume, "persistentVolumeClaim") && !has(volume, "ephemeral") => {
                    let why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                    self.say(Error::invalid(&at.child("name"), name, why));
                }
                Some(_) => {}
            }
            self.require(device, "devicePath", &at);
            if places.contains(target) {
                self.say(Error::invalid(&at.child("devicePath"), target, "must be unique"));
            }
            if target.split('/').any(|part| part == "..") {
                self.say(Error::invalid(&at.child("devicePath"), target, "can not contain backsteps ('..')"));
            } else {
                places.insert(target);
            }
            if mounts.iter().any(|(other, _)| *other == name) {
                self.say(Error::invalid(&at.child("name"), name, "must not already exist in volumeMounts"));
            }
            if mounts.iter().any(|(_, other)| *other == target) {
                let why = "must not already exist as a path in volumeMounts";
                self.say(Error::invalid(&at.child("devicePath"), target, why));
            }
            if !name.is_empty() {
                names.insert(name);
            }
        }
    }
}
