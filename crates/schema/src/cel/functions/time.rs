//! Points in time and durations.

use jiff::tz::TimeZone;

use super::Result;
use crate::cel::budget::Budget;
use crate::cel::eval::error;
use crate::cel::value::Value;

pub(super) fn member<'a>(name: &str, arguments: &[Value<'a>], _budget: &mut Budget) -> Option<Result<'a>> {
    match arguments {
        [Value::Duration(nanos)] => duration(name, *nanos).map(|number| Ok(Value::Int(number))),
        [Value::Timestamp(time)] => part(name, *time, TimeZone::UTC).map(|number| Ok(Value::Int(number))),
        [Value::Timestamp(time), Value::Text(zone)] => match self::zone(zone) {
            Some(zone) => part(name, *time, zone).map(|number| Ok(Value::Int(number))),
            None => Some(error(format!("unknown time zone {zone}"))),
        },
        _ => None,
    }
}

fn duration(name: &str, nanos: i64) -> Option<i64> {
    Some(match name {
        "getHours" => nanos / 3_600_000_000_000,
        "getMinutes" => nanos / 60_000_000_000,
        "getSeconds" => nanos / 1_000_000_000,
        "getMilliseconds" => nanos / 1_000_000,
        _ => return None,
    })
}

/// `UTC` or an offset such as `+02:00`.
fn zone(text: &str) -> Option<TimeZone> {
    if matches!(text, "" | "UTC" | "Z") {
        return Some(TimeZone::UTC);
    }
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let seconds = sign * (hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60);
    Some(TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).ok()?))
}

fn part(name: &str, time: jiff::Timestamp, zone: TimeZone) -> Option<i64> {
    let time = time.to_zoned(zone);
    Some(match name {
        "getFullYear" => i64::from(time.year()),
        "getMonth" => i64::from(time.month()) - 1,
        "getDayOfMonth" => i64::from(time.day()) - 1,
        "getDate" => i64::from(time.day()),
        "getDayOfYear" => i64::from(time.day_of_year()) - 1,
        "getDayOfWeek" => i64::from(time.weekday().to_sunday_zero_offset()),
        "getHours" => i64::from(time.hour()),
        "getMinutes" => i64::from(time.minute()),
        "getSeconds" => i64::from(time.second()),
        "getMilliseconds" => i64::from(time.millisecond()),
        _ => return None,
    })
}
