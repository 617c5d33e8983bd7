//! After a restart of the process: what the runtime's records say about a pod.

use std::collections::BTreeMap;

use container::{ContainerState, ContainerStatus, SandboxState, SandboxStatus};

use crate::launch::keys;

/// The newest instances of a container.
#[derive(Clone, Debug)]
pub(crate) struct Recovered {
    pub(crate) current: ContainerStatus,
    pub(crate) previous: Option<ContainerStatus>,
    pub(crate) attempt: i32,
}

/// The newest sandbox of a pod and what was in it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) sandbox: SandboxStatus,
    pub(crate) ready: bool,
    pub(crate) attempt: u32,
    pub(crate) containers: BTreeMap<String, Recovered>,
}

/// The id of a pod's sandbox.
pub(crate) fn sandbox_id(uid: &str, attempt: u32) -> String {
    format!("{uid}.{attempt}")
}

/// The pod's UID and the attempt, of a sandbox's id.
pub(crate) fn parse_sandbox_id(id: &str) -> Option<(&str, u32)> {
    let (uid, attempt) = id.rsplit_once('.')?;
    Some((uid, attempt.parse().ok()?))
}

/// Sorts the runtime's records of one node by pod UID; of several sandboxes of a pod, the newest.
pub(crate) fn find(sandboxes: Vec<SandboxStatus>, node: &str) -> BTreeMap<String, Found> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for sandbox in sandboxes {
        if sandbox.config.labels.get(keys::NODE).map(String::as_str) != Some(node) {
            continue;
        }
        let Some((uid, attempt)) = parse_sandbox_id(&sandbox.config.id) else { continue };
        if found.get(uid).is_some_and(|other| other.attempt > attempt) {
            continue;
        }
        let uid = uid.to_owned();
        let containers = containers(&sandbox.containers);
        let ready = sandbox.state == SandboxState::Ready;
        found.insert(uid, Found { sandbox, ready, attempt, containers });
    }
    found
}

fn attempt(container: &ContainerStatus) -> i32 {
    container.config.annotations.get(keys::ATTEMPT).and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn containers(all: &[ContainerStatus]) -> BTreeMap<String, Recovered> {
    let mut sorted: Vec<_> = all.iter().filter(|container| container.state != ContainerState::Created).collect();
    sorted.sort_by_key(|container| attempt(container));
    let mut recovered: BTreeMap<String, Recovered> = BTreeMap::new();
    for container in sorted {
        let previous = recovered.remove(&container.config.name).map(|before| before.current);
        let entry = Recovered { current: container.clone(), previous, attempt: attempt(container) };
        recovered.insert(container.config.name.clone(), entry);
    }
    recovered
}

#[cfg(test)]
mod tests {
    use super::*;
    use container::{ContainerConfig, Exit, ExitStatus};
    use std::time::SystemTime;

    #[test]
    fn the_newest_two_instances() {
        let instance = |id: &str, attempt: i32| ContainerStatus {
            config: ContainerConfig {
                id: id.to_owned(),
                name: "c".to_owned(),
                annotations: BTreeMap::from([(keys::ATTEMPT.to_owned(), attempt.to_string())]),
                ..ContainerConfig::default()
            },
            created_at: SystemTime::UNIX_EPOCH,
            state: ContainerState::Exited(Exit {
                status: ExitStatus { code: 1, signal: None },
                oom_killed: false,
                started_at: SystemTime::UNIX_EPOCH,
                finished_at: SystemTime::UNIX_EPOCH,
            }),
        };
        let found = containers(&[instance("b", 1), instance("c", 2), instance("a", 0)]);
        let found = &found["c"];
        assert_eq!((found.current.config.id.as_str(), found.attempt), ("c", 2));
        assert_eq!(found.previous.as_ref().unwrap().config.id, "b");
        assert_eq!(parse_sandbox_id(&sandbox_id("u-1", 3)), Some(("u-1", 3)));
    }
}
