//! The node's own object: registered at start, kept alive by a lease, told anew when something changes.

use std::time::Duration;

use client::{Client, Subject};
use meta::{ApiError, Gvr, Reason, ResourcePath, format_micro_time, format_time};
use serde_json::{Value, json};

use crate::cluster::core;
use crate::eviction::Pressure;
use crate::kubelet::{KubeletConfig, Shared};

const LEASE_PERIOD: Duration = Duration::from_secs(10);
const STATUS_PERIOD: Duration = Duration::from_secs(300);
/// Every so many renewals of the lease the status is due.
const RENEWALS_PER_STATUS: u64 = STATUS_PERIOD.as_secs() / LEASE_PERIOD.as_secs();
/// Upstream tells of so many images.
const MAX_IMAGES: usize = 50;

/// What the machine has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) cpus: i64,
    /// Bytes.
    pub(crate) memory: i64,
    /// Bytes of the file system that holds the node's folder.
    pub(crate) disk: i64,
    kernel: String,
    os_image: String,
    machine_id: String,
    boot_id: String,
    system_uuid: String,
}

impl Machine {
    /// Reads what the kernel tells.
    pub(crate) fn detect(config: &KubeletConfig) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let memory = read("/proc/meminfo")
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse::<i64>().ok())
            .unwrap_or_default();
        let disk = nix::sys::statvfs::statvfs(&config.data_dir)
            .map(|stat| i64::try_from(stat.blocks() * stat.fragment_size()).unwrap_or(i64::MAX))
            .unwrap_or_default();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let os_image = read("/etc/os-release")
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME=").map(|name| name.trim_matches('"').to_owned()));
        Self {
            cpus: i64::try_from(cpus).unwrap_or(1),
            memory: memory << 10,
            disk,
            kernel: read("/proc/sys/kernel/osrelease"),
            os_image: os_image.unwrap_or_else(|| "Linux".to_owned()),
            machine_id: read("/etc/machine-id"),
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            system_uuid: read("/sys/class/dmi/id/product_uuid"),
        }
    }

    /// All CPUs as a quantity.
    pub(crate) fn cpu(&self) -> meta::Quantity {
        meta::Quantity::units(self.cpus)
    }

    fn resources(&self, max_pods: u32) -> Value {
        json!({
            "cpu": self.cpus.to_string(),
            "memory": format!("{}Ki", self.memory >> 10),
            "ephemeral-storage": format!("{}Ki", self.disk >> 10),
            "hugepages-1Gi": "0",
            "hugepages-2Mi": "0",
            "pods": max_pods.to_string(),
        })
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The object as it is made when there is none.
fn node_object(config: &KubeletConfig, status: Value) -> Value {
    let name = &config.node_name;
    let arch = architecture();
    let mut spec = json!({});
    if !config.pod_cidr.is_empty() {
        spec = json!({"podCIDR": config.pod_cidr, "podCIDRs": [config.pod_cidr]});
    }
    json!({
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "labels": {
                "beta.kubernetes.io/arch": arch,
                "beta.kubernetes.io/os": "linux",
                "kubernetes.io/arch": arch,
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
            },
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": spec,
        "status": status,
    })
}

/// The node in events.
pub(crate) fn subject(config: &KubeletConfig) -> Subject {
    Subject {
        kind: "Node".to_owned(),
        api_version: "v1".to_owned(),
        name: config.node_name.clone(),
        uid: config.node_name.clone(),
        ..Subject::default()
    }
}

/// A condition that says what the node lacks: reason and message, and those of a node that has enough.
fn pressure_condition(pressure: Pressure, holds: bool) -> (&'static str, &'static str, &'static str, &'static str) {
    let status = if holds { "True" } else { "False" };
    let (reason, message) = match (pressure, holds) {
        (Pressure::Memory, true) => ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
        (Pressure::Memory, false) => ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        (Pressure::Disk, true) => ("KubeletHasDiskPressure", "kubelet has disk pressure"),
        (Pressure::Disk, false) => ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        (Pressure::Pid, true) => ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
        (Pressure::Pid, false) => ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    };
    (pressure.kind(), status, reason, message)
}

fn conditions(old: &Value, now: &str, lacks: &[Pressure]) -> Value {
    let of = |pressure: Pressure| pressure_condition(pressure, lacks.contains(&pressure));
    let table = [
        of(Pressure::Memory),
        of(Pressure::Disk),
        of(Pressure::Pid),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ];
    let others = old.as_array().into_iter().flatten();
    let others = others.filter(|condition| !table.iter().any(|(kind, ..)| condition["type"] == *kind)).cloned();
    let mine = table.iter().map(|(kind, status, reason, message)| {
        let before =
            old.as_array().into_iter().flatten().find(|before| before["type"] == *kind && before["status"] == *status);
        let since = before.and_then(|before| before["lastTransitionTime"].as_str()).unwrap_or(now);
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": since,
        })
    });
    mine.chain(others).collect()
}

fn images(config: &KubeletConfig) -> Value {
    let mut images = config.images.list();
    images.sort_by_key(|image| std::cmp::Reverse(image.size));
    images
        .iter()
        .take(MAX_IMAGES)
        .map(|image| {
            let names: Vec<_> = image.digests.iter().chain(&image.tags).take(5).collect();
            json!({"names": names, "sizeBytes": image.size})
        })
        .collect()
}

fn status(shared: &Shared, port: u16, old: &Value) -> Value {
    let config = &shared.config;
    let machine = &shared.machine;
    let now = format_time(config.clock.now());
    let resources = machine.resources(config.max_pods);
    json!({
        "addresses": [
            {"type": "InternalIP", "address": config.node_ip.to_string()},
            {"type": "Hostname", "address": config.node_name},
        ],
        "capacity": resources,
        "allocatable": resources,
        "conditions": conditions(&old["conditions"], &now, &shared.pressures.now()),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "images": images(config),
        "nodeInfo": {
            "architecture": architecture(),
            "bootID": machine.boot_id,
            "containerRuntimeVersion": "minke://0.1.0",
            "kernelVersion": machine.kernel,
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.36.3",
            "machineID": machine.machine_id,
            "operatingSystem": "linux",
            "osImage": machine.os_image,
            "systemUUID": machine.system_uuid,
        },
        "runtimeHandlers": [{"name": "", "features": {"recursiveReadOnlyMounts": true, "userNamespaces": false}}],
    })
}

/// Makes the node's object or brings the one that is there up to date, and renews its lease.
pub(crate) async fn register(shared: &Shared, port: u16) -> Result<(), ApiError> {
    let config = &shared.config;
    let client = &config.client;
    let nodes = core("nodes");
    match client.get(&nodes, "", &config.node_name).await {
        Ok(old) => {
            let labels = node_object(config, Value::Null)["metadata"]["labels"].clone();
            let path = ResourcePath::object(nodes.clone(), "", &config.node_name);
            client.merge(&path, &json!({"metadata": {"labels": labels}})).await?;
            let status = status(shared, port, &old.value()["status"]);
            client.merge(&path.subresource("status"), &json!({"status": status})).await?;
        }
        Err(error) if error.reason == Reason::NotFound => {
            let object = node_object(config, status(shared, port, &Value::Null));
            match client.create(&nodes, "", object).await {
                Err(error) if error.reason != Reason::AlreadyExists => return Err(error),
                Ok(_) | Err(_) => {}
            }
            // Creation may drop a status, as it does for other kinds: then it is written here.
            let path = ResourcePath::object(nodes, "", &config.node_name).subresource("status");
            client.merge(&path, &json!({"status": status(shared, port, &Value::Null)})).await?;
        }
        Err(error) => return Err(error),
    }
    renew_lease(shared, client).await
}

async fn renew_lease(shared: &Shared, client: &Client) -> Result<(), ApiError> {
    let config = &shared.config;
    let leases = Gvr::new("coordination.k8s.io", "v1", "leases");
    let name = &config.node_name;
    let now = format_micro_time(config.clock.now());
    let spec = json!({"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now});
    let path = ResourcePath::object(leases.clone(), "kube-node-lease", name);
    match client.merge(&path, &json!({"spec": spec})).await {
        Err(error) if error.reason == Reason::NotFound => {
            let node = client.get(&core("nodes"), "", name).await?;
            let lease = json!({
                "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
                "metadata": {
                    "name": name, "namespace": "kube-node-lease",
                    "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node.metadata.uid}],
                },
                "spec": spec,
            });
            client.create(&leases, "kube-node-lease", lease).await.map(drop)
        }
        other => other.map(drop),
    }
}

/// Keeps the node alive for as long as it is polled.
pub(crate) async fn keep_alive(shared: &Shared, port: u16) {
    let mut ticks = tokio::time::interval(LEASE_PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut renewals = 0_u64;
    loop {
        ticks.tick().await;
        renewals += 1;
        let result = if renewals.is_multiple_of(RENEWALS_PER_STATUS) {
            register(shared, port).await
        } else {
            renew_lease(shared, &shared.config.client).await
        };
        if let Err(error) = result {
            tracing::warn!(node = %shared.config.node_name, %error, "renew the node's lease");
        }
    }
}
