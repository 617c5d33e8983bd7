//! Versions.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::Result;
use crate::cel::budget::Budget;
use crate::cel::eval::error;
use crate::cel::value::Value;

/// A version: major, minor, patch, and what comes before the release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    numbers: [u64; 3],
    before: Vec<String>,
    build: String,
}

impl Version {
    fn parse(text: &str, lenient: bool) -> Option<Self> {
        let text = if lenient { text.strip_prefix('v').unwrap_or(text) } else { text };
        let (text, build) = text.split_once('+').unwrap_or((text, ""));
        let (core, before) = text
            .split_once('-')
            .map_or((text, Vec::new()), |(core, before)| (core, before.split('.').map(str::to_owned).collect()));
        let parts: Vec<&str> = core.split('.').collect();
        if parts.len() > 3 || (parts.len() < 3 && !lenient) || before.iter().any(String::is_empty) {
            return None;
        }
        let mut numbers = [0; 3];
        for (number, part) in numbers.iter_mut().zip(&parts) {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if !digits || (part.len() > 1 && part.starts_with('0') && !lenient) {
                return None;
            }
            *number = part.parse().ok()?;
        }
        Some(Self { numbers, before, build: build.to_owned() })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.before.is_empty() {
            write!(f, "-{}", self.before.join("."))?;
        }
        if self.build.is_empty() { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let before = || match (self.before.is_empty(), other.before.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let pairs = self.before.iter().zip(&other.before).map(|(a, b)| compare(a, b));
                pairs.into_iter().find(|order| order.is_ne()).unwrap_or(self.before.len().cmp(&other.before.len()))
            }
        };
        self.numbers.cmp(&other.numbers).then_with(before)
    }
}

fn compare(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

pub(super) fn global<'a>(name: &str, arguments: &[Value<'a>], _budget: &mut Budget) -> Option<Result<'a>> {
    let (text, lenient) = match arguments {
        [Value::Text(text)] => (text, false),
        [Value::Text(text), Value::Bool(lenient)] => (text, *lenient),
        _ => return None,
    };
    Some(match (name, Version::parse(text, lenient)) {
        ("semver", Some(version)) => Ok(Value::Semver(Arc::new(version))),
        ("semver", None) => error("No Major.Minor.Patch elements found"),
        ("isSemver", version) => Ok(Value::Bool(version.is_some())),
        _ => return None,
    })
}

pub(super) fn member<'a>(name: &str, arguments: &[Value<'a>], _budget: &mut Budget) -> Option<Result<'a>> {
    let [Value::Semver(own), rest @ ..] = arguments else { return None };
    let number = |index: usize| Value::Int(i64::try_from(own.numbers[index]).unwrap_or(i64::MAX));
    Some(Ok(match (name, rest) {
        ("major", []) => number(0),
        ("minor", []) => number(1),
        ("patch", []) => number(2),
        ("isGreaterThan", [Value::Semver(other)]) => Value::Bool(own > other),
        ("isLessThan", [Value::Semver(other)]) => Value::Bool(own < other),
        ("compareTo", [Value::Semver(other)]) => Value::Int(match own.cmp(other) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }),
        _ => return None,
    }))
}
