//! When that happened which endpoints change for: who follows them measures by it how soon it hears.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::{items, text};

/// The annotation that tells it.
pub(super) const LAST_CHANGE: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Remembers by service what was seen at the last look. Times are texts, which sort as they are.
#[derive(Debug, Default)]
pub(crate) struct Triggers(Mutex<HashMap<String, Seen>>);

#[derive(Debug, Default)]
struct Seen {
    service: String,
    /// By pod, when its readiness last changed.
    pods: HashMap<String, String>,
}

impl Triggers {
    /// The earliest of all changes since the last look; of a new service, when it was made. `None` if nothing tells.
    pub(super) fn of(&self, key: &str, service: &Value, pods: &[Value]) -> Option<String> {
        let made = text(service, "/metadata/creationTimestamp").to_owned();
        let now: HashMap<String, String> = pods.iter().filter_map(readiness).collect();
        let Some(old) = self.lock().insert(key.to_owned(), Seen { service: made.clone(), pods: now.clone() }) else {
            return Some(made).filter(|made| !made.is_empty());
        };
        let is_later = |(pod, time): &(String, String)| old.pods.get(pod).is_none_or(|before| before < time);
        let pods = now.into_iter().filter(is_later).map(|(_, time)| time);
        pods.chain((old.service < made).then_some(made)).min()
    }

    /// Nothing is to be known of a service that is gone.
    pub(super) fn forget(&self, key: &str) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells in an object what it is written for.
pub(super) fn stamp(object: &mut Value, trigger: Option<&str>) {
    if let Some(time) = trigger {
        object["metadata"]["annotations"][LAST_CHANGE] = json!(time);
    } else if let Some(Value::Object(annotations)) = object.pointer_mut("/metadata/annotations") {
        annotations.remove(LAST_CHANGE);
    }
}

/// A pod's name, and when its readiness last changed.
fn readiness(pod: &Value) -> Option<(String, String)> {
    let condition = items(pod, "/status/conditions").iter().find(|condition| condition["type"] == "Ready")?;
    let time = condition["lastTransitionTime"].as_str()?;
    Some((text(pod, "/metadata/name").to_owned(), time.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_change_since_the_last_look_is_told() {
        let triggers = Triggers::default();
        let service = json!({"metadata": {"creationTimestamp": "2026-01-01T00:00:01Z"}});
        let check = |pods: &[(&str, u8)], expected: Option<&str>| {
            let pod = |(name, second): &(&str, u8)| {
                let time = format!("2026-01-01T00:00:0{second}Z");
                json!({"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "lastTransitionTime": time}]}})
            };
            let pods: Vec<Value> = pods.iter().map(pod).collect();
            let found = triggers.of("a/b", &service, &pods);
            assert_eq!(found.as_deref(), expected);
        };
        check(&[("x", 3)], Some("2026-01-01T00:00:01Z"));
        check(&[("x", 3)], None);
        check(&[("x", 5), ("y", 4)], Some("2026-01-01T00:00:04Z"));
        check(&[("y", 4)], None);
        triggers.forget("a/b");
        check(&[("y", 4)], Some("2026-01-01T00:00:01Z"));
    }
}
