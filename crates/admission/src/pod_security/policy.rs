//! Which standards a namespace's labels ask for.

use std::fmt;

use meta::field::{Error, Errors, Path};
use serde_json::Value;

/// How much the standards forbid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// A level in the form that it has in a minor version of Kubernetes; `None` is the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standard {
    pub(super) level: Level,
    version: Option<u32>,
}

impl Standard {
    const NONE: Self = Self { level: Level::Privileged, version: None };

    pub(super) fn minor(self) -> u32 {
        self.version.unwrap_or(u32::MAX)
    }

    /// Whether it forbids more than another one, or something else.
    pub(super) fn is_stricter_than(self, other: Self) -> bool {
        self != other && self.level != Level::Privileged && (self.version != other.version || self.level > other.level)
    }
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            Some(minor) => write!(f, "{level}:v1.{minor}"),
            None => write!(f, "{level}:latest"),
        }
    }
}

/// What a namespace asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) enforce: Standard,
    pub(super) warn: Standard,
}

impl Policy {
    /// Reads labels. What cannot be read is held against the strictest standard where it refuses, and against none where it
    /// only tells.
    pub(super) fn of(labels: &Value) -> (Self, Errors) {
        let mut errors = Errors::new();
        let (enforce, asked) = mode(labels, "enforce", Level::Restricted, &mut errors);
        mode(labels, "audit", Level::Privileged, &mut errors);
        let (mut warn, told) = mode(labels, "warn", Level::Privileged, &mut errors);
        // Compat: what is refused is warned of too, in the workloads that would make it.
        if !told && asked && enforce.level > warn.level {
            let version = if labels.get(label("warn-version")).is_some() { warn.version } else { enforce.version };
            warn = Standard { level: enforce.level, version };
        }
        (Self { enforce, warn }, errors)
    }

    pub(super) fn is_open(&self) -> bool {
        self.enforce.level == Level::Privileged && self.warn.level == Level::Privileged
    }
}

fn label(name: &str) -> String {
    format!("pod-security.kubernetes.io/{name}")
}

/// The standard of a mode, and whether its level was given.
fn mode(labels: &Value, mode: &str, otherwise: Level, errors: &mut Errors) -> (Standard, bool) {
    let mut standard = Standard::NONE;
    let mut given = false;
    let at = |name: &str| Path::new("metadata").child("labels").key(name);
    let name = label(mode);
    if let Some(level) = labels.get(&name).and_then(Value::as_str) {
        given = true;
        standard.level = match level {
            "privileged" => Level::Privileged,
            "baseline" => Level::Baseline,
            "restricted" => Level::Restricted,
            _ => {
                given = mode == "warn";
                errors.push(Error::invalid(&at(&name), level, "must be one of privileged, baseline, restricted"));
                otherwise
            }
        };
    }
    let name = label(&format!("{mode}-version"));
    if let Some(version) = labels.get(&name).and_then(Value::as_str) {
        match minor(version) {
            Some(minor) => standard.version = minor,
            None => errors.push(Error::invalid(&at(&name), version, "must be \"latest\" or \"v1.x\"")),
        }
    }
    (standard, given)
}

/// `None` for what is no version.
fn minor(version: &str) -> Option<Option<u32>> {
    if version == "latest" {
        return Some(None);
    }
    let minor = version.strip_prefix("v1.")?;
    let plain = minor.chars().all(|c| c.is_ascii_digit()) && (minor == "0" || !minor.starts_with('0'));
    minor.parse().ok().filter(|_| plain).map(Some)
}
