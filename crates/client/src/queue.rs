//! A queue of keys: a key waits at most once, is worked on by at most one worker, and comes again if it was added
//! meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The shortest and the longest wait of a key that keeps failing.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(300));

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<String>,
    waiting: BTreeSet<String>,
    active: BTreeSet<String>,
    later: BTreeSet<(Instant, String)>,
    failures: BTreeMap<String, u32>,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

impl Queue {
    /// Adds a key, to be worked on as soon as possible.
    pub(crate) fn add(&self, key: String) {
        self.lock().push(key);
        self.changed.notify_one();
    }

    /// Adds a key, to be worked on after a while.
    pub(crate) fn add_after(&self, key: String, wait: Duration, now: Instant) {
        self.lock().later.insert((now + wait, key));
        self.changed.notify_one();
    }

    /// Adds a key that failed: each time in a row it waits twice as long.
    pub(crate) fn add_failed(&self, key: String, now: Instant) {
        let failures = {
            let mut state = self.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures += 1;
            *failures - 1
        };
        let wait = BACK_OFF.0.saturating_mul(2_u32.saturating_pow(failures)).min(BACK_OFF.1);
        self.add_after(key, wait, now);
    }

    /// Forgets a key's failures.
    pub(crate) fn succeeded(&self, key: &str) {
        self.lock().failures.remove(key);
    }

    /// The next key; the caller must call [`Queue::done`] with it.
    pub(crate) async fn next(&self, clock: &dyn meta::Clock) -> String {
        loop {
            let changed = self.changed.notified();
            let due = {
                let mut state = self.lock();
                state.promote(clock.instant());
                if let Some(key) = state.ready.pop_front() {
                    state.waiting.remove(&key);
                    state.active.insert(key.clone());
                    if !state.ready.is_empty() {
                        self.changed.notify_one();
                    }
                    return key;
                }
                state.later.first().map(|(at, _)| *at)
            };
            match due {
                Some(at) => {
                    let wait = at.saturating_duration_since(clock.instant());
                    tokio::select! { () = changed => {} () = tokio::time::sleep(wait) => {} }
                }
                None => changed.await,
            }
        }
    }

    /// A key's work is over.
    pub(crate) fn done(&self, key: &str) {
        let mut state = self.lock();
        state.active.remove(key);
        if state.waiting.contains(key) {
            state.ready.push_back(key.to_owned());
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock can panic")
    }
}

impl State {
    fn push(&mut self, key: String) {
        if self.waiting.insert(key.clone()) && !self.active.contains(&key) {
            self.ready.push_back(key);
        }
    }

    fn promote(&mut self, now: Instant) {
        while self.later.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, key)) = self.later.pop_first() {
                self.push(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use meta::{Clock, SystemClock, TestClock};

    use super::*;

    #[tokio::test]
    async fn a_key_is_worked_on_once_at_a_time() {
        let queue = Queue::default();
        let clock = SystemClock;
        queue.add("a".into());
        queue.add("a".into());
        queue.add("b".into());
        assert_eq!(queue.next(&clock).await, "a");
        queue.add("a".into());
        assert_eq!(queue.next(&clock).await, "b");
        queue.done("b");
        queue.done("a");
        assert_eq!(queue.next(&clock).await, "a", "what was added during the work comes again");
    }

    #[tokio::test]
    async fn failures_wait_longer_and_longer() {
        let queue = Queue::default();
        let clock = TestClock::at(meta::parse_time("2026-01-01T00:00:00Z").expect("a time"));
        for wait in [5, 10, 20] {
            queue.add_failed("a".into(), clock.instant());
            clock.advance(Duration::from_millis(wait - 1));
            queue.lock().promote(clock.instant());
            assert!(queue.lock().ready.is_empty(), "{wait}");
            clock.advance(Duration::from_millis(1));
            assert_eq!(queue.next(&clock).await, "a");
            queue.done("a");
        }
    }
}
