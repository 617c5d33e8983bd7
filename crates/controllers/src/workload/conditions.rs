//! Conditions of a status.

use serde_json::{Value, json};

/// The condition of a type.
pub(crate) fn find<'a>(conditions: &'a [Value], kind: &str) -> Option<&'a Value> {
    conditions.iter().find(|condition| condition["type"] == kind)
}

/// A new condition.
pub(crate) fn condition(kind: &str, status: &str, reason: &str, message: &str, now: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": message,
        "lastUpdateTime": now, "lastTransitionTime": now})
}

/// Sets a condition: one that says the same stays as it is, and one of the same status keeps its time.
pub(crate) fn set(conditions: &mut Vec<Value>, mut condition: Value) {
    let kind = condition["type"].clone();
    if let Some(old) = conditions.iter().find(|old| old["type"] == kind) {
        if old["status"] == condition["status"] && old["reason"] == condition["reason"] {
            return;
        }
        if old["status"] == condition["status"] {
            condition["lastTransitionTime"] = old["lastTransitionTime"].clone();
        }
    }
    conditions.retain(|old| old["type"] != kind);
    conditions.push(condition);
}

/// Removes a condition.
pub(crate) fn remove(conditions: &mut Vec<Value>, kind: &str) {
    conditions.retain(|old| old["type"] != kind);
}
