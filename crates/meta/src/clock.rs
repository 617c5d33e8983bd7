//! Time as an argument: wall time for stored stamps, monotonic time for durations.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// Where time comes from. Wall time goes into stored timestamps only; durations are measured by the monotonic side.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> Timestamp;
    /// The monotonic clock.
    fn instant(&self) -> Instant;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct TestClock {
    now: Mutex<(Timestamp, Instant)>,
}

impl TestClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { now: Mutex::new((now, Instant::now())) }
    }

    /// Moves both sides forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.now.lock().expect("no holder of this lock can panic");
        now.0 += by;
        now.1 += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.now.lock().expect("no holder of this lock can panic").0
    }

    fn instant(&self) -> Instant {
        self.now.lock().expect("no holder of this lock can panic").1
    }
}

/// RFC 3339 in whole seconds, UTC: the form of `metav1.Time`.
pub fn format_time(time: Timestamp) -> String {
    DateTimePrinter::new().precision(Some(0)).timestamp_to_string(&time)
}

/// RFC 3339 with six digits of a second: the form of `metav1.MicroTime`.
pub fn format_micro_time(time: Timestamp) -> String {
    DateTimePrinter::new().precision(Some(6)).timestamp_to_string(&time)
}

/// Reads either form.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_upstreams_form() {
        let time = parse_time("2026-03-04T05:06:07.891234Z").expect("a time");
        assert_eq!(format_time(time), "2026-03-04T05:06:07Z");
        assert_eq!(format_micro_time(time), "2026-03-04T05:06:07.891234Z");
        assert_eq!(parse_time("2026-03-04T06:06:07+01:00"), parse_time("2026-03-04T05:06:07Z"));
        assert_eq!(parse_time("yesterday"), None);
    }
}
