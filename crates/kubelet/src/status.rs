//! The status of a pod: a pure function from its object and what is known of its containers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use container::{ContainerState, ProcessUser};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    self as core, Container, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::cgroups;
use crate::conditions::conditions;
use crate::lifecycle::{Role, restarts, roles};
use crate::resize::{ByContainer, Resizing};

/// One start of a container, as its status tells it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) state: ContainerState,
    /// The image as the runtime names it.
    pub(crate) image: String,
    pub(crate) image_id: String,
    /// The numbers that it runs with.
    pub(crate) user: Option<ProcessUser>,
    /// What the container said when it ended.
    pub(crate) message: String,
    /// Overrides the reason of the end: `StartError`, `ContainerStatusUnknown`.
    pub(crate) reason: Option<&'static str>,
}

/// What is known of a container.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) current: Option<Record>,
    pub(crate) previous: Option<Record>,
    /// Why it doesn't run: reason and message.
    pub(crate) waiting: Option<(String, String)>,
    pub(crate) started: bool,
    pub(crate) ready: bool,
    pub(crate) restart_count: i32,
    /// It was ended to be started anew, whatever its policy.
    pub(crate) again: bool,
}

/// What is known of a pod.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodFacts {
    pub(crate) containers: BTreeMap<String, Facts>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) host_ip: Option<IpAddr>,
    pub(crate) start_time: Option<Timestamp>,
    pub(crate) has_sandbox: bool,
    /// The pod failed as a whole: reason and message.
    pub(crate) failed: Option<(String, String)>,
    /// The node's need ends it; the condition's message.
    pub(crate) disrupted: Option<String>,
    /// Nothing will run any more.
    pub(crate) terminal: bool,
    /// Resources that are not those of the spec, or not in force.
    pub(crate) resizing: Resizing,
}

/// A time without fractions, as the API stores it.
pub(crate) fn seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The status to be written.
pub(crate) fn pod_status(pod: &Pod, facts: &PodFacts, now: Timestamp) -> PodStatus {
    let now = seconds(now);
    let containers = roles(pod);
    let of = |wanted: &[Role]| -> Vec<ContainerStatus> {
        let chosen = containers.iter().filter(|(role, _)| wanted.contains(role));
        chosen.map(|(role, container)| container_status(pod, *role, container, facts)).collect()
    };
    let (init, main, ephemeral) = (of(&[Role::Init, Role::Sidecar]), of(&[Role::Main]), of(&[Role::Ephemeral]));
    let all: Vec<_> = init.iter().chain(&main).cloned().collect();
    // Compat: a pod is not over before its processes are.
    let failed = facts.failed.as_ref().filter(|_| facts.terminal);
    let phase = match failed {
        Some(_) => "Failed".to_owned(),
        None => phase(pod, &containers, &all, facts),
    };
    let some = |statuses: Vec<ContainerStatus>| (!statuses.is_empty()).then_some(statuses);
    let old = pod.status.clone().unwrap_or_default();
    let resources = cgroups::effective_resources(pod);
    PodStatus {
        conditions: Some(conditions(pod, &phase, &all, facts, now)),
        phase: Some(phase),
        init_container_statuses: some(init),
        container_statuses: some(main),
        ephemeral_container_statuses: some(ephemeral),
        pod_ip: facts.ips.first().map(IpAddr::to_string),
        pod_ips: (!facts.ips.is_empty()).then(|| facts.ips.iter().map(|ip| PodIP { ip: ip.to_string() }).collect()),
        host_ip: facts.host_ip.map(|ip| ip.to_string()),
        host_ips: facts.host_ip.map(|ip| vec![HostIP { ip: ip.to_string() }]),
        start_time: facts.start_time.map(|time| Time(seconds(time))),
        qos_class: old.qos_class.clone().or_else(|| Some(cgroups::qos_class(pod).as_str().to_owned())),
        allocated_resources: resources.requests.clone(),
        resources: Some(resources),
        observed_generation: pod.metadata.generation,
        reason: failed.map(|(reason, _)| reason.clone()).or(old.reason.clone()),
        message: failed.map(|(_, message)| message.clone()).or(old.message.clone()),
        ..old
    }
}

fn container_status(pod: &Pod, role: Role, container: &Container, facts: &PodFacts) -> ContainerStatus {
    let known = facts.containers.get(&container.name).cloned().unwrap_or_default();
    let has_init = pod.spec.as_ref().is_some_and(|spec| spec.init_containers.iter().flatten().next().is_some());
    let current = known.current.as_ref();
    let running = current.is_some_and(|record| matches!(record.state, ContainerState::Running { .. }));
    let waiting = |(reason, message): (String, String)| core::ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason),
            message: (!message.is_empty()).then_some(message),
        }),
        ..core::ContainerState::default()
    };
    let (state, last) = match (current, known.waiting) {
        (Some(record), Some(why)) if !running && !facts.terminal => (waiting(why), terminated(record)),
        (Some(record), _) => (container_state(record), known.previous.as_ref().and_then(terminated)),
        (None, Some(why)) => (waiting(why), known.previous.as_ref().and_then(terminated)),
        (None, None) => {
            let reason = if has_init { "PodInitializing" } else { "ContainerCreating" };
            (waiting((reason.to_owned(), String::new())), known.previous.as_ref().and_then(terminated))
        }
    };
    let succeeded = state.terminated.as_ref().is_some_and(|terminated| terminated.exit_code == 0);
    let newest = current.or(known.previous.as_ref());
    let or_spec = |own: &ByContainer| own.get(&container.name).cloned().or_else(|| container.resources.clone());
    let (granted, applied) = (or_spec(&facts.resizing.granted), or_spec(&facts.resizing.applied));
    ContainerStatus {
        name: container.name.clone(),
        image: newest.map(|record| record.image.clone()).unwrap_or_else(|| container.image.clone().unwrap_or_default()),
        image_id: newest.map(|record| record.image_id.clone()).unwrap_or_default(),
        container_id: newest.map(|record| format!("minke://{}", record.id)),
        restart_count: known.restart_count,
        ready: if role == Role::Init { succeeded } else { running && known.ready },
        started: Some(running && known.started),
        state: Some(state),
        last_state: Some(last.unwrap_or_default()),
        resources: newest.and(if running { applied } else { granted.clone() }),
        allocated_resources: newest
            .and(granted)
            .and_then(|resources| resources.requests)
            .filter(|requests| !requests.is_empty()),
        volume_mounts: volume_mounts(container),
        user: newest.and_then(|record| record.user.as_ref()).map(user),
        ..ContainerStatus::default()
    }
}

fn user(user: &ProcessUser) -> core::ContainerUser {
    let groups: Vec<i64> = user.groups.iter().copied().map(i64::from).collect();
    core::ContainerUser {
        linux: Some(core::LinuxContainerUser {
            uid: user.uid.into(),
            gid: user.gid.into(),
            supplemental_groups: (!groups.is_empty()).then_some(groups),
        }),
    }
}

fn volume_mounts(container: &Container) -> Option<Vec<core::VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref()?;
    let status = |mount: &core::VolumeMount| core::VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|read_only| *read_only),
        recursive_read_only: mount.read_only.filter(|read_only| *read_only).map(|_| {
            mount.recursive_read_only.clone().filter(|mode| mode != "IfPossible").unwrap_or("Disabled".to_owned())
        }),
        ..core::VolumeMountStatus::default()
    };
    Some(mounts.iter().map(status).collect())
}

fn container_state(record: &Record) -> core::ContainerState {
    match record.state {
        ContainerState::Created => core::ContainerState {
            waiting: Some(ContainerStateWaiting { reason: Some("ContainerCreating".to_owned()), message: None }),
            ..core::ContainerState::default()
        },
        ContainerState::Running { started_at, .. } => core::ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(seconds(timestamp(started_at)))) }),
            ..core::ContainerState::default()
        },
        ContainerState::Exited(_) => terminated(record).unwrap_or_default(),
    }
}

fn terminated(record: &Record) -> Option<core::ContainerState> {
    let ContainerState::Exited(exit) = record.state else { return None };
    let reason = match (record.reason, exit.oom_killed, exit.status.code) {
        (Some(reason), ..) => reason,
        (None, true, _) => "OOMKilled",
        (None, false, 0) => "Completed",
        (None, false, _) => "Error",
    };
    Some(core::ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: Some(format!("minke://{}", record.id)),
            exit_code: exit.status.code,
            // Compat: upstream's runtimes leave the signal out; the code tells it.
            signal: None,
            reason: Some(reason.to_owned()),
            message: (!record.message.is_empty()).then(|| record.message.clone()),
            started_at: Some(Time(seconds(timestamp(exit.started_at)))),
            finished_at: Some(Time(seconds(timestamp(exit.finished_at)))),
        }),
        ..core::ContainerState::default()
    })
}

/// How many containers are how.
#[derive(Default)]
struct Count {
    pending_init: usize,
    pending_sidecars: usize,
    failed_init: usize,
    running: usize,
    waiting: usize,
    stopped: usize,
    stopped_for_good: usize,
    succeeded: usize,
}

fn phase(pod: &Pod, containers: &[(Role, Container)], statuses: &[ContainerStatus], facts: &PodFacts) -> String {
    let mut count = Count::default();
    let again = |name: &str| facts.containers.get(name).is_some_and(|known| known.again);
    for ((role, container), status) in containers.iter().zip(statuses) {
        let restarts = |code| again(&container.name) || restarts(pod, *role, container, code);
        count_container(*role, status, restarts, &mut count);
    }
    let began = containers
        .iter()
        .zip(statuses)
        .any(|((role, _), status)| *role == Role::Main && crate::conditions::was_started(status));
    let phase = if count.failed_init > 0 {
        "Failed"
    } else if count.pending_init > 0 || (count.pending_sidecars > 0 && !began) || count.waiting > 0 {
        "Pending"
    } else if count.running > 0 {
        "Running"
    } else if count.stopped > 0 && (facts.terminal || count.stopped == count.stopped_for_good) {
        if count.stopped == count.succeeded { "Succeeded" } else { "Failed" }
    } else if count.stopped > 0 {
        "Running"
    } else {
        "Pending"
    };
    phase.to_owned()
}

fn count_container(role: Role, status: &ContainerStatus, restarts: impl Fn(i32) -> bool, count: &mut Count) {
    let state = status.state.clone().unwrap_or_default();
    let ended = state.terminated.clone().or_else(|| {
        let last = status.last_state.clone().unwrap_or_default().terminated;
        state.waiting.is_some().then_some(last).flatten()
    });
    let for_good = ended.as_ref().is_some_and(|ended| !restarts(ended.exit_code));
    let running = state.running.is_some();
    match role {
        Role::Init => match ended {
            Some(ended) if ended.exit_code != 0 && for_good => count.failed_init += 1,
            Some(_) if state.terminated.is_some_and(|terminated| terminated.exit_code == 0) => {}
            Some(_) | None => count.pending_init += 1,
        },
        Role::Sidecar if running => {
            count.running += 1;
            count.pending_sidecars += usize::from(status.started != Some(true));
        }
        Role::Sidecar if ended.is_none() => {
            count.pending_sidecars += 1;
            count.waiting += 1;
        }
        Role::Main if running => count.running += 1,
        Role::Main => match ended {
            Some(ended) => {
                count.stopped += 1;
                count.stopped_for_good += usize::from(for_good);
                count.succeeded += usize::from(state.terminated.is_some() && ended.exit_code == 0);
            }
            None => count.waiting += 1,
        },
        Role::Sidecar | Role::Ephemeral => {}
    }
}
