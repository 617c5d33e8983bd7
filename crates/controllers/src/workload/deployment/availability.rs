//! How many pods a Deployment may have too many or too few.

use serde_json::Value;

use crate::workload::document::{number, scaled, text};

/// The replicas that a Deployment or a ReplicaSet asks for.
pub(super) fn replicas(value: &Value) -> i64 {
    value["spec"]["replicas"].as_i64().unwrap_or(1)
}

pub(super) fn is_rolling(deployment: &Value) -> bool {
    text(deployment, "/spec/strategy/type") != "Recreate"
}

/// (maxSurge, maxUnavailable): surge rounds up, unavailable down, and not both are zero.
fn fence(deployment: &Value) -> (i64, i64) {
    let (rolling, total) = (&deployment["spec"]["strategy"]["rollingUpdate"], replicas(deployment));
    let surge = scaled(&rolling["maxSurge"], total, true);
    let unavailable = scaled(&rolling["maxUnavailable"], total, false);
    (surge, if surge == 0 && unavailable == 0 { 1 } else { unavailable })
}

pub(super) fn max_surge(deployment: &Value) -> i64 {
    if is_rolling(deployment) { fence(deployment).0 } else { 0 }
}

pub(super) fn max_unavailable(deployment: &Value) -> i64 {
    if !is_rolling(deployment) || replicas(deployment) == 0 {
        return 0;
    }
    fence(deployment).1.min(replicas(deployment))
}

pub(super) fn sum(sets: &[&Value], pointer: &str) -> i64 {
    sets.iter().map(|set| number(set, pointer)).sum()
}

/// Whether everything is of the newest template and available.
pub(super) fn is_complete(deployment: &Value, status: &Value) -> bool {
    let wanted = replicas(deployment);
    number(status, "/updatedReplicas") == wanted
        && number(status, "/replicas") == wanted
        && number(status, "/availableReplicas") == wanted
        && number(status, "/observedGeneration") >= number(deployment, "/metadata/generation")
}
