//! A pod as controllers of workloads see it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use meta::{Object, parse_time};
use serde::Deserialize;

/// Overrides which pods go first when there are too many.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Body {
    metadata: BodyMetadata,
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BodyMetadata {
    annotations: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Status {
    phase: Option<String>,
    conditions: Option<Vec<Condition>>,
    container_statuses: Option<Vec<Container>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Condition {
    r#type: String,
    status: String,
    last_transition_time: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    restart_count: i64,
}

/// A pod, with what decisions need.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) object: Arc<Object>,
    pub(crate) node: String,
    pub(crate) phase: String,
    pub(crate) ready: bool,
    pub(crate) ready_since: Option<Timestamp>,
    pub(crate) restarts: i64,
    pub(crate) deletion_cost: i64,
}

impl Pod {
    pub(crate) fn of(object: Arc<Object>) -> Self {
        let body: Body = object.view().unwrap_or_default();
        let ready =
            body.status.conditions.unwrap_or_default().into_iter().find(|condition| condition.r#type == "Ready");
        let cost = body.metadata.annotations.as_ref().and_then(|all| all.get(DELETION_COST));
        let restarts = body.status.container_statuses.iter().flatten().map(|container| container.restart_count).max();
        Self {
            node: body.spec.node_name.unwrap_or_default(),
            phase: body.status.phase.unwrap_or_default(),
            ready: ready.as_ref().is_some_and(|condition| condition.status == "True"),
            ready_since: ready.and_then(|ready| ready.last_transition_time).and_then(|time| parse_time(&time)),
            restarts: restarts.unwrap_or(0),
            deletion_cost: cost.and_then(|cost| cost.parse().ok()).unwrap_or(0),
            object,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.object.metadata.name
    }

    pub(crate) fn is_terminating(&self) -> bool {
        self.object.metadata.is_terminating()
    }

    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Neither finished nor being deleted.
    pub(crate) fn is_active(&self) -> bool {
        !self.is_finished() && !self.is_terminating()
    }

    /// A label's value.
    pub(crate) fn label(&self, name: &str) -> &str {
        self.object.metadata.labels.get(name).map_or("", String::as_str)
    }

    /// Whether it has been ready for that many seconds.
    pub(crate) fn is_available(&self, min_ready: i64, now: Timestamp) -> bool {
        self.ready && self.available_in(min_ready, now).is_none()
    }

    /// How long a pod that is ready must stay so until it is available; `None` if it is, or isn't ready.
    pub(crate) fn available_in(&self, min_ready: i64, now: Timestamp) -> Option<Duration> {
        if !self.ready || min_ready == 0 {
            return None;
        }
        let left = self.ready_since.map_or(min_ready, |since| since.as_second() + min_ready - now.as_second());
        u64::try_from(left).ok().filter(|left| *left > 0).map(Duration::from_secs)
    }
}
