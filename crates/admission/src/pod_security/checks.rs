//! What the Pod Security Standards forbid, in upstream's words.
//!
//! A check is one function; which of them hold for a level and a version is told in [`found`].

use std::collections::BTreeSet;

use serde_json::Value;

use super::policy::{Level, Standard};
use crate::fields::{items, text};

/// A breach of the standards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Breach {
    pub(super) reason: String,
    detail: String,
}

impl Breach {
    fn new(reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { reason: reason.into(), detail: detail.into() }
    }

    /// The reason with its detail.
    pub(super) fn told(&self) -> String {
        format!("{} ({})", self.reason, self.detail)
    }
}

/// A pod, and the minor version of the standards that it is held against.
pub(super) struct Pod<'a> {
    pub(super) metadata: &'a Value,
    pub(super) spec: &'a Value,
    pub(super) minor: u32,
}

type Check = fn(&Pod<'_>) -> Option<Breach>;

/// Everything that a pod breaks.
pub(super) fn found(standard: Standard, metadata: &Value, spec: &Value) -> Vec<Breach> {
    let pod = Pod { metadata, spec, minor: standard.minor() };
    let at_least = |minor: u32| pod.minor >= minor;
    let restricted = standard.level == Level::Restricted;
    let baseline: [(Check, bool); 12] = [
        (app_armor, true),
        (capabilities, !(restricted && at_least(22))),
        (host_namespaces, true),
        (host_paths, !restricted),
        (host_ports, true),
        (other_hosts, at_least(34)),
        (privileged, true),
        (proc_mount, !(restricted && at_least(35))),
        (se_linux, true),
        (seccomp, at_least(19) && !restricted),
        (sysctls, true),
        (host_process, true),
    ];
    let more: [(Check, bool); 7] = [
        (escalation, at_least(8)),
        (dropped_capabilities, at_least(22)),
        (masked_proc_mount, at_least(35)),
        (volume_types, true),
        (non_root, true),
        (root_user, at_least(23)),
        (explicit_seccomp, at_least(19)),
    ];
    let of_level = |(check, holds): (Check, bool)| if holds { check(&pod) } else { None };
    match standard.level {
        Level::Privileged => Vec::new(),
        Level::Baseline => baseline.into_iter().filter_map(of_level).collect(),
        Level::Restricted => baseline.into_iter().chain(more).filter_map(of_level).collect(),
    }
}

impl Pod<'_> {
    fn containers(&self) -> impl Iterator<Item = &Value> {
        ["/initContainers", "/containers", "/ephemeralContainers"].into_iter().flat_map(|list| items(self.spec, list))
    }

    /// The names of the containers that do something.
    fn that(&self, does: impl Fn(&Value) -> bool) -> Vec<&str> {
        self.containers().filter(|container| does(container)).map(|container| text(container, "/name")).collect()
    }

    fn annotations(&self) -> impl Iterator<Item = (&String, &str)> {
        let all = self.metadata["annotations"].as_object().into_iter().flatten();
        all.map(|(key, value)| (key, value.as_str().unwrap_or_default()))
    }

    fn is_windows(&self) -> bool {
        self.minor >= 25 && text(self.spec, "/os/name") == "windows"
    }

    /// Compat: from 1.35 on, root in a user namespace of its own is nobody's root.
    fn has_own_users(&self) -> bool {
        self.minor >= 35 && self.spec["hostUsers"] == false
    }

    /// Who sets something that may not be set: `pod and container "a"`.
    fn setters(&self, sets: impl Fn(&Value) -> bool) -> Vec<String> {
        let own = sets(&self.spec["securityContext"]).then(|| "pod".to_owned());
        let containers = self.that(|container| sets(&container["securityContext"]));
        own.into_iter().chain((!containers.is_empty()).then(|| named(&containers))).collect()
    }
}

/// `container "a"` or `containers "a", "b"`.
fn named(containers: &[&str]) -> String {
    format!("{} {}", counted("container", containers.len()), quoted(containers.iter().copied()))
}

fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn counted(word: &str, count: usize) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

fn uses(count: usize) -> &'static str {
    if count == 1 { "uses" } else { "use" }
}

/// The texts at a pointer below the pod's and its containers' security contexts.
fn set<'a>(pod: &'a Pod<'_>, pointer: &str) -> impl Iterator<Item = &'a str> {
    let contexts = std::iter::once(&pod.spec["securityContext"]);
    let contexts: Vec<&Value> = contexts.chain(pod.containers().map(|own| &own["securityContext"])).collect();
    let pointer = pointer.to_owned();
    contexts.into_iter().filter_map(move |context| context.pointer(&pointer)?.as_str())
}

fn app_armor(pod: &Pod<'_>) -> Option<Breach> {
    let bad = |kind: &str| !matches!(kind, "RuntimeDefault" | "Localhost");
    let sets = |context: &Value| context.pointer("/appArmorProfile/type").and_then(Value::as_str).is_some_and(bad);
    let mut setters = pod.setters(sets);
    let values: BTreeSet<&str> = set(pod, "/appArmorProfile/type").filter(|kind| bad(kind)).collect();
    let mut values: Vec<String> = values.into_iter().map(str::to_owned).collect();
    let fine = |value: &str| value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
    let named = |key: &str| key.starts_with("container.apparmor.security.beta.kubernetes.io/");
    let annotations: BTreeSet<String> = pod
        .annotations()
        .filter(|(key, value)| named(key) && !fine(value))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    if !annotations.is_empty() {
        setters.push(counted("annotation", annotations.len()));
        values.extend(annotations);
    }
    (!setters.is_empty()).then(|| {
        let told = quoted(values.iter().map(String::as_str));
        let detail = format!("{} must not set AppArmor profile type to {told}", setters.join(" and "));
        Breach::new(counted("forbidden AppArmor profile", values.len()), detail)
    })
}

fn capabilities(pod: &Pod<'_>) -> Option<Breach> {
    const ALLOWED: [&str; 13] = [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ];
    adding(pod, &ALLOWED).map(|detail| Breach::new("non-default capabilities", detail))
}

/// Who adds capabilities beyond those that are allowed.
fn adding(pod: &Pod<'_>, allowed: &[&str]) -> Option<String> {
    fn added(container: &Value) -> impl Iterator<Item = &str> {
        items(container, "/securityContext/capabilities/add").filter_map(Value::as_str)
    }
    let other = |name: &&str| !allowed.contains(name);
    let containers = pod.that(|container| added(container).any(|name| other(&name)));
    let names: BTreeSet<&str> = pod.containers().flat_map(added).filter(other).collect();
    (!containers.is_empty()).then(|| {
        format!("{} must not include {} in securityContext.capabilities.add", named(&containers), quoted(names))
    })
}

fn dropped_capabilities(pod: &Pod<'_>) -> Option<Breach> {
    if pod.is_windows() {
        return None;
    }
    let drops = |container: &Value| items(container, "/securityContext/capabilities/drop").any(|name| name == "ALL");
    let missing = pod.that(|container| !drops(container));
    let drop = (!missing.is_empty())
        .then(|| format!("{} must set securityContext.capabilities.drop=[\"ALL\"]", named(&missing)));
    let details: Vec<String> = drop.into_iter().chain(adding(pod, &["NET_BIND_SERVICE"])).collect();
    (!details.is_empty()).then(|| Breach::new("unrestricted capabilities", details.join("; ")))
}

fn host_namespaces(pod: &Pod<'_>) -> Option<Breach> {
    let shared = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|field| pod.spec[*field] == true);
    let shared: Vec<String> = shared.map(|field| format!("{field}=true")).collect();
    (!shared.is_empty()).then(|| Breach::new("host namespaces", shared.join(", ")))
}

fn host_paths(pod: &Pod<'_>) -> Option<Breach> {
    let volumes: Vec<&str> = items(pod.spec, "/volumes")
        .filter(|volume| !volume["hostPath"].is_null())
        .map(|volume| text(volume, "/name"))
        .collect();
    let detail = || format!("{} {}", counted("volume", volumes.len()), quoted(volumes.iter().copied()));
    (!volumes.is_empty()).then(|| Breach::new("hostPath volumes", detail()))
}

fn host_ports(pod: &Pod<'_>) -> Option<Breach> {
    fn ports(container: &Value) -> impl Iterator<Item = u64> {
        items(container, "/ports").filter_map(|port| port["hostPort"].as_u64()).filter(|port| *port != 0)
    }
    let containers = pod.that(|container| ports(container).next().is_some());
    let all: BTreeSet<String> = pod.containers().flat_map(ports).map(|port| port.to_string()).collect();
    (!containers.is_empty()).then(|| {
        let told = all.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let word = counted("hostPort", all.len());
        Breach::new("hostPort", format!("{} {} {word} {told}", named(&containers), uses(containers.len())))
    })
}

fn other_hosts(pod: &Pod<'_>) -> Option<Breach> {
    fn hosts(container: &Value) -> impl Iterator<Item = &str> {
        let handlers =
            ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];
        let handlers = handlers.into_iter().filter_map(|pointer| container.pointer(pointer));
        let hosts = handlers.flat_map(|own| ["/httpGet/host", "/tcpSocket/host"].map(|pointer| text(own, pointer)));
        hosts.filter(|host| !host.is_empty())
    }
    let containers: BTreeSet<&str> = pod.that(|container| hosts(container).next().is_some()).into_iter().collect();
    let containers: Vec<&str> = containers.into_iter().collect();
    let all: BTreeSet<&str> = pod.containers().flat_map(hosts).collect();
    (!containers.is_empty()).then(|| {
        let word = counted("probe or lifecycle host", all.len());
        let detail = format!("{} {} {word} {}", named(&containers), uses(containers.len()), quoted(all));
        Breach::new("probe or lifecycle host", detail)
    })
}

fn privileged(pod: &Pod<'_>) -> Option<Breach> {
    let containers = pod.that(|container| container["securityContext"]["privileged"] == true);
    let detail = || format!("{} must not set securityContext.privileged=true", named(&containers));
    (!containers.is_empty()).then(|| Breach::new("privileged", detail()))
}

fn proc_mount(pod: &Pod<'_>) -> Option<Breach> {
    if pod.has_own_users() { None } else { masked_proc_mount(pod) }
}

fn masked_proc_mount(pod: &Pod<'_>) -> Option<Breach> {
    fn other(container: &Value) -> Option<&str> {
        container.pointer("/securityContext/procMount").and_then(Value::as_str).filter(|kind| *kind != "Default")
    }
    let containers = pod.that(|container| other(container).is_some());
    let kinds: BTreeSet<&str> = pod.containers().filter_map(other).collect();
    let detail = || format!("{} must not set securityContext.procMount to {}", named(&containers), quoted(kinds));
    (!containers.is_empty()).then(|| Breach::new("procMount", detail()))
}

fn se_linux(pod: &Pod<'_>) -> Option<Breach> {
    let allowed = |kind: &str| {
        matches!(kind, "" | "container_t" | "container_init_t" | "container_kvm_t")
            || (kind == "container_engine_t" && pod.minor >= 31)
    };
    let part = |context: &Value, field: &str| text(context, &format!("/seLinuxOptions/{field}")).to_owned();
    let sets = |context: &Value| {
        !allowed(&part(context, "type")) || !part(context, "user").is_empty() || !part(context, "role").is_empty()
    };
    let setters = pod.setters(sets);
    let kinds: BTreeSet<&str> = set(pod, "/seLinuxOptions/type").filter(|kind| !allowed(kind)).collect();
    let mut data = Vec::new();
    if !kinds.is_empty() {
        data.push(format!("{} {}", counted("type", kinds.len()), quoted(kinds)));
    }
    for field in ["user", "role"] {
        if set(pod, &format!("/seLinuxOptions/{field}")).any(|value| !value.is_empty()) {
            data.push(format!("{field} may not be set"));
        }
    }
    (!setters.is_empty()).then(|| {
        let detail =
            format!("{} set forbidden securityContext.seLinuxOptions: {}", setters.join(" and "), data.join("; "));
        Breach::new("seLinuxOptions", detail)
    })
}

fn is_confined(kind: &str) -> bool {
    matches!(kind, "RuntimeDefault" | "Localhost")
}

fn seccomp_kind(context: &Value) -> Option<&str> {
    context["seccompProfile"].is_object().then(|| text(context, "/seccompProfile/type"))
}

fn seccomp(pod: &Pod<'_>) -> Option<Breach> {
    let setters = pod.setters(|context| seccomp_kind(context).is_some_and(|kind| !is_confined(kind)));
    let kinds: BTreeSet<&str> = set(pod, "/seccompProfile/type").filter(|kind| !is_confined(kind)).collect();
    (!setters.is_empty()).then(|| {
        let told = setters.join(" and ");
        Breach::new(
            "seccompProfile",
            format!("{told} must not set securityContext.seccompProfile.type to {}", quoted(kinds)),
        )
    })
}

fn explicit_seccomp(pod: &Pod<'_>) -> Option<Breach> {
    if pod.is_windows() {
        return None;
    }
    if let Some(breach) = seccomp(pod) {
        return Some(breach);
    }
    let of_pod = seccomp_kind(&pod.spec["securityContext"]).is_some();
    let open = pod.that(|container| seccomp_kind(&container["securityContext"]).is_none() && !of_pod);
    (!open.is_empty()).then(|| {
        let rule = "must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"";
        Breach::new("seccompProfile", format!("pod or {} {rule}", named(&open)))
    })
}

fn sysctls(pod: &Pod<'_>) -> Option<Breach> {
    const ALLOWED: [(&str, u32); 12] = [
        ("kernel.shm_rmid_forced", 0),
        ("net.ipv4.ip_local_port_range", 0),
        ("net.ipv4.tcp_syncookies", 0),
        ("net.ipv4.ping_group_range", 0),
        ("net.ipv4.ip_unprivileged_port_start", 0),
        ("net.ipv4.ip_local_reserved_ports", 27),
        ("net.ipv4.tcp_keepalive_time", 29),
        ("net.ipv4.tcp_fin_timeout", 29),
        ("net.ipv4.tcp_keepalive_intvl", 29),
        ("net.ipv4.tcp_keepalive_probes", 29),
        ("net.ipv4.tcp_rmem", 32),
        ("net.ipv4.tcp_wmem", 32),
    ];
    let allowed = |name: &str| ALLOWED.iter().any(|(own, since)| *own == name && pod.minor >= *since);
    let names: Vec<&str> = items(pod.spec, "/securityContext/sysctls")
        .map(|sysctl| text(sysctl, "/name"))
        .filter(|name| !allowed(name))
        .collect();
    (!names.is_empty()).then(|| Breach::new("forbidden sysctls", names.join(", ")))
}

fn host_process(pod: &Pod<'_>) -> Option<Breach> {
    let setters = pod.setters(|context| context["windowsOptions"]["hostProcess"] == true);
    let detail = || format!("{} must not set securityContext.windowsOptions.hostProcess=true", setters.join(" and "));
    (!setters.is_empty()).then(|| Breach::new("hostProcess", detail()))
}

fn escalation(pod: &Pod<'_>) -> Option<Breach> {
    if pod.is_windows() {
        return None;
    }
    let containers = pod.that(|container| container["securityContext"]["allowPrivilegeEscalation"] != false);
    let detail = || format!("{} must set securityContext.allowPrivilegeEscalation=false", named(&containers));
    (!containers.is_empty()).then(|| Breach::new("allowPrivilegeEscalation != false", detail()))
}

fn volume_types(pod: &Pod<'_>) -> Option<Breach> {
    const ALLOWED: [&str; 9] = [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    let source = |volume: &Value| -> String {
        let fields = volume.as_object().into_iter().flatten();
        let source = fields.filter(|(name, value)| *name != "name" && !value.is_null()).map(|(name, _)| name.clone());
        source.into_iter().next().unwrap_or_else(|| "unknown".to_owned())
    };
    let other: Vec<(&str, String)> = items(pod.spec, "/volumes")
        .map(|volume| (text(volume, "/name"), source(volume)))
        .filter(|(_, source)| !ALLOWED.contains(&source.as_str()))
        .collect();
    let kinds: BTreeSet<&str> = other.iter().map(|(_, source)| source.as_str()).collect();
    (!other.is_empty()).then(|| {
        let (names, count) = (quoted(other.iter().map(|(name, _)| *name)), other.len());
        let word = counted("restricted volume type", kinds.len());
        let detail = format!("{} {names} {} {word} {}", counted("volume", count), uses(count), quoted(kinds));
        Breach::new("restricted volume types", detail)
    })
}

fn non_root(pod: &Pod<'_>) -> Option<Breach> {
    const REASON: &str = "runAsNonRoot != true";
    if pod.has_own_users() {
        return None;
    }
    let setters = pod.setters(|context| context["runAsNonRoot"] == false);
    if !setters.is_empty() {
        let detail = format!("{} must not set securityContext.runAsNonRoot=false", setters.join(" and "));
        return Some(Breach::new(REASON, detail));
    }
    let of_pod = pod.spec["securityContext"]["runAsNonRoot"] == true;
    let open = pod.that(|container| container["securityContext"]["runAsNonRoot"].is_null() && !of_pod);
    let detail = || format!("pod or {} must set securityContext.runAsNonRoot=true", named(&open));
    (!open.is_empty()).then(|| Breach::new(REASON, detail()))
}

fn root_user(pod: &Pod<'_>) -> Option<Breach> {
    if pod.has_own_users() {
        return None;
    }
    let setters = pod.setters(|context| context["runAsUser"] == 0);
    (!setters.is_empty())
        .then(|| Breach::new("runAsUser=0", format!("{} must not set runAsUser=0", setters.join(" and "))))
}
