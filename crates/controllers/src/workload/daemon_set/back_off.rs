//! Pods that fail are replaced later and later, so that a set does not fight with a node that refuses them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Upstream's first and longest wait.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// A set of one generation, by its UID.
pub(super) type Key = (String, i64);

/// Since when a node rests, and for how long.
type Rest = (Instant, Duration);

/// The nodes that rest, by set.
#[derive(Debug, Default)]
pub(super) struct BackOff(Mutex<HashMap<Key, BTreeMap<String, Rest>>>);

impl BackOff {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, BTreeMap<String, Rest>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The nodes where a failed pod stays for now, each with how much longer.
    pub(super) fn resting(&self, key: &Key, now: Instant) -> BTreeMap<String, Duration> {
        let all = self.lock();
        let rests = all.get(key).into_iter().flatten();
        let left = rests.map(|(node, (since, wait))| (node, (*since + *wait).saturating_duration_since(now)));
        left.filter(|(_, left)| !left.is_zero()).map(|(node, left)| (node.clone(), left)).collect()
    }

    /// Notes that a failed pod of this node is replaced.
    pub(super) fn replaced(&self, key: &Key, node: &str, now: Instant) {
        let mut all = self.lock();
        let expired = |(since, _): &Rest| now.saturating_duration_since(*since) > LONGEST * 2;
        all.retain(|own, rests| {
            rests.retain(|_, rest| !expired(rest));
            !rests.is_empty() || own == key
        });
        let rests = all.entry(key.clone()).or_default();
        let wait = rests.get(node).map_or(FIRST, |(_, wait)| (*wait * 2).min(LONGEST));
        rests.insert(node.to_owned(), (now, wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wait_is_twice_the_last_until_long_after() {
        let (back_off, key, mut now) = (BackOff::default(), ("u".to_owned(), 1), Instant::now());
        let mut check = |advance: u64, expected: u64| {
            now += Duration::from_secs(advance);
            back_off.replaced(&key, "a", now);
            assert_eq!(back_off.resting(&key, now), [("a".to_owned(), Duration::from_secs(expected))].into());
        };
        for (advance, expected) in [(0, 1), (1, 2), (2, 4), (4, 8)] {
            check(advance, expected);
        }
        check(1801, 1);
        assert!(back_off.resting(&key, now + Duration::from_secs(1)).is_empty());
        assert!(back_off.resting(&("u".to_owned(), 2), now).is_empty(), "a new generation starts anew");
    }
}
