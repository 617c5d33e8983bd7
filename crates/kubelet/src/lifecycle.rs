//! What to do next with a pod: a pure function from what is wanted, what was observed and the time to actions.
//!
//! The actor calls [`plan`] after each change and carries the actions out; whatever takes time is marked as under way in
//! [`Observed`], so that planning again asks for nothing twice. Back-offs are expressed as [`Action::WakeAt`].

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::volumes::Refreshing;

/// First delay of a restart.
const BACK_OFF_START: Duration = Duration::from_secs(10);
/// Longest delay of a restart.
const BACK_OFF_MAX: Duration = Duration::from_secs(300);
/// Without a failure for so long, delays start anew.
const BACK_OFF_RESET: Duration = Duration::from_secs(600);

/// Delays that double.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackOff {
    delay: Duration,
    updated: Option<Timestamp>,
}

impl BackOff {
    /// The delay in force.
    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }

    /// Until when to wait after a failure at `failed`; `None` if it may be tried now.
    pub(crate) fn until(&self, failed: Timestamp, now: Timestamp) -> Option<Timestamp> {
        if self.expired(failed) || self.delay.is_zero() {
            return None;
        }
        let until = failed.checked_add(self.delay).unwrap_or(now);
        (until > now).then_some(until)
    }

    /// Counts a failure: the next delay doubles.
    pub(crate) fn advance(&mut self, failed: Timestamp, now: Timestamp) {
        self.delay = if self.delay.is_zero() || self.expired(failed) {
            BACK_OFF_START
        } else {
            (self.delay * 2).min(BACK_OFF_MAX)
        };
        self.updated = Some(now);
    }

    fn expired(&self, at: Timestamp) -> bool {
        self.updated.is_some_and(|updated| at.duration_since(updated) > signed(BACK_OFF_RESET))
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

/// What part a container plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that keeps running.
    Sidecar,
    /// An ordinary one.
    Main,
    /// Added to a running pod; never restarted.
    Ephemeral,
}

/// Whether an exit is followed by a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

impl Restart {
    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("OnFailure") => Self::OnFailure,
            Some("Never") => Self::Never,
            _ => Self::Always,
        }
    }
}

/// The containers of a pod with their roles, in the order of the spec: init, ordinary, ephemeral.
pub(crate) fn roles(pod: &Pod) -> Vec<(Role, Container)> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten().map(|container| {
        let sidecar = container.restart_policy.as_deref() == Some("Always");
        (if sidecar { Role::Sidecar } else { Role::Init }, container.clone())
    });
    let main = spec.containers.iter().map(|container| (Role::Main, container.clone()));
    let ephemeral = spec.ephemeral_containers.iter().flatten().filter_map(|container| {
        // An ephemeral container has the fields of a container, and one more that is not needed here.
        let value = serde_json::to_value(container).ok()?;
        Some((Role::Ephemeral, serde_json::from_value(value).ok()?))
    });
    init.chain(main).chain(ephemeral).collect()
}

/// Whether a container that ended with `code` runs again.
pub(crate) fn restarts(pod: &Pod, role: Role, container: &Container, code: i32) -> bool {
    let of_pod = Restart::parse(pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()));
    for rule in container.restart_policy_rules.iter().flatten() {
        let Some(codes) = &rule.exit_codes else { continue };
        let listed = codes.values.iter().flatten().any(|value| *value == code);
        if (codes.operator == "In") == listed {
            return rule.action == "Restart";
        }
    }
    let policy = match (role, &container.restart_policy) {
        (Role::Sidecar, _) => Restart::Always,
        (Role::Ephemeral, _) => Restart::Never,
        (_, Some(own)) => Restart::parse(Some(own)),
        // Compat: an init container of a pod that always restarts is only run again after a failure.
        (Role::Init, None) if of_pod == Restart::Always => Restart::OnFailure,
        (_, None) => of_pod,
    };
    match policy {
        Restart::Always => true,
        Restart::OnFailure => code != 0,
        Restart::Never => false,
    }
}

/// Where a container's newest instance is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// There is none.
    #[default]
    Absent,
    /// Being pulled, made or started.
    Starting,
    /// Its process runs.
    Running,
    /// Its process runs and was asked to end.
    Stopping,
    /// Its process ended.
    Exited { code: i32, finished_at: Timestamp },
}

/// What planning knows of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Where it is.
    pub(crate) phase: Phase,
    /// Its start hook and startup probe have passed.
    pub(crate) started: bool,
    /// Delays between restarts.
    pub(crate) back_off: BackOff,
    /// An attempt to start it failed then.
    pub(crate) failed_start: Option<Timestamp>,
    /// It was ended to be started anew, whatever its policy.
    pub(crate) again: bool,
}

/// Whether there is a sandbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SandboxPhase {
    /// None, or one that was lost.
    #[default]
    Absent,
    /// Something is being done about it.
    Busy,
    /// Its last attempt failed; not before then.
    Failed { until: Timestamp },
    /// Containers can be started in it.
    Ready,
}

/// Whether the volumes are there.
pub(crate) type VolumesPhase = SandboxPhase;

/// What was observed of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) sandbox: SandboxPhase,
    pub(crate) volumes: VolumesPhase,
    /// Whether their content is being brought up to date.
    pub(crate) refreshing: Refreshing,
    /// The containers by name; what is not there is absent.
    pub(crate) containers: BTreeMap<String, Seen>,
    /// The pod is over for a reason of its own (deadline, eviction) or was over before.
    pub(crate) over: bool,
    /// The pod was deleted, gracefully or by force.
    pub(crate) deleted: bool,
    /// When `activeDeadlineSeconds` ends.
    pub(crate) deadline: Option<Timestamp>,
    /// Everything was given back after a deletion.
    pub(crate) gone: bool,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    SetUpVolumes,
    RunSandbox,
    /// Pull, make and start a container.
    Start(String),
    /// Tell that a container waits for its back-off.
    BackOff {
        container: String,
        until: Timestamp,
    },
    /// Hook, signal, grace, kill.
    Stop(String),
    /// End what is left of the sandbox; its records stay.
    StopSandbox,
    /// The deadline has passed: the pod has failed.
    Expire,
    /// Give everything back and delete the object.
    Finish,
    /// Plan again then.
    WakeAt(Timestamp),
}

/// Decides what to do next.
pub(crate) fn plan(pod: &Pod, observed: &Observed, now: Timestamp) -> Vec<Action> {
    let containers = roles(pod);
    if observed.deleted || observed.over || is_complete(pod, &containers, observed) {
        return plan_end(&containers, observed);
    }
    let mut actions = Vec::new();
    match observed.deadline {
        Some(deadline) if deadline <= now => return vec![Action::Expire],
        Some(deadline) => actions.push(Action::WakeAt(deadline)),
        None => {}
    }
    if step(observed.volumes, Action::SetUpVolumes, now, &mut actions)
        && step(observed.sandbox, Action::RunSandbox, now, &mut actions)
    {
        plan_containers(pod, &containers, observed, now, &mut actions);
    }
    actions
}

/// Asks for what one thing needs; true if it is ready.
fn step(phase: SandboxPhase, action: Action, now: Timestamp, actions: &mut Vec<Action>) -> bool {
    match phase {
        SandboxPhase::Absent => actions.push(action),
        SandboxPhase::Busy => {}
        SandboxPhase::Failed { until } if until <= now => actions.push(action),
        SandboxPhase::Failed { until } => actions.push(Action::WakeAt(until)),
        SandboxPhase::Ready => return true,
    }
    false
}

fn seen<'a>(observed: &'a Observed, name: &str) -> &'a Seen {
    const ABSENT: &Seen = &Seen {
        phase: Phase::Absent,
        started: false,
        back_off: BackOff { delay: Duration::ZERO, updated: None },
        failed_start: None,
        again: false,
    };
    observed.containers.get(name).unwrap_or(ABSENT)
}

/// Whether nothing will run any more: every ordinary container has ended for good, or an init container has failed for
/// good.
pub(crate) fn is_complete(pod: &Pod, containers: &[(Role, Container)], observed: &Observed) -> bool {
    let ended = |(role, container): &&(Role, Container)| {
        let seen = seen(observed, &container.name);
        match seen.phase {
            Phase::Exited { code, .. } => !seen.again && !restarts(pod, *role, container, code),
            Phase::Absent | Phase::Starting | Phase::Running | Phase::Stopping => false,
        }
    };
    let failed_init = |entry: &&(Role, Container)| {
        let phase = &seen(observed, &entry.1.name).phase;
        entry.0 == Role::Init && ended(entry) && !matches!(phase, Phase::Exited { code: 0, .. })
    };
    let mut main = containers.iter().filter(|(role, _)| *role == Role::Main).peekable();
    (main.peek().is_some() && main.all(|entry| ended(&entry))) || containers.iter().any(|entry| failed_init(&entry))
}

/// Whether a container is being exchanged for one of the changed spec: it has ended, and the next one is on its way.
///
/// Compat: upstream's kubelet ends and starts in one step, and tells the status when that is done.
pub(crate) fn is_exchanging(observed: &Observed) -> bool {
    let between = |seen: &Seen| {
        seen.again && seen.failed_start.is_none() && matches!(seen.phase, Phase::Exited { .. } | Phase::Starting)
    };
    let stays = !observed.deleted && !observed.over && observed.sandbox == SandboxPhase::Ready;
    stays && observed.containers.values().any(between)
}

fn plan_containers(
    pod: &Pod,
    containers: &[(Role, Container)],
    observed: &Observed,
    now: Timestamp,
    actions: &mut Vec<Action>,
) {
    // Once an ordinary container was started, the init containers before it are done, whatever is left of them.
    let main_began = containers
        .iter()
        .any(|(role, container)| *role == Role::Main && seen(observed, &container.name).phase != Phase::Absent);
    for (role, container) in containers {
        let seen = seen(observed, &container.name);
        let done = match (role, &seen.phase) {
            (Role::Init, Phase::Exited { code: 0, .. }) => true,
            (Role::Init, _) if main_began => true,
            (Role::Sidecar, _) => {
                start_if_needed(pod, *role, container, seen, now, actions);
                main_began || (seen.phase == Phase::Running && seen.started)
            }
            (Role::Init, _) => {
                start_if_needed(pod, *role, container, seen, now, actions);
                false
            }
            (Role::Main | Role::Ephemeral, _) => {
                start_if_needed(pod, *role, container, seen, now, actions);
                true
            }
        };
        if !done {
            break;
        }
    }
}

fn start_if_needed(
    pod: &Pod,
    role: Role,
    container: &Container,
    seen: &Seen,
    now: Timestamp,
    actions: &mut Vec<Action>,
) {
    let name = || container.name.clone();
    let failed = match (&seen.phase, seen.failed_start) {
        (Phase::Starting | Phase::Running | Phase::Stopping, _) => return,
        (Phase::Exited { code, .. }, _) if !seen.again && !restarts(pod, role, container, *code) => return,
        (_, Some(failed)) => failed,
        (Phase::Exited { .. }, None) if seen.again => return actions.push(Action::Start(name())),
        (Phase::Exited { finished_at, .. }, None) => *finished_at,
        (Phase::Absent, None) => return actions.push(Action::Start(name())),
    };
    match seen.back_off.until(failed, now) {
        None => actions.push(Action::Start(name())),
        Some(until) => {
            actions.push(Action::BackOff { container: name(), until });
            actions.push(Action::WakeAt(until));
        }
    }
}

/// The end: ordinary containers first, then sidecars from the last to the first, then the sandbox, then the object.
fn plan_end(containers: &[(Role, Container)], observed: &Observed) -> Vec<Action> {
    let alive = |container: &Container| {
        matches!(seen(observed, &container.name).phase, Phase::Starting | Phase::Running | Phase::Stopping)
    };
    let stop = |container: &Container| {
        (seen(observed, &container.name).phase == Phase::Running).then(|| Action::Stop(container.name.clone()))
    };
    let ordinary: Vec<_> = containers.iter().filter(|(role, c)| *role != Role::Sidecar && alive(c)).collect();
    if !ordinary.is_empty() {
        return ordinary.iter().filter_map(|(_, container)| stop(container)).collect();
    }
    if let Some((_, last)) = containers.iter().rev().find(|(role, c)| *role == Role::Sidecar && alive(c)) {
        return stop(last).into_iter().collect();
    }
    match observed.sandbox {
        SandboxPhase::Ready => vec![Action::StopSandbox],
        SandboxPhase::Busy => Vec::new(),
        SandboxPhase::Absent | SandboxPhase::Failed { .. } if observed.deleted && !observed.gone => {
            let busy = observed.volumes == VolumesPhase::Busy || observed.refreshing != Refreshing::Idle;
            if busy { Vec::new() } else { vec![Action::Finish] }
        }
        SandboxPhase::Absent | SandboxPhase::Failed { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn simple(policy: &str) -> Pod {
        pod(serde_json::json!({"restartPolicy": policy, "containers": [{"name": "a"}, {"name": "b"}],
            "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}]}))
    }

    fn running() -> Seen {
        Seen { phase: Phase::Running, started: true, ..Seen::default() }
    }

    fn exited(code: i32) -> Seen {
        Seen { phase: Phase::Exited { code, finished_at: at(0) }, ..Seen::default() }
    }

    fn observed(containers: &[(&str, Seen)]) -> Observed {
        Observed {
            sandbox: SandboxPhase::Ready,
            volumes: SandboxPhase::Ready,
            containers: containers.iter().map(|(name, seen)| ((*name).to_owned(), seen.clone())).collect(),
            ..Observed::default()
        }
    }

    #[track_caller]
    fn check(pod: &Pod, observed: &Observed, expected: &[Action]) {
        assert_eq!(plan(pod, observed, at(1)), expected);
    }

    fn start(name: &str) -> Action {
        Action::Start(name.to_owned())
    }

    fn stop(name: &str) -> Action {
        Action::Stop(name.to_owned())
    }

    #[test]
    fn what_was_ended_to_start_anew_starts_at_once() {
        let mut delayed = BackOff::default();
        delayed.advance(at(0), at(0));
        for policy in ["Always", "OnFailure", "Never"] {
            let again = Seen { again: true, back_off: delayed.clone(), ..exited(0) };
            let seen = [("i", exited(0)), ("s", running()), ("a", again), ("b", running())];
            check(&simple(policy), &observed(&seen), &[start("a")]);
        }
    }

    #[test]
    fn an_exchange_lasts_from_the_end_to_the_next_start() {
        let check = |seen: Seen, expected: bool| {
            let told = format!("{seen:?}");
            assert_eq!(is_exchanging(&observed(&[("b", running()), ("a", seen)])), expected, "{told}");
        };
        let again = |phase: Phase| Seen { phase, again: true, ..Seen::default() };
        check(again(Phase::Stopping), false);
        check(again(exited(0).phase), true);
        check(again(Phase::Starting), true);
        check(again(Phase::Running), false);
        check(Seen { failed_start: Some(at(0)), ..again(Phase::Starting) }, false);
        check(exited(0), false);
        let deleted = Observed { deleted: true, ..observed(&[("a", again(Phase::Starting))]) };
        assert!(!is_exchanging(&deleted), "a pod that goes is told of");
    }

    #[test]
    fn the_way_up() {
        let pod = simple("Always");
        check(&pod, &Observed::default(), &[Action::SetUpVolumes]);
        let volumes = Observed { volumes: SandboxPhase::Ready, ..Observed::default() };
        check(&pod, &volumes, &[Action::RunSandbox]);
        check(&pod, &observed(&[]), &[start("i")]);
        check(&pod, &observed(&[("i", running())]), &[]);
        check(&pod, &observed(&[("i", exited(0))]), &[start("s")]);
        let not_started = Seen { started: false, ..running() };
        check(&pod, &observed(&[("i", exited(0)), ("s", not_started)]), &[]);
        check(&pod, &observed(&[("i", exited(0)), ("s", running())]), &[start("a"), start("b")]);
        check(&pod, &observed(&[("i", exited(0)), ("s", running()), ("a", running()), ("b", running())]), &[]);
    }

    #[test]
    fn restarts_follow_the_policy_and_back_off() {
        let up = |a: Seen| observed(&[("i", exited(0)), ("s", running()), ("a", a), ("b", running())]);
        check(&simple("Always"), &up(exited(0)), &[start("a")]);
        check(&simple("OnFailure"), &up(exited(0)), &[]);
        check(&simple("OnFailure"), &up(exited(3)), &[start("a")]);
        check(&simple("Never"), &up(exited(3)), &[]);
        let mut waiting = exited(1);
        waiting.back_off.advance(at(0), at(0));
        let until = at(10);
        let expected = [Action::BackOff { container: "a".to_owned(), until }, Action::WakeAt(until)];
        check(&simple("Always"), &up(waiting.clone()), &expected);
        for delay in [20, 40, 80, 160, 300, 300] {
            waiting.back_off.advance(at(0), at(0));
            assert_eq!(waiting.back_off.delay().as_secs(), delay);
        }
        assert_eq!(waiting.back_off.until(at(601), at(601)), None);
    }

    #[test]
    fn the_way_down() {
        let mut seen = observed(&[("i", exited(0)), ("s", running()), ("a", running()), ("b", exited(0))]);
        seen.deleted = true;
        let pod = simple("Always");
        check(&pod, &seen, &[stop("a")]);
        seen.containers.insert("a".to_owned(), exited(143));
        check(&pod, &seen, &[stop("s")]);
        seen.containers.insert("s".to_owned(), exited(0));
        check(&pod, &seen, &[Action::StopSandbox]);
        seen.sandbox = SandboxPhase::Absent;
        seen.refreshing = Refreshing::Busy;
        check(&pod, &seen, &[]);
        seen.refreshing = Refreshing::Idle;
        check(&pod, &seen, &[Action::Finish]);
        seen.gone = true;
        check(&pod, &seen, &[]);
    }

    #[test]
    fn completion_and_deadline() {
        let done = observed(&[("i", exited(0)), ("s", running()), ("a", exited(0)), ("b", exited(1))]);
        check(&simple("Never"), &done, &[stop("s")]);
        check(&simple("Never"), &observed(&[("i", exited(1))]), &[Action::StopSandbox]);
        let late = Observed { deadline: Some(at(1)), ..observed(&[]) };
        check(&simple("Never"), &late, &[Action::Expire]);
    }
}
