//! When a node runs short, and which pod has to go: pure decisions about what was measured.
//!
//! Compat: signals, ranking and messages are those of upstream's eviction manager with hard thresholds. Memory has upstream's default. Disk
//! has an amount instead of upstream's share, since a cluster in one program shares its disk with the rest of a machine.

use std::collections::BTreeMap;
use std::str::FromStr;

use k8s_openapi::api::core::v1::{Container, Pod};
use meta::Quantity;

use crate::cgroups::{Qos, is_critical, pod_limit, pod_request, qos_class};
use crate::lifecycle::{Role, roles};

/// What a node may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Signal {
    /// Memory comes first: it runs out the fastest.
    Memory,
    Disk,
    Inodes,
    ImageDisk,
    ImageInodes,
    Pids,
}

impl Signal {
    const ALL: [(&'static str, Self); 6] = [
        ("memory.available", Self::Memory),
        ("nodefs.available", Self::Disk),
        ("nodefs.inodesFree", Self::Inodes),
        ("imagefs.available", Self::ImageDisk),
        ("imagefs.inodesFree", Self::ImageInodes),
        ("pid.available", Self::Pids),
    ];

    /// The resource that messages name.
    pub(crate) fn resource(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk | Self::ImageDisk => "ephemeral-storage",
            Self::Inodes | Self::ImageInodes => "inodes",
            Self::Pids => "pids",
        }
    }

    /// The condition of a node that lacks it.
    pub(crate) fn pressure(self) -> Pressure {
        match self {
            Self::Memory => Pressure::Memory,
            Self::Disk | Self::Inodes | Self::ImageDisk | Self::ImageInodes => Pressure::Disk,
            Self::Pids => Pressure::Pid,
        }
    }

    fn quantity(self, amount: i64) -> Quantity {
        match self {
            Self::Memory | Self::Disk | Self::ImageDisk => Quantity::bytes(amount),
            Self::Inodes | Self::ImageInodes | Self::Pids => Quantity::units(amount),
        }
    }
}

/// A condition of a node that runs short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    Memory,
    Disk,
    Pid,
}

impl Pressure {
    /// The condition's type.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Memory => "MemoryPressure",
            Self::Disk => "DiskPressure",
            Self::Pid => "PIDPressure",
        }
    }
}

/// A bound: bytes or a count, or a share of all there is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    Absolute(i64),
    Share(f64),
}

/// How little of each thing is too little, as upstream's `--eviction-hard` says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Thresholds(Vec<(Signal, Amount)>);

impl Thresholds {
    /// Those of a node that was told of none.
    pub const DEFAULT: &str = "memory.available<100Mi,nodefs.available<1Gi,nodefs.inodesFree<5%";
}

impl Default for Thresholds {
    fn default() -> Self {
        Self::DEFAULT.parse().expect("a test reads it")
    }
}

impl FromStr for Thresholds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let statements = text.split(',').map(str::trim).filter(|statement| !statement.is_empty());
        let mut thresholds = Vec::new();
        for statement in statements {
            let (name, value) =
                statement.split_once('<').ok_or_else(|| format!("{statement:?} is not SIGNAL<AMOUNT"))?;
            let signal = Signal::ALL.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal);
            let signal = signal.ok_or_else(|| format!("unsupported eviction signal {name}"))?;
            if !matches!(value, "0%" | "100%") {
                thresholds.push((signal, amount(name, value)?));
            }
        }
        Ok(Self(thresholds))
    }
}

fn amount(name: &str, value: &str) -> Result<Amount, String> {
    if let Some(percent) = value.strip_suffix('%') {
        let share = percent.parse::<f64>().map_err(|error| format!("{value:?}: {error}"))? / 100.0;
        return match share {
            0.0..=1.0 => Ok(Amount::Share(share)),
            share if share > 1.0 => Err(format!("eviction percentage threshold {name} must be <= 100%: {value}")),
            _ => Err(format!("eviction percentage threshold {name} must be >= 0%: {value}")),
        };
    }
    let quantity: Quantity = value.parse().map_err(|error| format!("{value:?}: {error}"))?;
    if quantity.is_negative() || quantity.is_zero() {
        return Err(format!("eviction threshold {name} must be positive: {value}"));
    }
    Ok(Amount::Absolute(quantity.value()))
}

/// How much of a thing there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    pub(crate) available: i64,
    pub(crate) capacity: i64,
}

/// A threshold that is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    pub(crate) signal: Signal,
    least: i64,
    available: i64,
}

impl Thresholds {
    /// What is too little now, the most urgent first.
    pub(crate) fn met(&self, levels: &BTreeMap<Signal, Level>) -> Vec<Met> {
        let one = |(signal, least): &(Signal, Amount)| {
            let level = levels.get(signal)?;
            let least = match least {
                Amount::Absolute(amount) => *amount,
                Amount::Share(share) => (level.capacity as f64 * share) as i64,
            };
            (level.available < least).then_some(Met { signal: *signal, least, available: level.available })
        };
        let mut met: Vec<Met> = self.0.iter().filter_map(one).collect();
        met.sort_by_key(|met| met.signal);
        met
    }
}

/// What a container uses, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ContainerUse {
    pub(crate) memory: i64,
    /// Its writable layer and its logs.
    pub(crate) disk: i64,
}

/// What a pod uses.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodUse {
    pub(crate) memory: i64,
    pub(crate) pids: i64,
    /// Bytes of its containers, logs and volumes.
    pub(crate) disk: i64,
    pub(crate) containers: BTreeMap<String, ContainerUse>,
    /// Bytes of the volumes that end with the pod, by name.
    pub(crate) volumes: BTreeMap<String, i64>,
}

/// A pod that may have to go, and what it uses.
pub(crate) type Candidate = (std::sync::Arc<Pod>, PodUse);

/// Whether a pod has bounds on the node's disk, so that it wants to be measured.
pub(crate) fn has_disk_limits(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let limited = |volume: &k8s_openapi::api::core::v1::Volume| {
        volume.empty_dir.as_ref().is_some_and(|source| source.size_limit.is_some())
    };
    pod_limit(pod, "ephemeral-storage").is_some() || volumes.into_iter().any(limited)
}

/// Why a pod has to go for what it keeps on the node's disk.
pub(crate) fn breach(pod: &Pod, used: &PodUse) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    for volume in spec.volumes.iter().flatten() {
        let Some(limit) = volume.empty_dir.as_ref().and_then(|source| source.size_limit.as_ref()) else { continue };
        let Ok(limit) = limit.0.parse::<Quantity>() else { continue };
        let bytes = used.volumes.get(&volume.name).copied().unwrap_or_default();
        if limit > Quantity::ZERO && Quantity::bytes(bytes) > limit {
            return Some(format!("Usage of EmptyDir volume {:?} exceeds the limit \"{limit}\". ", volume.name));
        }
    }
    if let Some(limit) = pod_limit(pod, "ephemeral-storage")
        && Quantity::bytes(used.disk) > limit
    {
        return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "));
    }
    spec.containers.iter().find_map(|container| {
        let limits = container.resources.as_ref()?.limits.as_ref()?;
        let limit: Quantity = limits.get("ephemeral-storage")?.0.parse().ok()?;
        let bytes = used.containers.get(&container.name)?.disk;
        (!limit.is_zero() && Quantity::bytes(bytes) > limit)
            .then(|| format!("Container {} exceeded its local ephemeral storage limit \"{limit}\". ", container.name))
    })
}

/// Sorts pods, the first to go first: what uses more than it asked for, then by priority, then by how much more.
pub(crate) fn rank(signal: Signal, pods: &mut [Candidate]) {
    pods.sort_by_key(|(pod, used)| {
        let over = |bytes: i64, name: &str| bytes - pod_request(pod, name).value();
        let (exceeds, over) = match signal.resource() {
            "memory" => (over(used.memory, "memory") > 0, over(used.memory, "memory")),
            "pids" => (false, used.pids),
            _ => (over(used.disk, "ephemeral-storage") > 0, over(used.disk, "ephemeral-storage")),
        };
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or_default();
        (!exceeds, priority, std::cmp::Reverse(over))
    });
}

/// What a pod's status says of its end.
pub(crate) fn message(met: Met, pod: &Pod, used: &PodUse) -> String {
    let (resource, signal) = (met.signal.resource(), met.signal);
    let mut text = format!(
        "The node was low on resource: {resource}. Threshold quantity: {}, available: {}. ",
        signal.quantity(met.least),
        signal.quantity(met.available),
    );
    let blame = |(role, container): (Role, Container)| {
        let own = used.containers.get(&container.name).filter(|_| role != Role::Ephemeral)?;
        let bytes = match resource {
            "memory" => own.memory,
            "ephemeral-storage" => own.disk,
            _ => return None,
        };
        let requests = container.resources.and_then(|resources| resources.requests).unwrap_or_default();
        let request = requests.get(resource).and_then(|amount| amount.0.parse().ok()).unwrap_or(Quantity::ZERO);
        let usage = Quantity::bytes(bytes);
        (usage > request).then(|| {
            let name = container.name;
            format!("Container {name} was using {usage}, request is {request}, has larger consumption of {resource}. ")
        })
    };
    roles(pod).into_iter().filter_map(blame).for_each(|blamed| text.push_str(&blamed));
    text
}

/// Whether a node that runs short refuses a new pod; the message says of what.
pub(crate) fn refuse(pressures: &[Pressure], pod: &Pod) -> Option<String> {
    const TAINT: &str = "node.kubernetes.io/memory-pressure";
    if pressures.is_empty() || is_critical(pod) {
        return None;
    }
    let tolerations = pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
    let tolerates = |one: &k8s_openapi::api::core::v1::Toleration| {
        let effect = one.effect.as_deref().unwrap_or_default();
        let key = one.key.as_deref().unwrap_or_default();
        let exists = one.operator.as_deref() == Some("Exists");
        let value = exists || one.value.as_deref().unwrap_or_default().is_empty();
        matches!(effect, "" | "NoSchedule") && value && (key == TAINT || (key.is_empty() && exists))
    };
    let bears = qos_class(pod) != Qos::BestEffort || tolerations.into_iter().any(tolerates);
    if pressures == [Pressure::Memory] && bears {
        return None;
    }
    let kinds: Vec<&str> = pressures.iter().map(|pressure| pressure.kind()).collect();
    Some(format!("The node had condition: [{}]. ", kinds.join(" ")))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).expect("a pod")
    }

    #[test]
    fn thresholds_by_amount_and_by_share() {
        assert_eq!(Thresholds::default().0.len(), 3);
        let thresholds: Thresholds =
            "nodefs.available<10%, memory.available<1Ki,pid.available<0%".parse().expect("read");
        let level = |available| Level { available, capacity: 1000 };
        let check = |memory: i64, disk: i64, expected: &[Signal]| {
            let levels = BTreeMap::from([
                (Signal::Memory, level(memory)),
                (Signal::Disk, level(disk)),
                (Signal::Pids, level(0)),
            ]);
            let met: Vec<Signal> = thresholds.met(&levels).iter().map(|met| met.signal).collect();
            assert_eq!(met, expected);
        };
        check(2000, 100, &[]);
        check(2000, 99, &[Signal::Disk]);
        check(1023, 99, &[Signal::Memory, Signal::Disk]);
        for (text, expected) in [
            ("swap.available<1", "unsupported eviction signal swap.available"),
            ("memory.available<0", "eviction threshold memory.available must be positive: 0"),
            ("nodefs.available<101%", "eviction percentage threshold nodefs.available must be <= 100%: 101%"),
            ("nodefs.available", "\"nodefs.available\" is not SIGNAL<AMOUNT"),
        ] {
            assert_eq!(text.parse::<Thresholds>().expect_err(text), expected);
        }
    }

    #[test]
    fn who_goes_first() {
        let candidate = |name: &str, request: &str, priority: i32, used: i64| {
            let mut pod = pod(json!({"priority": priority, "containers": [
                {"name": "a", "resources": {"requests": {"memory": request}}}]}));
            pod.metadata.name = Some(name.to_owned());
            (Arc::new(pod), PodUse { memory: used, ..PodUse::default() })
        };
        let mut pods = vec![
            candidate("modest", "1Ki", 0, 1024),
            candidate("important", "0", 5, 9000),
            candidate("greedy", "0", 0, 5000),
            candidate("greedier", "1Ki", 0, 9000),
        ];
        rank(Signal::Memory, &mut pods);
        let order: Vec<_> = pods.iter().filter_map(|(pod, _)| pod.metadata.name.as_deref()).collect();
        assert_eq!(order, ["greedier", "greedy", "important", "modest"]);
    }

    #[test]
    fn what_is_said() {
        let pod = pod(json!({
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}],
            "containers": [{"name": "a", "resources": {
                "requests": {"memory": "1Mi"}, "limits": {"ephemeral-storage": "2Mi"}}}],
        }));
        let used = |volume: i64, disk: i64| PodUse {
            disk,
            volumes: BTreeMap::from([("v".to_owned(), volume)]),
            containers: BTreeMap::from([("a".to_owned(), ContainerUse { memory: 2 << 20, disk })]),
            ..PodUse::default()
        };
        let check = |volume: i64, disk: i64, expected: Option<&str>| {
            assert_eq!(breach(&pod, &used(volume, disk)).as_deref(), expected);
        };
        check(1 << 20, 2 << 20, None);
        check((1 << 20) + 1, 0, Some("Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". "));
        check(0, 3 << 20, Some("Pod ephemeral local storage usage exceeds the total limit of containers 2Mi. "));
        let met = Met { signal: Signal::Memory, least: 100 << 20, available: 50 << 20 };
        let text = "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. \
                    Container a was using 2Mi, request is 1Mi, has larger consumption of memory. ";
        assert_eq!(message(met, &pod, &used(0, 0)), text);
    }

    #[test]
    fn who_may_come_to_a_node_that_runs_short() {
        let check = |pressures: &[Pressure], spec: Value, expected: Option<&str>| {
            assert_eq!(refuse(pressures, &pod(spec)).as_deref(), expected);
        };
        let plain = json!({"containers": [{"name": "a"}]});
        let memory = Some("The node had condition: [MemoryPressure]. ");
        check(&[], plain.clone(), None);
        check(&[Pressure::Memory], plain.clone(), memory);
        let asking = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]});
        check(&[Pressure::Memory], asking.clone(), None);
        check(&[Pressure::Disk], asking, Some("The node had condition: [DiskPressure]. "));
        let critical = json!({"priority": 2_000_000_000, "containers": [{"name": "a"}]});
        check(&[Pressure::Disk], critical, None);
        let tolerant = json!({"containers": [{"name": "a"}], "tolerations": [{"operator": "Exists"}]});
        check(&[Pressure::Memory], tolerant, None);
    }
}
