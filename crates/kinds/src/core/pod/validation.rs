//! What is wrong with a pod.

use std::collections::BTreeSet;

use meta::Quantity;
use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use super::CONTAINERS;
use crate::field::{fields, items, number, text};
use crate::names;
use crate::resource::Settings;

/// Everything that is wrong.
pub(super) fn pod(pod: &Value, settings: &Settings) -> Errors {
    let mut check = Check { errors: Errors::new(), settings };
    let spec = &pod["spec"];
    check.spec(spec, &Path::new("spec"));
    check.errors
}

/// Everything that is wrong with a template of pods.
pub(crate) fn validate_template(template: &Value, path: &Path, settings: &Settings) -> Errors {
    let mut check = Check { errors: Errors::new(), settings };
    check.errors.extend(crate::metadata::labels(&template["metadata"]["labels"], &path.child("labels")));
    check.spec(&template["spec"], &path.child("spec"));
    check.errors
}

struct Check<'a> {
    errors: Errors,
    settings: &'a Settings,
}

impl Check<'_> {
    fn say(&mut self, error: Error) {
        self.errors.push(error);
    }

    fn one_of(&mut self, value: &str, path: &Path, supported: &[&str]) {
        if !supported.contains(&value) {
            self.say(Error::not_supported(path, value, supported));
        }
    }

    fn rules(&mut self, path: &Path, value: &str, rules: Vec<String>) {
        self.errors.extend(rules.iter().map(|rule| Error::invalid(path, value, rule)));
    }

    fn spec(&mut self, spec: &Value, path: &Path) {
        let volumes = self.volumes(spec, &path.child("volumes"));
        if items(spec, "/containers").is_empty() {
            self.say(Error::required(&path.child("containers"), ""));
        }
        let mut seen = BTreeSet::new();
        for list in CONTAINERS {
            for (index, container) in items(spec, &format!("/{list}")).iter().enumerate() {
                let at = path.child(list).index(index);
                self.container(container, &at, &volumes, spec);
                let name = text(container, "/name").to_owned();
                if !name.is_empty() && !seen.insert(name.clone()) {
                    self.say(Error::duplicate(&at.child("name"), name));
                }
            }
        }
        self.ephemeral(spec, &path.child("ephemeralContainers"));
        self.one_of(text(spec, "/restartPolicy"), &path.child("restartPolicy"), &["Always", "OnFailure", "Never"]);
        self.one_of(
            text(spec, "/dnsPolicy"),
            &path.child("dnsPolicy"),
            &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        );
        if text(spec, "/dnsPolicy") == "None" && items(spec, "/dnsConfig/nameservers").is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            self.say(Error::required(&path.child("dnsConfig").child("nameservers"), detail));
        }
        if let Some(seconds) =
            number(spec, "/activeDeadlineSeconds").filter(|seconds| !(1..=i64::from(i32::MAX)).contains(seconds))
        {
            let detail = "must be between 1 and 2147483647, inclusive";
            self.say(Error::invalid(&path.child("activeDeadlineSeconds"), seconds, detail));
        }
        if let Some(seconds) = number(spec, "/terminationGracePeriodSeconds").filter(|seconds| *seconds < 0) {
            self.say(Error::invalid(
                &path.child("terminationGracePeriodSeconds"),
                seconds,
                "must be greater than or equal to 0",
            ));
        }
        for (field, rules) in [
            ("nodeName", names::subdomain as fn(&str) -> Vec<String>),
            ("serviceAccountName", names::subdomain),
            ("hostname", names::label),
            ("subdomain", names::label),
            ("priorityClassName", names::subdomain),
        ] {
            let value = text(spec, &format!("/{field}"));
            if !value.is_empty() {
                self.rules(&path.child(field), value, rules(value));
            }
        }
        self.errors.extend(crate::metadata::labels(&spec["nodeSelector"], &path.child("nodeSelector")));
        self.tolerations(spec, &path.child("tolerations"));
        self.sysctls(spec, &path.child("securityContext").child("sysctls"));
        for (index, alias) in items(spec, "/hostAliases").iter().enumerate() {
            let address = text(alias, "/ip");
            if address.parse::<std::net::IpAddr>().is_err() {
                let at = path.child("hostAliases").index(index).child("ip");
                self.say(Error::invalid(&at, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"));
            }
        }
    }

    fn sysctls(&mut self, spec: &Value, path: &Path) {
        let allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        let mut seen = BTreeSet::new();
        for (index, sysctl) in items(spec, "/securityContext/sysctls").iter().enumerate() {
            let at = path.index(index).child("name");
            let name = text(sysctl, "/name");
            let whole = |part: &str| {
                part.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
                    && part.bytes().last().is_some_and(|b| b.is_ascii_alphanumeric())
            };
            if name.is_empty() {
                self.say(Error::required(&at, ""));
            } else if name.len() > 253 || !name.bytes().all(allowed) || !name.split(['.', '/']).all(whole) {
                let detail = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
                self.say(Error::invalid(&at, name, detail));
            } else if !seen.insert(name) {
                self.say(Error::duplicate(&at, name));
            }
        }
    }

    fn tolerations(&mut self, spec: &Value, path: &Path) {
        for (index, toleration) in items(spec, "/tolerations").iter().enumerate() {
            let at = path.index(index);
            let (key, operator) = (text(toleration, "/key"), text(toleration, "/operator"));
            if !key.is_empty() {
                self.rules(&at.child("key"), key, names::qualified(key));
            }
            if key.is_empty() && operator != "Exists" {
                self.say(Error::invalid(
                    &at.child("operator"),
                    operator,
                    "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
                ));
            }
            if !matches!(operator, "" | "Equal" | "Exists") {
                self.say(Error::not_supported(&at.child("operator"), operator, &["Equal", "Exists"]));
            }
            let effect = text(toleration, "/effect");
            if !matches!(effect, "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
                self.say(Error::not_supported(
                    &at.child("effect"),
                    effect,
                    &["NoSchedule", "PreferNoSchedule", "NoExecute"],
                ));
            }
            if toleration.get("tolerationSeconds").is_some() && effect != "NoExecute" {
                self.say(Error::invalid(
                    &at.child("effect"),
                    effect,
                    "effect must be 'NoExecute' when `tolerationSeconds` is set",
                ));
            }
        }
    }

    /// Checks volumes, and gives their names.
    fn volumes(&mut self, spec: &Value, path: &Path) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        for (index, volume) in items(spec, "/volumes").iter().enumerate() {
            let at = path.index(index);
            let name = text(volume, "/name");
            if name.is_empty() {
                self.say(Error::required(&at.child("name"), ""));
            } else {
                self.rules(&at.child("name"), name, names::label(name));
                if !seen.insert(name.to_owned()) {
                    self.say(Error::duplicate(&at.child("name"), name));
                }
            }
            let sources: Vec<&String> = fields(volume).map(|(name, _)| name).filter(|name| *name != "name").collect();
            if sources.is_empty() {
                self.say(Error::required(&at, "must specify a volume type"));
            }
            for extra in sources.iter().skip(1) {
                self.say(Error::forbidden(&at.child(extra), "may not specify more than 1 volume type"));
            }
            for (source, field) in [
                ("hostPath", "path"),
                ("configMap", "name"),
                ("secret", "secretName"),
                ("persistentVolumeClaim", "claimName"),
            ] {
                if volume.get(source).is_some() && text(volume, &format!("/{source}/{field}")).is_empty() {
                    self.say(Error::required(&at.child(source).child(field), ""));
                }
            }
            if text(volume, "/hostPath/path").split('/').any(|part| part == "..") {
                let at = at.child("hostPath").child("path");
                self.say(Error::invalid(&at, text(volume, "/hostPath/path"), "must not contain '..'"));
            }
            self.items(volume, &at);
        }
        seen
    }

    /// Checks where keys are put in a volume.
    fn items(&mut self, volume: &Value, path: &Path) {
        for source in ["configMap", "secret", "downwardAPI"] {
            for (index, item) in items(volume, &format!("/{source}/items")).iter().enumerate() {
                let at = path.child(source).child("items").index(index).child("path");
                self.local_path(text(item, "/path"), &at);
            }
        }
    }

    /// Checks what an ephemeral container may not have, and whom it joins.
    fn ephemeral(&mut self, spec: &Value, path: &Path) {
        const NOT_FOR_THEM: [&str; 9] = [
            "ports",
            "resources",
            "resizePolicy",
            "restartPolicy",
            "restartPolicyRules",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ];
        const TEXT: &str = "cannot be set for an Ephemeral Container";
        let others = |name: &str| {
            CONTAINERS[..2].iter().any(|list| items(spec, &format!("/{list}")).iter().any(|one| one["name"] == name))
        };
        for (index, container) in items(spec, "/ephemeralContainers").iter().enumerate() {
            let at = path.index(index);
            let is_set = |field: &str| {
                container
                    .get(field)
                    .is_some_and(|value| !matches!(value, Value::Null) && *value != json!({}) && *value != json!([]))
            };
            for field in NOT_FOR_THEM.into_iter().filter(|field| is_set(field)) {
                self.say(Error::forbidden(&at.child(field), TEXT));
            }
            for (number, mount) in items(container, "/volumeMounts").iter().enumerate() {
                for field in
                    ["subPath", "subPathExpr"].into_iter().filter(|field| !text(mount, &format!("/{field}")).is_empty())
                {
                    self.say(Error::forbidden(&at.child("volumeMounts").index(number).child(field), TEXT));
                }
            }
            let target = text(container, "/targetContainerName");
            if !target.is_empty() && !others(target) {
                self.say(Error::not_found(&at.child("targetContainerName"), target));
            }
        }
    }

    fn local_path(&mut self, value: &str, path: &Path) {
        if value.is_empty() {
            self.say(Error::required(path, ""));
        } else if value.starts_with('/') {
            self.say(Error::invalid(path, value, "must be a relative path"));
        } else if value.split('/').any(|part| part == "..") {
            self.say(Error::invalid(path, value, "must not contain '..'"));
        }
    }

    fn container(&mut self, container: &Value, path: &Path, volumes: &BTreeSet<String>, spec: &Value) {
        let name = text(container, "/name");
        if name.is_empty() {
            self.say(Error::required(&path.child("name"), ""));
        } else {
            self.rules(&path.child("name"), name, names::label(name));
        }
        let image = text(container, "/image");
        if image.is_empty() {
            self.say(Error::required(&path.child("image"), ""));
        } else if image.trim() != image {
            self.say(Error::invalid(&path.child("image"), image, "must not have leading or trailing whitespace"));
        }
        self.one_of(
            text(container, "/imagePullPolicy"),
            &path.child("imagePullPolicy"),
            &["Always", "IfNotPresent", "Never"],
        );
        self.one_of(
            text(container, "/terminationMessagePolicy"),
            &path.child("terminationMessagePolicy"),
            &["File", "FallbackToLogsOnError"],
        );
        self.ports(container, &path.child("ports"), spec["hostNetwork"] == true);
        self.env(container, path);
        self.mounts(container, &path.child("volumeMounts"), volumes);
        self.resources(&container["resources"], &path.child("resources"));
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            if let Some(found) = container.get(probe) {
                self.probe(found, &path.child(probe), probe);
            }
        }
        for hook in ["postStart", "preStop"] {
            if let Some(handler) = container["lifecycle"].get(hook) {
                self.handler(handler, &path.child("lifecycle").child(hook), &["exec", "httpGet", "tcpSocket", "sleep"]);
            }
        }
        self.security(&container["securityContext"], &path.child("securityContext"));
    }

    fn port(&mut self, number: i64, path: &Path) {
        if !(1..=65535).contains(&number) {
            self.say(Error::invalid(path, number, "must be between 1 and 65535, inclusive"));
        }
    }

    fn ports(&mut self, container: &Value, path: &Path, host_network: bool) {
        let mut seen = BTreeSet::new();
        for (index, port) in items(container, "/ports").iter().enumerate() {
            let at = path.index(index);
            match number(port, "/containerPort") {
                None | Some(0) => self.say(Error::required(&at.child("containerPort"), "")),
                Some(number) => self.port(number, &at.child("containerPort")),
            }
            if let Some(host) = number(port, "/hostPort").filter(|host| *host != 0) {
                self.port(host, &at.child("hostPort"));
                if host_network && Some(host) != number(port, "/containerPort") {
                    self.say(Error::invalid(
                        &at.child("hostPort"),
                        host,
                        "must match `containerPort` when `hostNetwork` is true",
                    ));
                }
            }
            let name = text(port, "/name");
            if !name.is_empty() && !seen.insert(name) {
                self.say(Error::duplicate(&at.child("name"), name));
            }
            self.one_of(text(port, "/protocol"), &at.child("protocol"), &["SCTP", "TCP", "UDP"]);
        }
    }

    fn env(&mut self, container: &Value, path: &Path) {
        for (index, variable) in items(container, "/env").iter().enumerate() {
            let at = path.child("env").index(index);
            let name = text(variable, "/name");
            if name.is_empty() {
                self.say(Error::required(&at.child("name"), ""));
            } else if !name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=') {
                let detail =
                    "a valid environment variable name must consist only of printable ASCII characters other than '='";
                self.say(Error::invalid(&at.child("name"), name, detail));
            }
            if let Some(from) = variable.get("valueFrom") {
                if !text(variable, "/value").is_empty() {
                    self.say(Error::invalid(
                        &at.child("valueFrom"),
                        "",
                        "may not be specified when `value` is not empty",
                    ));
                }
                if fields(from).count() != 1 {
                    let detail =
                        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
                    self.say(Error::invalid(&at.child("valueFrom"), "", detail));
                }
            }
        }
    }

    fn mounts(&mut self, container: &Value, path: &Path, volumes: &BTreeSet<String>) {
        let mut seen = BTreeSet::new();
        for (index, mount) in items(container, "/volumeMounts").iter().enumerate() {
            let at = path.index(index);
            let (name, target) = (text(mount, "/name"), text(mount, "/mountPath"));
            if name.is_empty() {
                self.say(Error::required(&at.child("name"), ""));
            } else if !volumes.contains(name) {
                self.say(Error::not_found(&at.child("name"), name));
            }
            if target.is_empty() {
                self.say(Error::required(&at.child("mountPath"), ""));
            } else if !seen.insert(target) {
                self.say(Error::invalid(&at.child("mountPath"), target, "must be unique"));
            }
            for field in ["subPath", "subPathExpr"] {
                let value = text(mount, &format!("/{field}"));
                if !value.is_empty() {
                    self.local_path(value, &at.child(field));
                }
            }
            if !text(mount, "/subPath").is_empty() && !text(mount, "/subPathExpr").is_empty() {
                self.say(Error::invalid(
                    &at.child("subPathExpr"),
                    text(mount, "/subPathExpr"),
                    "subPathExpr and subPath are mutually exclusive",
                ));
            }
        }
    }

    fn resources(&mut self, resources: &Value, path: &Path) {
        for list in ["limits", "requests"] {
            for (name, amount) in fields(&resources[list]) {
                let at = path.child(list).key(name);
                let Some(quantity) = quantity(amount) else { continue };
                if quantity.is_negative() {
                    self.say(Error::invalid(&at, amount.clone(), "must be greater than or equal to 0"));
                }
                let native =
                    matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
                if !native && !name.contains('/') {
                    self.say(Error::invalid(&at, name.as_str(), "must be a standard resource type or fully qualified"));
                }
            }
        }
        for (name, amount) in fields(&resources["requests"]) {
            let (Some(request), Some(limit)) = (quantity(amount), quantity(&resources["limits"][name])) else {
                continue;
            };
            if request > limit {
                let detail = format!("must be less than or equal to {name} limit of {limit}");
                self.say(Error::invalid(&path.child("requests"), request.to_string(), &detail));
            }
        }
    }

    fn probe(&mut self, probe: &Value, path: &Path, kind: &str) {
        self.handler(probe, path, &["exec", "httpGet", "tcpSocket", "grpc"]);
        for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"]
        {
            if let Some(value) = number(probe, &format!("/{field}")).filter(|value| *value < 0) {
                self.say(Error::invalid(&path.child(field), value, "must be greater than or equal to 0"));
            }
        }
        if kind != "readinessProbe" && number(probe, "/successThreshold").is_some_and(|count| count != 1) {
            let at = path.child("successThreshold");
            self.say(Error::invalid(&at, number(probe, "/successThreshold").unwrap_or(0), "must be 1"));
        }
    }

    fn handler(&mut self, handler: &Value, path: &Path, kinds: &[&str]) {
        let given: Vec<&&str> = kinds.iter().filter(|kind| handler.get(**kind).is_some()).collect();
        if given.is_empty() {
            self.say(Error::required(path, "must specify a handler type"));
        }
        for extra in given.iter().skip(1) {
            self.say(Error::forbidden(&path.child(extra), "may not specify more than 1 handler type"));
        }
        if handler.get("exec").is_some() && items(handler, "/exec/command").is_empty() {
            self.say(Error::required(&path.child("exec").child("command"), ""));
        }
        for kind in ["httpGet", "tcpSocket", "grpc"] {
            if let Some(port) = handler.pointer(&format!("/{kind}/port")).and_then(Value::as_i64) {
                self.port(port, &path.child(kind).child("port"));
            }
        }
    }

    fn security(&mut self, context: &Value, path: &Path) {
        if context["privileged"] == true && !self.settings.allow_privileged {
            self.say(Error::forbidden(&path.child("privileged"), "disallowed by cluster policy"));
        }
        for field in ["runAsUser", "runAsGroup"] {
            if let Some(id) = number(context, &format!("/{field}")).filter(|id| !(0..=i64::from(i32::MAX)).contains(id))
            {
                self.say(Error::invalid(&path.child(field), id, "must be between 0 and 2147483647, inclusive"));
            }
        }
        if context["allowPrivilegeEscalation"] == false && context["privileged"] == true {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            self.say(Error::invalid(path, context.clone(), detail));
        }
    }
}

fn quantity(amount: &Value) -> Option<Quantity> {
    match amount {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.to_string().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Rules;

    fn check(spec: Value, expected: &[&str]) {
        let mut object = json!({"metadata": {"name": "a"}, "spec": spec});
        super::super::Pod.default(&mut object);
        let found: Vec<String> =
            pod(&object, &Settings { allow_privileged: false }).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn pods_are_checked_with_upstreams_words() {
        let with = |container: Value| {
            let mut whole = json!({"name": "a", "image": "x"});
            whole.as_object_mut().expect("an object").extend(container.as_object().cloned().expect("an object"));
            json!({"containers": [whole]})
        };
        check(with(json!({})), &[]);
        check(json!({}), &["spec.containers: Required value"]);
        check(with(json!({"image": ""})), &["spec.containers[0].image: Required value"]);
        check(
            with(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
            &["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
        );
        check(
            with(json!({"securityContext": {"privileged": true}})),
            &["spec.containers[0].securityContext.privileged: Forbidden: disallowed by cluster policy"],
        );
        check(
            with(json!({"ports": [{"containerPort": 70000}]})),
            &[
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            ],
        );
        check(
            with(json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}})),
            &[
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ],
        );
        check(
            json!({"containers": [{"name": "a", "image": "x"}], "restartPolicy": "Sometimes"}),
            &[
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
            ],
        );
        check(
            json!({"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "y"}]}),
            &["spec.containers[1].name: Duplicate value: \"a\""],
        );
    }
}
