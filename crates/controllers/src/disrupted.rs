//! Saying of a pod that it goes because of its node, not because of itself: whoever owns it may count that differently.

use client::Client;
use meta::{ApiError, Clock, Gvr, Object, PatchType, ResourcePath, WriteOptions, format_time};
use serde_json::{Value, json};

/// Why a pod goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disruption {
    pub(crate) reason: &'static str,
    pub(crate) message: &'static str,
    /// Whether it failed by that; nobody else will say so when its node is gone.
    pub(crate) failed: bool,
}

impl Disruption {
    fn patch(&self, pod: &Object, now: &str) -> Value {
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": self.reason, "message": self.message,
            "lastTransitionTime": now, "observedGeneration": pod.metadata.generation,
        });
        let mut status = json!({"conditions": [condition]});
        if self.failed {
            status["phase"] = json!("Failed");
        }
        json!({"metadata": {"uid": pod.metadata.uid}, "status": status})
    }

    /// Writes it into the pod's status.
    pub(crate) async fn tell(&self, client: &Client, pod: &Object, clock: &dyn Clock) -> Result<(), ApiError> {
        let (pods, metadata) = (Gvr::new("", "v1", "pods"), &pod.metadata);
        let path = ResourcePath::object(pods, &metadata.namespace, &metadata.name).subresource("status");
        let patch = self.patch(pod, &format_time(clock.now()));
        client.patch(&path, PatchType::StrategicMerge, &patch, WriteOptions::default()).await.map(drop)
    }
}
