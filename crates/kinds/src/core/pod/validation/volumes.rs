//! Volumes: their names, and that each has one source.

use std::collections::BTreeSet;

use meta::field::{Error, Path};
use meta::names;
use serde_json::Value;

use super::{Check, Volumes, has};
use crate::field::{items, number, text};

const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// The fields that a file may tell.
const FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// The sources in the order in which upstream looks at them: of two, the later one is too many.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

impl Check<'_> {
    /// Checks volumes, and gives those that are in order.
    pub(super) fn volumes<'v>(&mut self, spec: &'v Value, path: &Path) -> Volumes<'v> {
        let mut sound = Volumes::new();
        for (index, volume) in items(spec, "/volumes").iter().enumerate() {
            let at = path.index(index);
            let before = self.errors.len();
            self.source(volume, &at);
            let name = text(volume, "/name");
            if self.require(volume, "name", &at) {
                self.rules(&at.child("name"), name, names::label(name));
            }
            if sound.contains_key(name) {
                self.say(Error::duplicate(&at.child("name"), name));
            }
            if self.errors.len() == before {
                sound.insert(name, volume);
            }
        }
        sound
    }

    fn source(&mut self, volume: &Value, path: &Path) {
        let mut given = SOURCES.iter().filter(|source| has(volume, source));
        match given.next() {
            None => self.say(Error::required(path, "must specify a volume type")),
            Some(source) => self.checked_source(source, &volume[*source], &path.child(source)),
        }
        for extra in given {
            self.say(Error::forbidden(&path.child(extra), "may not specify more than 1 volume type"));
        }
    }

    pub(super) fn checked_source(&mut self, kind: &str, source: &Value, path: &Path) {
        match kind {
            "emptyDir" if text(source, "/sizeLimit").starts_with('-') => {
                let why = "SizeLimit field must be a valid resource quantity";
                self.say(Error::forbidden(&path.child("sizeLimit"), why));
            }
            "hostPath" => self.host_path(source, path),
            "configMap" | "secret" => {
                self.require(source, if kind == "secret" { "secretName" } else { "name" }, path);
                self.mode(source, "defaultMode", path);
                self.keys(source, path);
            }
            "downwardAPI" => {
                self.mode(source, "defaultMode", path);
                // Compat: upstream leaves the file's index out.
                for file in items(source, "/items") {
                    self.told_file(file, path);
                }
            }
            "projected" => {
                self.mode(source, "defaultMode", path);
                self.projected(source, path);
            }
            "ephemeral" if !has(source, "volumeClaimTemplate") => {
                self.say(Error::required(&path.child("volumeClaimTemplate"), ""));
            }
            "ephemeral" => {
                let at = path.child("volumeClaimTemplate").child("spec");
                self.errors.extend(crate::core::volume::check_claim(&source["volumeClaimTemplate"]["spec"], &at));
            }
            other => self.foreign(other, source, path),
        }
    }

    fn host_path(&mut self, source: &Value, path: &Path) {
        const TYPES: [&str; 8] =
            ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
        if !self.require(source, "path", path) {
            return;
        }
        self.without_backsteps(text(source, "/path"), &path.child("path"));
        let kind = text(source, "/type");
        if !TYPES.contains(&kind) {
            self.say(Error::not_supported(&path.child("type"), kind, &TYPES));
        }
    }

    fn mode(&mut self, object: &Value, field: &str, path: &Path) {
        if let Some(mode) = number(object, &format!("/{field}")).filter(|mode| !(0..=0o777).contains(mode)) {
            self.say(Error::invalid(&path.child(field), mode, MODE));
        }
    }

    /// Where keys are put.
    fn keys(&mut self, source: &Value, path: &Path) {
        for (index, item) in items(source, "/items").iter().enumerate() {
            let at = path.child("items").index(index);
            self.require(item, "key", &at);
            self.require(item, "path", &at);
            self.unreserved(text(item, "/path"), &at.child("path"));
            self.mode(item, "mode", &at);
        }
    }

    /// A file that tells of the pod or of a container.
    fn told_file(&mut self, file: &Value, path: &Path) {
        self.require(file, "path", path);
        self.unreserved(text(file, "/path"), &path.child("path"));
        if has(file, "fieldRef") {
            self.field_ref(&file["fieldRef"], FIELDS, &path.child("fieldRef"));
            if has(file, "resourceFieldRef") {
                let why = "fieldRef and resourceFieldRef can not be specified simultaneously";
                self.say(Error::invalid(path, "resource", why));
            }
        } else if has(file, "resourceFieldRef") {
            let at = path.child("resourceFieldRef");
            if self.require(&file["resourceFieldRef"], "containerName", &at) {
                self.resource_ref(&file["resourceFieldRef"], &at);
            }
        } else {
            self.say(Error::required(path, "one of fieldRef and resourceFieldRef is required"));
        }
        self.mode(file, "mode", path);
    }

    fn projected(&mut self, projection: &Value, path: &Path) {
        let mut paths = BTreeSet::new();
        for (index, source) in items(projection, "/sources").iter().enumerate() {
            let at = path.child("sources").index(index);
            let kinds = ["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle"];
            let given: Vec<&str> = kinds.into_iter().filter(|kind| has(source, kind)).collect();
            for kind in &given {
                let (own, at) = (&source[*kind], at.child(kind));
                match *kind {
                    "secret" | "configMap" => {
                        self.require(own, "name", &at);
                        self.keys(own, &at);
                        self.distinct(own, text(own, "/name"), path, &mut paths);
                    }
                    "downwardAPI" => {
                        items(own, "/items").iter().for_each(|file| self.told_file(file, &at));
                        self.distinct(own, "", path, &mut paths);
                    }
                    "serviceAccountToken" => self.token(own, &at, path),
                    _ => {}
                }
            }
            if given.len() > 1 {
                self.say(Error::forbidden(&at, "may not specify more than 1 volume type per source"));
            }
        }
    }

    /// No two files of a projection may have the same path; the error shows `whose`, or else the path.
    fn distinct(&mut self, source: &Value, whose: &str, path: &Path, paths: &mut BTreeSet<String>) {
        for item in items(source, "/items") {
            let own = text(item, "/path");
            if !own.is_empty() && !paths.insert(own.to_owned()) {
                let shown = if whose.is_empty() { own } else { whose };
                self.say(Error::invalid(path, shown, "conflicting duplicate paths"));
            }
        }
    }

    fn token(&mut self, token: &Value, path: &Path, volume: &Path) {
        let seconds = number(token, "/expirationSeconds").unwrap_or(3600);
        let at = path.child("expirationSeconds");
        if seconds < 600 {
            self.say(Error::invalid(&at, seconds, "may not specify a duration less than 10 minutes"));
        }
        if seconds > 1 << 32 {
            self.say(Error::invalid(&at, seconds, "may not specify a duration larger than 2^32 seconds"));
        }
        if self.require(token, "path", volume) {
            self.unreserved(text(token, "/path"), &volume.child("path"));
        }
    }
}
