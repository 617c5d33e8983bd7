//! Ages as `kubectl get` shows them.

use serde_json::Value;

/// A duration in upstream's short form: `45s`, `3m20s`, `5h`, `3d4h`, `2y10d`.
pub fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |large: i64, large_unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit}{small}{small_unit}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(seconds / YEAR, "y", seconds % YEAR / DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// The time since an RFC 3339 time, or `<unknown>`.
pub(crate) fn since(time: Option<&str>, now: i64) -> String {
    let time = time.and_then(meta::parse_time);
    time.map_or_else(|| "<unknown>".to_owned(), |time| human_duration(now - time.as_second()))
}

/// The object's age.
pub(crate) fn of(object: &Value, now: i64) -> Value {
    since(object.pointer("/metadata/creationTimestamp").and_then(Value::as_str), now).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_upstreams() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (3599, "59m"),
            (10_860, "3h1m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (273_600, "3d4h"),
            (800_000, "9d"),
            (63_072_000 + 864_000, "2y10d"),
        ] {
            assert_eq!(human_duration(seconds), text);
        }
    }
}
