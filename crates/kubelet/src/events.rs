//! Events about pods and their containers.

use client::{Recorder, Subject};
use meta::Object;

use crate::lifecycle::Role;

/// Writes events about one pod.
#[derive(Clone)]
pub(crate) struct PodEvents {
    recorder: Recorder,
    pod: Subject,
}

impl PodEvents {
    pub(crate) fn new(recorder: Recorder, pod: &Object) -> Self {
        Self { recorder, pod: Subject { kind: "Pod".to_owned(), api_version: "v1".to_owned(), ..Subject::of(pod) } }
    }

    fn container(&self, role: Role, name: &str) -> Subject {
        let list = match role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::Main => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        self.pod.clone().part(format!("spec.{list}{{{name}}}"))
    }

    /// About the pod, going well.
    pub(crate) fn normal(&self, reason: &str, message: impl Into<String>) {
        self.recorder.normal(&self.pod, reason, message);
    }

    /// About the pod, going wrong.
    pub(crate) fn warning(&self, reason: &str, message: impl Into<String>) {
        self.recorder.warning(&self.pod, reason, message);
    }

    /// About a container, going well.
    pub(crate) fn container_normal(&self, role: Role, name: &str, reason: &str, message: impl Into<String>) {
        self.recorder.normal(&self.container(role, name), reason, message);
    }

    /// About a container, going wrong.
    pub(crate) fn container_warning(&self, role: Role, name: &str, reason: &str, message: impl Into<String>) {
        self.recorder.warning(&self.container(role, name), reason, message);
    }
}
