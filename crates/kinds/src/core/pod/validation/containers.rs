//! Containers of the three sorts.

use std::collections::BTreeSet;

use meta::field::{Error, Path};
use meta::names;
use serde_json::Value;

use super::{Check, Volumes, given, has};
use crate::field::{items, number, text};

/// What an ephemeral container may have.
const OF_EPHEMERAL: &[&str] = &[
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "name",
    "securityContext",
    "stdin",
    "stdinOnce",
    "targetContainerName",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
    "volumeMounts",
    "workingDir",
];

impl Check<'_> {
    pub(super) fn containers(&mut self, spec: &Value, path: &Path, volumes: &Volumes<'_>) {
        let mut seen = BTreeSet::new();
        let at = path.child("containers");
        if items(spec, "/containers").is_empty() {
            self.say(Error::required(&at, ""));
        }
        for (index, container) in items(spec, "/containers").iter().enumerate() {
            let at = at.index(index);
            self.container(container, &at, volumes, spec);
            self.named_once(container, &at, &mut seen);
            self.lifecycle(container, spec, &at);
            self.probes(container, spec, &at);
            self.restart_policy(container, &at);
        }
        self.host_ports(items(spec, "/containers"), &at);
        let at = path.child("initContainers");
        for (index, container) in items(spec, "/initContainers").iter().enumerate() {
            self.init_container(container, &at.index(index), volumes, spec);
            self.named_once(container, &at.index(index), &mut seen);
            self.host_ports(std::slice::from_ref(container), &at);
            self.beside_init(container, &at.index(index), spec);
        }
        let others = seen.clone();
        let at = path.child("ephemeralContainers");
        for (index, container) in items(spec, "/ephemeralContainers").iter().enumerate() {
            let at = at.index(index);
            self.container(container, &at, volumes, spec);
            self.trimmed(container, &at);
            self.named_once(container, &at, &mut seen);
            self.ephemeral(container, &at, &others);
        }
    }

    fn named_once(&mut self, container: &Value, path: &Path, seen: &mut BTreeSet<String>) {
        let name = text(container, "/name");
        if !name.is_empty() && !seen.insert(name.to_owned()) {
            self.say(Error::duplicate(&path.child("name"), name));
        }
    }

    fn container(&mut self, container: &Value, path: &Path, volumes: &Volumes<'_>, spec: &Value) {
        if self.require(container, "name", path) {
            let name = text(container, "/name");
            self.rules(&path.child("name"), name, names::label(name));
        }
        self.require(container, "image", path);
        let policies = ["File", "FallbackToLogsOnError"];
        let policy = text(container, "/terminationMessagePolicy");
        self.one_as_listed(policy, &path.child("terminationMessagePolicy"), &policies);
        self.ports(container, &path.child("ports"));
        self.env(container, &path.child("env"));
        self.env_from(container, &path.child("envFrom"));
        self.mounts(container, &path.child("volumeMounts"), volumes);
        self.devices(container, &path.child("volumeDevices"), volumes);
        let policies = ["Always", "IfNotPresent", "Never"];
        self.one_of(text(container, "/imagePullPolicy"), &path.child("imagePullPolicy"), &policies);
        self.resources(container, spec, &path.child("resources"));
        self.resize_policy(container, spec, &path.child("resizePolicy"));
        self.security(container, spec, &path.child("securityContext"));
    }

    fn init_container(&mut self, container: &Value, path: &Path, volumes: &Volumes<'_>, spec: &Value) {
        self.container(container, path, volumes, spec);
        self.restart_policy(container, path);
    }

    /// What only init containers that go on beside the others may have.
    fn beside_init(&mut self, container: &Value, path: &Path, spec: &Value) {
        if text(container, "/restartPolicy") == "Always" {
            self.lifecycle(container, spec, path);
            self.probes(container, spec, path);
            return;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if has(container, field) {
                let why = "may not be set for init containers without restartPolicy=Always";
                self.say(Error::forbidden(&path.child(field), why));
            }
        }
        for (index, policy) in items(container, "/resizePolicy").iter().enumerate() {
            if text(policy, "/restartPolicy") == "RestartContainer" {
                let at = path.child("resizePolicy").index(index).child("restartPolicy");
                let why = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                self.say(Error::invalid(&at, "RestartContainer", why));
            }
        }
    }

    fn ephemeral(&mut self, container: &Value, path: &Path, others: &BTreeSet<String>) {
        let target = text(container, "/targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            self.say(Error::not_found(&path.child("targetContainerName"), target));
        }
        const WHY: &str = "cannot be set for an Ephemeral Container";
        for field in given(container).filter(|field| !OF_EPHEMERAL.contains(&field.as_str())) {
            let empty = container[field].as_object().is_some_and(serde_json::Map::is_empty)
                || container[field].as_array().is_some_and(Vec::is_empty);
            if !empty {
                self.say(Error::forbidden(&path.child(field), WHY));
            }
        }
        for (index, mount) in items(container, "/volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !text(mount, &format!("/{field}")).is_empty() {
                    self.say(Error::forbidden(&path.child("volumeMounts").index(index).child(field), WHY));
                }
            }
        }
    }

    fn ports(&mut self, container: &Value, path: &Path) {
        let mut seen = BTreeSet::new();
        for (index, port) in items(container, "/ports").iter().enumerate() {
            let at = path.index(index);
            let name = text(port, "/name");
            if !name.is_empty() {
                let wrong = names::port_name(name);
                if wrong.is_empty() && !seen.insert(name) {
                    self.say(Error::duplicate(&at.child("name"), name));
                }
                self.rules(&at.child("name"), name, wrong);
            }
            match number(port, "/containerPort") {
                None | Some(0) => self.say(Error::required(&at.child("containerPort"), "")),
                Some(number) => self.port(number, &at.child("containerPort")),
            }
            if let Some(host) = number(port, "/hostPort").filter(|host| *host != 0) {
                self.port(host, &at.child("hostPort"));
            }
            self.one_of(text(port, "/protocol"), &at.child("protocol"), &["SCTP", "TCP", "UDP"]);
        }
    }

    /// No two containers that run at once may take the same port of the host.
    fn host_ports(&mut self, containers: &[Value], path: &Path) {
        let mut seen = BTreeSet::new();
        for (index, container) in containers.iter().enumerate() {
            for (port_index, port) in items(container, "/ports").iter().enumerate() {
                let Some(host) = number(port, "/hostPort").filter(|host| *host != 0) else { continue };
                let taken = format!("{}/{}/{host}", text(port, "/protocol"), text(port, "/hostIP"));
                if !seen.insert(taken.clone()) {
                    let at = path.index(index).child("ports").index(port_index).child("hostPort");
                    self.say(Error::duplicate(&at, taken));
                }
            }
        }
    }

    fn restart_policy(&mut self, container: &Value, path: &Path) {
        let rules = items(container, "/restartPolicyRules");
        match container.get("restartPolicy").and_then(Value::as_str) {
            None if rules.is_empty() => return,
            None => {
                let why = "must specify restartPolicy when restart rules are used";
                self.say(Error::required(&path.child("restartPolicy"), why));
            }
            Some(policy) => {
                let policies = ["Always", "Never", "OnFailure"];
                if !policies.contains(&policy) {
                    self.say(Error::not_supported(&path.child("restartPolicy"), policy, &policies));
                }
            }
        }
        let path = path.child("restartPolicyRules");
        if rules.len() > 20 {
            self.say(Error::too_many(&path, rules.len(), 20));
        }
        for (index, rule) in rules.iter().enumerate() {
            let at = path.index(index);
            let (action, actions) = (text(rule, "/action"), ["Restart", "RestartAllContainers"]);
            if !actions.contains(&action) {
                self.say(Error::not_supported(&at.child("action"), action, &actions));
            }
            if !has(rule, "exitCodes") {
                self.say(Error::required(&at.child("exitCodes"), "must be specified"));
                continue;
            }
            let (operator, operators) = (text(rule, "/exitCodes/operator"), ["In", "NotIn"]);
            if !operators.contains(&operator) {
                self.say(Error::not_supported(&at.child("exitCodes").child("operator"), operator, &operators));
            }
            let count = items(rule, "/exitCodes/values").len();
            if count > 255 {
                self.say(Error::too_many(&at.child("exitCodes").child("values"), count, 255));
            }
        }
    }

    fn resize_policy(&mut self, container: &Value, spec: &Value, path: &Path) {
        let mut seen = BTreeSet::new();
        for (index, policy) in items(container, "/resizePolicy").iter().enumerate() {
            let (name, restart) = (text(policy, "/resourceName"), text(policy, "/restartPolicy"));
            if !seen.insert(name) {
                self.say(Error::duplicate(&path.index(index), name));
            }
            self.one_of(name, path, &["cpu", "memory"]);
            self.one_of(restart, path, &["NotRequired", "RestartContainer"]);
            if text(spec, "/restartPolicy") == "Never" && restart != "NotRequired" {
                let why = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
                self.say(Error::invalid(path, restart, why));
            }
        }
    }
}
