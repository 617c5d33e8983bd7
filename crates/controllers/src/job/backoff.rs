//! How long to wait before failed pods are replaced.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::facts::OfPod;

/// The first and the longest wait.
const WAIT: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(10), SignedDuration::from_secs(600));

/// Failures in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Failures {
    pub(super) count: u32,
    pub(super) last: Option<Timestamp>,
}

impl Failures {
    /// With pods that ended since.
    pub(super) fn with(self, succeeded: &[&Pod], failed: &[&Pod]) -> Self {
        let success = succeeded.iter().map(|pod| pod.ended()).max();
        let since = failed.iter().map(|pod| pod.ended()).filter(|at| success.is_none_or(|success| *at > success));
        let ends: Vec<Timestamp> = since.collect();
        let before = if success.is_some() { Self::default() } else { self };
        let count = before.count + u32::try_from(ends.len()).unwrap_or(u32::MAX);
        Self { count, last: ends.into_iter().max().or(before.last) }
    }

    /// How long to wait still.
    pub(super) fn remaining(self, now: Timestamp) -> SignedDuration {
        let Some(last) = self.last.filter(|_| self.count > 0) else { return SignedDuration::ZERO };
        let doubled = 2_i32.saturating_pow(self.count - 1);
        let wait = WAIT.0.checked_mul(doubled).unwrap_or(WAIT.1).min(WAIT.1);
        (wait - now.duration_since(last)).max(SignedDuration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_in_a_row_doubles_the_wait() {
        let at = |seconds: i64| Timestamp::from_second(seconds).expect("a time");
        for (count, now, expected) in
            [(0, 100, 0), (1, 100, 10), (1, 104, 6), (3, 100, 40), (3, 150, 0), (40, 100, 600)]
        {
            let failures = Failures { count, last: Some(at(100)) };
            assert_eq!(failures.remaining(at(now)).as_secs(), expected, "{count} {now}");
        }
    }
}
