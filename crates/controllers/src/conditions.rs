//! Conditions whose texts are told anew each time.

use serde_json::{Value, json};

/// Sets a condition: (type, whether it holds, reason, message). The time of one that keeps its status stays.
pub(crate) fn set(conditions: &mut Vec<Value>, (kind, holds, reason, message): (&str, bool, &str, &str), now: &str) {
    let status = if holds { "True" } else { "False" };
    let old = conditions.iter_mut().find(|own| own["type"] == kind);
    let since =
        old.as_ref().filter(|old| old["status"] == status).map_or(json!(now), |old| old["lastTransitionTime"].clone());
    let condition =
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since});
    match old {
        Some(old) => *old = condition,
        None => conditions.push(condition),
    }
}
