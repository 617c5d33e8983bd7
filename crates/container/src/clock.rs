//! The one place where this crate reads the wall clock: stamps of starts, exits and log lines come from the process
//! that sees them happen.

use std::time::{SystemTime, UNIX_EPOCH};

/// Wall time now.
#[expect(
    clippy::disallowed_methods,
    reason = "this crate depends on no other of ours, and the shim has no daemon to ask"
)]
pub(crate) fn now() -> SystemTime {
    SystemTime::now()
}

/// `2026-11-23T12:00:00.123456789Z`, the stamp of a log line.
pub(crate) fn rfc3339_nanos(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:09}Z", second % 60, since.subsec_nanos())
}

/// Days since 1970-01-01 as a date, counting from the first of March so that the leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(seconds: u64, nanos: u32, want: &str) {
        assert_eq!(rfc3339_nanos(UNIX_EPOCH + Duration::new(seconds, nanos)), want);
    }

    #[test]
    fn stamps() {
        check(0, 0, "1970-01-01T00:00:00.000000000Z");
        check(951_782_400, 5, "2000-02-29T00:00:00.000000005Z");
        check(1_795_435_200, 123_456_789, "2026-11-23T12:00:00.123456789Z");
        check(4_107_542_399, 0, "2100-02-28T23:59:59.000000000Z");
    }
}
