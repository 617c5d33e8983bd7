//! New requests and limits for containers that run: what the node grants, and what has come into force.
//!
//! Three sets of resources: those of the spec are wanted, the granted ones are set aside on the node, the applied ones are in the cgroups.
//! [`judge`] decides whether what is wanted is granted, [`plan`] how what was granted comes into force. What a container of the pod had
//! before a restart of the program is in its status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use container::Resources;
use container::cgroup::Hierarchies;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use meta::Quantity;
use serde_json::json;

use crate::actor::Actor;
use crate::admission::{Allocatable, Refused, admit};
use crate::cgroups::{container_resources, pod_cgroup, pod_request, pod_resources};
use crate::checkpoint::Checkpoint;
use crate::lifecycle::{Phase, Role, roles};
use crate::steps::Done;

/// After a failure, for example too much memory in use for the new limit.
const AGAIN: Duration = Duration::from_secs(5);

/// Resources of containers by their names.
pub(crate) type ByContainer = BTreeMap<String, ResourceRequirements>;

/// How far the resizing of a pod is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resizing {
    pub(crate) granted: ByContainer,
    pub(crate) applied: ByContainer,
    /// Why what is wanted is not granted: reason and message.
    pub(crate) pending: Option<(&'static str, String)>,
    /// The generation whose resources are coming into force, and what went wrong with that.
    pub(crate) in_progress: Option<(i64, Option<String>)>,
    /// It was resized since it began: that is kept on the node.
    pub(crate) changed: bool,
    /// A job is at it.
    pub(crate) busy: bool,
    /// After a failure: not before then.
    pub(crate) retry: Option<Timestamp>,
}

impl Resizing {
    /// The conditions that tell of it.
    pub(crate) fn conditions(&self, pod: &Pod, now: Timestamp) -> Vec<PodCondition> {
        let generation = pod.metadata.generation;
        let pending = self.pending.as_ref().map(|(reason, message)| {
            condition("PodResizePending", Some((*reason).to_owned()), Some(message.clone()), generation)
        });
        let in_progress = self.in_progress.as_ref().map(|(generation, error)| {
            let reason = error.as_ref().map(|_| "Error".to_owned());
            condition("PodResizeInProgress", reason, error.clone(), Some(*generation))
        });
        let old = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let since = |kind: &str| old.iter().find(|before| before.type_ == kind)?.last_transition_time.clone();
        let stamped = |condition: PodCondition| PodCondition {
            last_transition_time: since(&condition.type_).or(Some(Time(now))),
            ..condition
        };
        pending.into_iter().chain(in_progress).map(stamped).collect()
    }
}

fn condition(
    kind: &str,
    reason: Option<String>,
    message: Option<String>,
    observed_generation: Option<i64>,
) -> PodCondition {
    let status = "True".to_owned();
    PodCondition { type_: kind.to_owned(), status, reason, message, observed_generation, ..PodCondition::default() }
}

/// Whether two sets of resources mean the same, however they are written.
pub(crate) fn same(one: &ResourceRequirements, other: &ResourceRequirements) -> bool {
    ["cpu", "memory"].iter().all(|name| !differs(one, other, name))
}

fn differs(one: &ResourceRequirements, other: &ResourceRequirements, name: &str) -> bool {
    let of =
        |list: &Option<BTreeMap<String, ApiQuantity>>| -> Option<Quantity> { list.as_ref()?.get(name)?.0.parse().ok() };
    of(&one.requests) != of(&other.requests) || of(&one.limits) != of(&other.limits)
}

/// What every container of the spec wants. Compat: init containers that run to their end are not resized.
pub(crate) fn wanted(pod: &Pod) -> ByContainer {
    let resizable = |(role, _): &(Role, Container)| matches!(role, Role::Main | Role::Sidecar);
    let all = roles(pod).into_iter().filter(resizable);
    all.map(|(_, container)| (container.name, container.resources.unwrap_or_default())).collect()
}

/// The pod with other resources than its spec says.
pub(crate) fn with(pod: &Pod, resources: &ByContainer) -> Pod {
    let mut pod = pod.clone();
    let spec = pod.spec.as_mut();
    let all = spec.into_iter().flat_map(|spec| spec.init_containers.iter_mut().flatten().chain(&mut spec.containers));
    for container in all {
        if let Some(own) = resources.get(&container.name) {
            container.resources = Some(own.clone());
        }
    }
    pod
}

/// Whether the node grants what the spec wants: reason and message if it does not.
pub(crate) fn judge(pod: &Pod, others: &[Pod], node: Allocatable) -> Result<(), (&'static str, String)> {
    let capacity = [("memory", node.memory), ("cpu", node.cpu)];
    for (name, capacity) in capacity {
        let requested = pod_request(pod, name);
        if requested > capacity {
            let number = |amount: Quantity| if name == "cpu" { amount.milli_value() } else { amount.value() };
            let (requested, capacity) = (number(requested), number(capacity));
            let text =
                format!("Node didn't have enough capacity: {name}, requested: {requested}, capacity: {capacity}");
            return Err(("Infeasible", text));
        }
    }
    match admit(pod, others, Allocatable { allow_privileged: true, pods: u32::MAX, ..node }) {
        Ok(()) => Ok(()),
        Err(Refused::Ignored(text)) => Err(("Deferred", text)),
        Err(Refused::Failed { message, .. }) => {
            Err(("Deferred", message.trim_start_matches("Pod was rejected: ").to_owned()))
        }
    }
}

/// How a container comes to what it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Its cgroup changes under it.
    InPlace,
    /// It is started anew.
    Restart,
}

/// How a running container's resources come into force; `None` if they are.
pub(crate) fn plan(
    container: &Container,
    granted: &ResourceRequirements,
    applied: &ResourceRequirements,
) -> Option<Way> {
    let changed: Vec<_> = ["cpu", "memory"].into_iter().filter(|name| differs(granted, applied, name)).collect();
    let restarts =
        container.resize_policy.iter().flatten().any(|policy| {
            policy.restart_policy == "RestartContainer" && changed.contains(&policy.resource_name.as_str())
        });
    match (changed.is_empty(), restarts) {
        (true, _) => None,
        (false, true) => Some(Way::Restart),
        (false, false) => Some(Way::InPlace),
    }
}

/// What an event tells of a pod's resources.
pub(crate) fn summary(pod: &Pod, generation: i64, error: Option<&str>) -> String {
    let spec = pod.spec.clone().unwrap_or_default();
    let list = |containers: &[Container]| -> Vec<_> {
        let one = |container: &Container| json!({"name": container.name, "resources": container.resources.clone().unwrap_or_default()});
        containers.iter().map(one).collect()
    };
    let mut summary = serde_json::Map::new();
    if let Some(init) = spec.init_containers.filter(|init| !init.is_empty()) {
        summary.insert("initContainers".to_owned(), list(&init).into());
    }
    summary.insert("containers".to_owned(), list(&spec.containers).into());
    summary.insert("generation".to_owned(), generation.into());
    if let Some(error) = error {
        summary.insert("error".to_owned(), error.into());
    }
    serde_json::Value::Object(summary).to_string()
}

/// Brings granted resources into force.
pub(crate) struct Apply {
    pub(crate) runtime: Arc<dyn container::Runtime>,
    pub(crate) cgroup: String,
    /// The pod as it was, and as it shall be.
    pub(crate) pods: [Pod; 2],
    /// The containers to change, with their ids.
    pub(crate) containers: Vec<(String, Container)>,
}

/// Gives what has come into force, and the failure that stopped it there.
pub(crate) async fn apply(job: Apply) -> (ByContainer, Result<(), String>) {
    let [old, new] = job.pods.each_ref().map(pod_resources);
    let mut applied = ByContainer::new();
    // What grows is allowed to the pod before its containers, what shrinks after them.
    if let Err(error) = set_pod(&job.cgroup, wider(&old, &new)).await {
        return (applied, Err(error));
    }
    for (id, container) in &job.containers {
        if let Err(error) = set_container(&*job.runtime, id, &job.pods[1], container).await {
            return (applied, Err(error));
        }
        applied.insert(container.name.clone(), container.resources.clone().unwrap_or_default());
    }
    let result = set_pod(&job.cgroup, new).await;
    (applied, result)
}

async fn set_container(
    runtime: &dyn container::Runtime,
    id: &str,
    pod: &Pod,
    container: &Container,
) -> Result<(), String> {
    let resources = container_resources(pod, container);
    // Compat: less memory than is used would kill the container, so the resize waits instead.
    if let Some(limit) = resources.memory_limit.and_then(|limit| u64::try_from(limit).ok()) {
        let used = runtime.stats(id).await.map_err(|error| error.to_string())?.memory_usage;
        if used >= limit {
            return Err(format!(
                "attempting to set container {:?} memory limit ({limit}) below current usage ({used})",
                container.name
            ));
        }
    }
    runtime.update_resources(id, &resources).await.map_err(|error| error.to_string())
}

async fn set_pod(cgroup: &str, resources: Resources) -> Result<(), String> {
    let cgroup = cgroup.to_owned();
    let set = move || Hierarchies::detect()?.group(&cgroup).apply(&resources);
    let done = tokio::task::spawn_blocking(set).await.map_err(|error| error.to_string())?;
    done.map_err(|error: container::Error| error.to_string())
}

/// The larger of each limit; none where one of them has none.
fn wider(one: &Resources, other: &Resources) -> Resources {
    fn larger<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
        one.zip(other).map(|(one, other)| one.max(other))
    }
    Resources {
        cpu_shares: larger(one.cpu_shares, other.cpu_shares),
        cpu_quota: larger(one.cpu_quota, other.cpu_quota),
        cpu_period: larger(one.cpu_period, other.cpu_period),
        memory_limit: larger(one.memory_limit, other.memory_limit),
        ..Resources::default()
    }
}

impl Actor {
    /// What containers have: what was kept on the node, or what their statuses say if they run already, else what the spec wants.
    pub(crate) fn begin_resizing(&mut self, recovered: bool) {
        if let Some(kept) = Checkpoint::read(&self.shared.pod_folder(&self.pod)) {
            let (granted, applied) = (kept.granted, kept.applied);
            let in_progress = kept.in_progress.map(|generation| (generation, None));
            self.facts.resizing = Resizing { granted, applied, in_progress, changed: true, ..Resizing::default() };
            return;
        }
        let mut granted = wanted(&self.pod);
        let status = self.pod.status.as_ref().filter(|_| recovered);
        let lists = status.map(|status| [&status.init_container_statuses, &status.container_statuses]);
        for old in lists.into_iter().flatten().flat_map(|list| list.iter().flatten()) {
            if let (Some(own), Some(resources)) = (granted.get_mut(&old.name), &old.resources) {
                own.clone_from(resources);
            }
        }
        self.facts.resizing = Resizing { applied: granted.clone(), granted, ..Resizing::default() };
    }

    /// Keeps how far the resizing is, if the pod was ever resized.
    fn keep_resources(&self) {
        let resizing = &self.facts.resizing;
        if !resizing.changed {
            return;
        }
        let checkpoint = Checkpoint {
            granted: resizing.granted.clone(),
            applied: resizing.applied.clone(),
            in_progress: resizing.in_progress.as_ref().map(|(generation, _)| *generation),
        };
        if let Err(error) = checkpoint.write(&self.shared.pod_folder(&self.pod)) {
            tracing::warn!(pod = %self.object.metadata.key(), %error, "keep a pod's resources");
        }
    }

    /// A new instance of a container has what is granted from its start.
    pub(crate) fn take_granted(&mut self, name: &str) {
        let resizing = &mut self.facts.resizing;
        if let Some(granted) = resizing.granted.get(name) {
            resizing.applied.insert(name.to_owned(), granted.clone());
        }
        self.keep_resources();
    }

    /// Grants what is wanted if the node has it, and brings it into force.
    pub(crate) fn resize(&mut self, now: Timestamp) {
        if self.observed.deleted || self.observed.over || self.facts.resizing.busy {
            return;
        }
        self.grant();
        if self.facts.resizing.retry.is_some_and(|retry| retry > now) {
            return;
        }
        self.facts.resizing.retry = None;
        self.apply_granted();
        let Some((generation, _)) = self.facts.resizing.in_progress.clone() else { return };
        let resizing = &self.facts.resizing;
        let is_applied = |(name, granted): (&String, &ResourceRequirements)| {
            resizing.applied.get(name).is_some_and(|applied| same(granted, applied))
        };
        if !resizing.busy && resizing.granted.iter().all(is_applied) {
            let pod = with(&self.pod, &resizing.granted);
            let text = format!("Pod resize completed: {}", summary(&pod, generation, None));
            self.events.normal("ResizeCompleted", text);
            self.facts.resizing.in_progress = None;
            self.keep_resources();
        }
    }

    fn grant(&mut self) {
        let wanted = wanted(&self.pod);
        let granted = &self.facts.resizing.granted;
        if wanted.iter().all(|(name, wanted)| granted.get(name).is_some_and(|granted| same(wanted, granted))) {
            self.facts.resizing.pending = None;
            return;
        }
        let (node, others) = self.neighbourhood();
        let generation = self.pod.metadata.generation.unwrap_or_default();
        match judge(&self.pod, &others, node) {
            Ok(()) => {
                let text = format!("Pod resize started: {}", summary(&self.pod, generation, None));
                self.events.normal("ResizeStarted", text);
                let resizing = &mut self.facts.resizing;
                resizing.granted = wanted;
                resizing.pending = None;
                resizing.in_progress = Some((generation, None));
                resizing.retry = None;
                resizing.changed = true;
                self.keep_resources();
                self.shared.pods.tell_freed();
            }
            Err((reason, message)) => {
                let pending = Some((reason, message));
                if self.facts.resizing.pending != pending {
                    let error = pending.as_ref().map(|(_, message)| message.as_str());
                    let text = format!("Pod resize {reason}: {}", summary(&self.pod, generation, error));
                    self.events.warning(&format!("Resize{reason}"), text);
                    self.facts.resizing.pending = pending;
                }
            }
        }
    }

    fn apply_granted(&mut self) {
        let resizing = &self.facts.resizing;
        let (mut in_place, mut restarts) = (Vec::new(), Vec::new());
        let pod = with(&self.pod, &resizing.granted);
        for (_, container) in roles(&pod) {
            let (Some(granted), Some(applied)) =
                (resizing.granted.get(&container.name), resizing.applied.get(&container.name))
            else {
                continue;
            };
            let seen = self.observed.containers.get(&container.name);
            if seen.is_none_or(|seen| seen.phase != Phase::Running) {
                continue;
            }
            match (plan(&container, granted, applied), self.target(&container)) {
                (Some(Way::Restart), _) => restarts.push(container.name.clone()),
                (Some(Way::InPlace), Some(target)) => in_place.push((target.id, container)),
                (Some(Way::InPlace) | None, _) => {}
            }
        }
        if !in_place.is_empty() || !restarts.is_empty() {
            self.spawn_apply(pod, in_place);
        }
        let grace = self.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds).unwrap_or(30);
        for name in restarts {
            self.start_anew(&name, true);
            self.stop(&name, Some((format!("Container {name} resize requires restart"), grace)));
        }
    }

    fn spawn_apply(&mut self, pod: Pod, containers: Vec<(String, Container)>) {
        let config = &self.shared.config;
        let job = Apply {
            runtime: Arc::clone(&config.runtime),
            cgroup: pod_cgroup(&config.cluster_id, &config.node_name, &pod),
            pods: [with(&self.pod, &self.facts.resizing.applied), pod],
            containers,
        };
        self.facts.resizing.busy = true;
        self.jobs.spawn(async move {
            let (applied, result) = apply(job).await;
            Done::Resized { applied, result }
        });
    }

    /// A job has brought something into force, or not.
    pub(crate) fn take_resized(&mut self, applied: ByContainer, result: Result<(), String>, now: Timestamp) {
        let resizing = &mut self.facts.resizing;
        resizing.busy = false;
        resizing.applied.extend(applied);
        self.keep_resources();
        let resizing = &mut self.facts.resizing;
        let Err(error) = result else { return };
        resizing.retry = now.checked_add(AGAIN).ok();
        if let Some((generation, before)) = &mut resizing.in_progress
            && before.as_ref() != Some(&error)
        {
            let text = format!("Pod resize error: {}", summary(&self.pod, *generation, Some(&error)));
            self.events.warning("ResizeError", text);
            *before = Some(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn resources(value: Value) -> ResourceRequirements {
        serde_json::from_value(value).expect("resources")
    }

    #[test]
    fn what_changes_and_how() {
        let container: Container = serde_json::from_value(json!({"name": "a", "resizePolicy": [
            {"resourceName": "cpu", "restartPolicy": "NotRequired"},
            {"resourceName": "memory", "restartPolicy": "RestartContainer"}]}))
        .expect("a container");
        let before = resources(json!({"requests": {"cpu": "1", "memory": "1Gi"}}));
        let check = |cpu: &str, memory: &str, expected: Option<Way>| {
            let granted = resources(json!({"requests": {"cpu": cpu, "memory": memory}}));
            assert_eq!(plan(&container, &granted, &before), expected, "{cpu} {memory}");
        };
        check("1000m", "1024Mi", None);
        check("2", "1Gi", Some(Way::InPlace));
        check("1", "2Gi", Some(Way::Restart));
    }

    #[test]
    fn what_a_node_grants() {
        let pod = |cpu: &str| -> Pod {
            let spec = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]});
            serde_json::from_value(json!({"metadata": {}, "spec": spec})).expect("a pod")
        };
        let node = Allocatable {
            cpu: Quantity::units(2),
            memory: Quantity::bytes(1 << 30),
            pods: 110,
            allow_privileged: true,
            app_armor: true,
        };
        let check = |cpu: &str, expected: Result<(), (&'static str, &str)>| {
            let found = judge(&pod(cpu), &[pod("1500m")], node);
            assert_eq!(found.as_ref().map_err(|(reason, text)| (*reason, text.as_str())).copied(), expected);
        };
        check("500m", Ok(()));
        let text = "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000";
        check("600m", Err(("Deferred", text)));
        let text = "Node didn't have enough capacity: cpu, requested: 3000, capacity: 2000";
        check("3", Err(("Infeasible", text)));
    }
}
