//! Who is tried when.
//!
//! Pods that wait stand in one of three places: active ones are tried by importance; those that were tried lately and may fit
//! now come back after a while; others are parked until something happens that could help them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::plugins::Events;

/// The first and the longest wait between two attempts.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

/// Whoever is parked for so long is tried anyway.
const FLUSH: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Active,
    /// Until then. After a failure (of ours, not of the cluster's) the wait is kept in any case.
    BackOff(Instant, bool),
    Parked(Events),
    /// It is being tried.
    Out,
}

#[derive(Clone, Debug)]
struct Entry {
    priority: i32,
    /// Of two as important, the earlier one is first.
    turn: u64,
    attempts: u32,
    tried: Option<Instant>,
    place: Place,
}

impl Entry {
    fn due(&self) -> Option<Instant> {
        let wait = BACK_OFF.0.saturating_mul(2_u32.saturating_pow(self.attempts.saturating_sub(1)));
        self.tried.map(|tried| tried + wait.min(BACK_OFF.1))
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    entries: BTreeMap<String, Entry>,
    active: BTreeSet<(Reverse<i32>, u64, String)>,
    waiting: BTreeSet<(Instant, String)>,
    parked: BTreeSet<(Instant, String)>,
    turns: u64,
}

impl Queue {
    /// A pod that is new, or that changed so that it may fit now: it is tried as soon as possible.
    pub(crate) fn add(&mut self, key: &str, priority: i32) {
        self.turns += 1;
        let turn = self.turns;
        self.entries.entry(key.to_owned()).or_insert(Entry {
            priority,
            turn,
            attempts: 0,
            tried: None,
            place: Place::Out,
        });
        self.take(key);
        if let Some(entry) = self.entries.get_mut(key) {
            entry.priority = priority;
        }
        self.put(key, Place::Active);
    }

    /// A pod that is gone, or has its node.
    pub(crate) fn remove(&mut self, key: &str) {
        self.take(key);
        self.entries.remove(key);
    }

    /// Brings back those whom these happenings may help, of whom `could` says so too.
    pub(crate) fn wake(&mut self, events: Events, now: Instant, could: impl Fn(&str) -> bool) {
        if events.is_empty() || self.parked.is_empty() {
            return;
        }
        // Who waits for other pods to come may be helped from anywhere.
        let helped = |key: &str, entry: &Entry| match entry.place {
            Place::Parked(waits_for) => {
                waits_for.meets(events) && (waits_for.meets(Events::POD_ASSIGNED) || could(key))
            }
            Place::Active | Place::BackOff(..) | Place::Out => false,
        };
        let keys: Vec<String> =
            self.entries.iter().filter(|(key, entry)| helped(key, entry)).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.bring_back(key, now));
    }

    /// The next pod to try.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<String> {
        while let Some((at, key)) = self.parked.first().cloned().filter(|(at, _)| *at <= now) {
            self.parked.remove(&(at, key.clone()));
            self.bring_back(&key, now);
        }
        while let Some((_, key)) = self.waiting.first().cloned().filter(|(at, _)| *at <= now) {
            self.take(&key);
            self.put(&key, Place::Active);
        }
        // Compat: with nobody else to try, those that only wait their turn out are tried early.
        let early = || {
            let patient = |key: &String| matches!(self.entries.get(key)?.place, Place::BackOff(_, false)).then_some(());
            self.waiting.iter().map(|(_, key)| key).find(|key| patient(key).is_some()).cloned()
        };
        let key = self.active.first().map(|(_, _, key)| key.clone()).or_else(early)?;
        self.take(&key);
        let entry = self.entries.get_mut(&key)?;
        entry.attempts += 1;
        entry.tried = Some(now);
        Some(key)
    }

    /// A pod that was tried fits nowhere; these happenings may change it.
    pub(crate) fn park(&mut self, key: &str, events: Events) {
        self.put(key, Place::Parked(events));
    }

    /// Trying a pod failed for a reason that has nothing to do with the cluster.
    pub(crate) fn failed(&mut self, key: &str) {
        if let Some(due) = self.entries.get(key).and_then(Entry::due) {
            self.put(key, Place::BackOff(due, true));
        }
    }

    /// When there is something to do though nothing happens.
    pub(crate) fn due(&self) -> Option<Instant> {
        let first = |set: &BTreeSet<(Instant, String)>| set.first().map(|(at, _)| *at);
        [first(&self.waiting), first(&self.parked)].into_iter().flatten().min()
    }

    fn bring_back(&mut self, key: &str, now: Instant) {
        let due = self.entries.get(key).and_then(Entry::due).filter(|due| *due > now);
        self.take(key);
        self.put(key, due.map_or(Place::Active, |due| Place::BackOff(due, false)));
    }

    fn put(&mut self, key: &str, place: Place) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.place = place;
        let own = key.to_owned();
        match place {
            Place::Active => drop(self.active.insert((Reverse(entry.priority), entry.turn, own))),
            Place::BackOff(at, _) => drop(self.waiting.insert((at, own))),
            Place::Parked(_) => {
                if let Some(tried) = entry.tried {
                    self.parked.insert((tried + FLUSH, own));
                }
            }
            Place::Out => {}
        }
    }

    /// Takes a pod out of where it stands.
    fn take(&mut self, key: &str) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let own = key.to_owned();
        match std::mem::replace(&mut entry.place, Place::Out) {
            Place::Active => drop(self.active.remove(&(Reverse(entry.priority), entry.turn, own))),
            Place::BackOff(at, _) => drop(self.waiting.remove(&(at, own))),
            Place::Parked(_) => {
                if let Some(tried) = entry.tried {
                    self.parked.remove(&(tried + FLUSH, own));
                }
            }
            Place::Out => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_important_are_first() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        for (key, priority) in [("a", 0), ("b", 0), ("c", 7)] {
            queue.add(key, priority);
        }
        queue.remove("b");
        let order = [queue.pop(now), queue.pop(now), queue.pop(now)];
        assert_eq!(order, [Some("c".to_owned()), Some("a".to_owned()), None]);
    }

    #[test]
    fn only_what_helps_brings_a_pod_back() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add("a", 0);
        assert_eq!(queue.pop(now).as_deref(), Some("a"));
        queue.park("a", Events::NODE_ADDED);
        queue.wake(Events::POD_GONE, now, |_| true);
        assert_eq!(queue.pop(now), None);
        assert_eq!(queue.due(), Some(now + FLUSH));
        queue.wake(Events::NODE_ADDED, now, |_| false);
        assert_eq!(queue.pop(now), None);
        queue.wake(Events::NODE_ADDED, now, |_| true);
        assert_eq!(queue.pop(now).as_deref(), Some("a"), "nobody else is there, so it need not wait");
        queue.park("a", Events::NODE_ADDED);
        assert_eq!(queue.pop(now + FLUSH).as_deref(), Some("a"), "it is tried at last in any case");
    }

    #[test]
    fn failures_wait_longer_and_longer() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        queue.add("a", 0);
        for seconds in [1, 2, 4, 8, 10, 10] {
            assert_eq!(queue.pop(now).as_deref(), Some("a"), "{seconds}");
            queue.failed("a");
            assert_eq!(queue.due(), Some(now + Duration::from_secs(seconds)));
            assert_eq!(queue.pop(now), None, "{seconds}");
            now += Duration::from_secs(seconds);
        }
    }
}
