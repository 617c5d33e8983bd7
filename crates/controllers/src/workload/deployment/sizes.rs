//! How large each ReplicaSet of a Deployment shall be: decided purely, in upstream's order.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::Value;

use super::availability::{is_rolling, max_surge, max_unavailable, replicas, sum};
use super::revision::{DESIRED, MAXIMUM, noted};
use crate::workload::document::{number, text};

/// Names of ReplicaSets with their new sizes.
pub(super) type Sizes = BTreeMap<String, i64>;

fn name(set: &Value) -> String {
    text(set, "/metadata/name").to_owned()
}

fn created(set: &Value) -> (String, String) {
    (text(set, "/metadata/creationTimestamp").to_owned(), name(set))
}

fn active<'a>(sets: &[&'a Value]) -> Vec<&'a Value> {
    sets.iter().filter(|set| replicas(set) > 0).copied().collect()
}

/// The size of the newest set, as far as the surge lets it grow.
pub(super) fn newest(deployment: &Value, all: &[&Value], newest: Option<&Value>) -> i64 {
    let (wanted, own) = (replicas(deployment), newest.map_or(0, replicas));
    if !is_rolling(deployment) {
        return wanted;
    }
    let total: i64 = all.iter().map(|set| replicas(set)).sum();
    let room = wanted + max_surge(deployment) - total;
    if room <= 0 { own } else { own + room.min(wanted - own).max(0) }
}

/// A step of a rolling update for the sets of old templates: those who are unwell go first.
pub(super) fn roll_old(deployment: &Value, newest: &Value, old: &[&Value]) -> Sizes {
    let old = active(old);
    let mut sizes: Sizes = old.iter().map(|set| (name(set), replicas(set))).collect();
    let total: i64 = sizes.values().sum::<i64>() + replicas(newest);
    let floor = replicas(deployment) - max_unavailable(deployment);
    let missing = replicas(newest) - number(newest, "/status/availableReplicas");
    let mut budget = total - floor - missing;
    if budget <= 0 {
        return Sizes::new();
    }
    let mut sorted = old.clone();
    sorted.sort_by_key(|set| created(set));
    for set in &sorted {
        let unwell = replicas(set) - number(set, "/status/availableReplicas");
        let step = budget.min(unwell).max(0);
        budget -= step;
        sizes.entry(name(set)).and_modify(|size| *size -= step);
    }
    let available = sum(&old, "/status/availableReplicas") + number(newest, "/status/availableReplicas");
    let mut spare = available - floor;
    for set in &sorted {
        let size = sizes.get(&name(set)).copied().unwrap_or(0);
        let step = spare.min(size).max(0);
        spare -= step;
        sizes.insert(name(set), size - step);
    }
    sizes.retain(|name, size| sorted.iter().any(|set| text(set, "/metadata/name") == name && replicas(set) != *size));
    sizes
}

/// The sizes after the Deployment's own size changed: one set takes all of it, several share it by their proportions.
pub(super) fn scale(deployment: &Value, newest: Option<&Value>, old: &[&Value]) -> Sizes {
    let wanted = replicas(deployment);
    let all: Vec<&Value> = old.iter().copied().chain(newest).collect();
    let running = active(&all);
    let only = match running.as_slice() {
        [] => newest.or_else(|| old.iter().max_by_key(|set| created(set)).copied()),
        [one] => Some(*one),
        _ => None,
    };
    if let Some(only) = only {
        return Sizes::from([(name(only), wanted)]);
    }
    let saturated = |set: &&Value| {
        replicas(set) == wanted
            && noted(set, DESIRED) == Some(wanted)
            && number(set, "/status/availableReplicas") == wanted
    };
    if newest.as_ref().is_some_and(saturated) {
        return active(old).iter().map(|set| (name(set), 0)).collect();
    }
    if is_rolling(deployment) { proportional(deployment, running) } else { Sizes::new() }
}

fn proportional(deployment: &Value, mut sets: Vec<&Value>) -> Sizes {
    let wanted = replicas(deployment);
    let allowed = if wanted > 0 { wanted + max_surge(deployment) } else { 0 };
    let to_add = allowed - sets.iter().map(|set| replicas(set)).sum::<i64>();
    // Larger sets first; among equals newer ones grow, and older ones shrink.
    sets.sort_by_key(|set| created(set));
    if to_add > 0 {
        sets.reverse();
    }
    sets.sort_by_key(|set| Reverse(replicas(set)));
    let (mut sizes, mut added) = (Sizes::new(), 0);
    for set in &sets {
        let share = share(deployment, set, to_add, added);
        added += share;
        sizes.insert(name(set), replicas(set) + share);
    }
    if let Some(size) = sets.first().and_then(|first| sizes.get_mut(&name(first))) {
        *size = (*size + to_add - added).max(0);
    }
    sizes
}

fn share(deployment: &Value, set: &Value, to_add: i64, added: i64) -> i64 {
    let own = replicas(set);
    if own == 0 || to_add == 0 || to_add == added {
        return 0;
    }
    let left = to_add - added;
    let fraction = fraction(deployment, set);
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

/// By how much a set changes to keep its share of the whole.
fn fraction(deployment: &Value, set: &Value) -> i64 {
    let (wanted, own) = (replicas(deployment), replicas(set));
    if wanted == 0 {
        return -own;
    }
    let before =
        noted(set, MAXIMUM).filter(|before| *before > 0).unwrap_or_else(|| number(deployment, "/status/replicas"));
    if before == 0 {
        return 0;
    }
    let after = wanted + max_surge(deployment);
    (2 * own * after + before) / (2 * before) - own
}
