//! As whom containers run, and what confines them.

use std::collections::BTreeSet;

use meta::field::{Error, Path};
use meta::names;
use serde_json::{Value, json};

use super::{Check, has};
use crate::field::{items, text};

/// Compat: errors show a context as upstream's own type has it: every field, in its order.
fn shown(context: &Value) -> Value {
    const FIELDS: [(&str, &str); 12] = [
        ("Capabilities", "capabilities"),
        ("Privileged", "privileged"),
        ("SELinuxOptions", "seLinuxOptions"),
        ("WindowsOptions", "windowsOptions"),
        ("RunAsUser", "runAsUser"),
        ("RunAsGroup", "runAsGroup"),
        ("RunAsNonRoot", "runAsNonRoot"),
        ("ReadOnlyRootFilesystem", "readOnlyRootFilesystem"),
        ("AllowPrivilegeEscalation", "allowPrivilegeEscalation"),
        ("ProcMount", "procMount"),
        ("SeccompProfile", "seccompProfile"),
        ("AppArmorProfile", "appArmorProfile"),
    ];
    let mut map = serde_json::Map::new();
    for (name, field) in FIELDS {
        map.insert(name.to_owned(), context.get(field).cloned().unwrap_or_default());
    }
    if has(context, "capabilities") {
        let own = &context["capabilities"];
        map["Capabilities"] = json!({"Add": own.get("add"), "Drop": own.get("drop")});
    }
    Value::Object(map)
}

impl Check<'_> {
    pub(super) fn security(&mut self, container: &Value, spec: &Value, path: &Path) {
        let context = &container["securityContext"];
        if context.is_null() {
            return;
        }
        let privileged = context["privileged"] == true;
        if privileged && !self.settings.allow_privileged {
            self.say(Error::forbidden(&path.child("privileged"), "disallowed by cluster policy"));
        }
        self.id(context, "runAsUser", path);
        self.id(context, "runAsGroup", path);
        let (mount, at) = (text(context, "/procMount"), path.child("procMount"));
        self.optional(mount, &at, &["Default", "Unmasked"]);
        if mount == "Unmasked" && spec["hostUsers"] != false {
            self.say(Error::invalid(&at, mount, "`hostUsers` must be false to use `Unmasked`"));
        }
        self.seccomp(context, &path.child("seccompProfile"));
        if context["allowPrivilegeEscalation"] == false {
            let refuse = |what: &str| {
                let why = format!("cannot set `allowPrivilegeEscalation` to false and {what}");
                Error::invalid(path, shown(context), &why)
            };
            if privileged {
                self.say(refuse("`privileged` to true"));
            }
            if items(context, "/capabilities/add").iter().any(|name| name == "CAP_SYS_ADMIN") {
                self.say(refuse("`capabilities.Add` CAP_SYS_ADMIN"));
            }
        }
        self.windows(context, &path.child("windowsOptions"));
        self.app_armor(context, &path.child("appArmorProfile"));
    }

    pub(super) fn pod_security(&mut self, spec: &Value, path: &Path) {
        let context = &spec["securityContext"];
        for field in ["fsGroup", "runAsUser", "runAsGroup"] {
            self.id(context, field, path);
        }
        for (index, group) in items(context, "/supplementalGroups").iter().enumerate() {
            let id = group.as_i64().unwrap_or(0);
            if !(0..=i64::from(i32::MAX)).contains(&id) {
                let at = path.child("supplementalGroups").index(index);
                self.say(Error::invalid(&at, id, "must be between 0 and 2147483647, inclusive"));
            }
        }
        if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
            let why = "ShareProcessNamespace and HostPID cannot both be enabled";
            self.say(Error::invalid(&path.child("shareProcessNamespace"), true, why));
        }
        self.sysctls(spec, &path.child("sysctls"));
        let policy = |name: &str| text(context, &format!("/{name}")).to_owned();
        self.optional(
            &policy("fsGroupChangePolicy"),
            &path.child("fsGroupChangePolicy"),
            &["Always", "OnRootMismatch"],
        );
        self.seccomp(context, &path.child("seccompProfile"));
        self.windows(context, &path.child("windowsOptions"));
        self.app_armor(context, &path.child("appArmorProfile"));
        let at = path.child("supplementalGroupsPolicy");
        self.optional(&policy("supplementalGroupsPolicy"), &at, &["Merge", "Strict"]);
        self.optional(&policy("seLinuxChangePolicy"), &path.child("seLinuxChangePolicy"), &["Recursive"]);
    }

    fn seccomp(&mut self, context: &Value, path: &Path) {
        let profile = &context["seccompProfile"];
        if profile.is_null() {
            return;
        }
        let (kind, at) = (text(profile, "/type"), path.child("type"));
        if kind.is_empty() {
            self.say(Error::required(&at, "type is required when seccompProfile is set"));
        } else {
            self.one_of(kind, &at, &["Localhost", "RuntimeDefault", "Unconfined"]);
        }
        let (local, at) = (profile.get("localhostProfile").and_then(Value::as_str), path.child("localhostProfile"));
        match (kind, local) {
            ("Localhost", None) => self.say(Error::required(&at, "must be set when seccomp type is Localhost")),
            ("Localhost", Some(local)) => self.descending(local, &at),
            (_, Some(local)) => {
                let shown = json!({"Type": kind, "LocalhostProfile": local});
                self.say(Error::invalid(&at, shown, "can only be set when seccomp type is Localhost"));
            }
            (_, None) => {}
        }
    }

    fn app_armor(&mut self, context: &Value, path: &Path) {
        let profile = &context["appArmorProfile"];
        if profile.is_null() {
            return;
        }
        let (kind, at) = (text(profile, "/type"), path.child("type"));
        if kind.is_empty() {
            self.say(Error::required(&at, "type is required when appArmorProfile is set"));
        } else {
            self.one_of(kind, &at, &["Localhost", "RuntimeDefault", "Unconfined"]);
        }
        let (local, at) = (profile.get("localhostProfile").and_then(Value::as_str), path.child("localhostProfile"));
        match (kind, local) {
            ("Localhost", None) => self.say(Error::required(&at, "must be set when AppArmor type is Localhost")),
            ("Localhost", Some(local)) if local.trim().is_empty() => {
                self.say(Error::required(&at, "must be set when AppArmor type is Localhost"));
            }
            ("Localhost", Some(local)) if local.trim() != local => {
                self.say(Error::invalid(&at, local, "must not be padded with whitespace"));
            }
            ("Localhost", Some(local)) if local.len() > 4095 => self.say(Error::too_long(&at, 4095)),
            ("Localhost", Some(_)) | (_, None) => {}
            (_, Some(local)) => {
                self.say(Error::invalid(&at, local, "can only be set when AppArmor type is Localhost"));
            }
        }
    }

    fn windows(&mut self, context: &Value, path: &Path) {
        let name = text(context, "/windowsOptions/gmsaCredentialSpecName");
        if !name.is_empty() {
            self.rules(&path.child("gmsaCredentialSpecName"), name, names::subdomain(name));
        }
    }

    fn sysctls(&mut self, spec: &Value, path: &Path) {
        let mut seen = BTreeSet::new();
        for (index, sysctl) in items(spec, "/securityContext/sysctls").iter().enumerate() {
            let at = path.index(index).child("name");
            let name = text(sysctl, "/name");
            if name.is_empty() {
                self.say(Error::required(&at, ""));
            } else if !is_sysctl(name) {
                let detail = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
                self.say(Error::invalid(&at, name, detail));
            } else if !seen.insert(name) {
                self.say(Error::duplicate(&at, name));
            }
            let dotted = name.replace('/', ".");
            let of_ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|own| dotted.starts_with(own))
                || dotted == "kernel.sem";
            if spec["hostNetwork"] == true && dotted.starts_with("net.") {
                self.say(Error::invalid(&at, name, "may not be specified when 'hostNetwork' is true"));
            } else if spec["hostIPC"] == true && of_ipc {
                self.say(Error::invalid(&at, name, "may not be specified when 'hostIPC' is true"));
            }
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let part = |part: &str| {
        let bytes = part.as_bytes();
        bytes.first().copied().is_some_and(edge)
            && bytes.last().copied().is_some_and(edge)
            && bytes.iter().all(|byte| edge(*byte) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split(['.', '/']).all(part)
}
