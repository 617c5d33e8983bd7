//! Checks of a job's policies.

use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::field::{items, number, text};

const RULES: usize = 20;
const CODES: usize = 255;
const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];

/// When pods are replaced.
pub(super) fn replacement(spec: &Value, path: &Path) -> Errors {
    let path = path.child("podReplacementPolicy");
    let policy = text(spec, "/podReplacementPolicy");
    let known: &[&str] =
        if spec["podFailurePolicy"].is_null() { &["Failed", "TerminatingOrFailed"] } else { &["Failed"] };
    if policy.is_empty() || known.contains(&policy) {
        return Errors::new();
    }
    vec![Error::not_supported(&path, policy, known)]
}

/// What failures mean.
pub(super) fn failure(spec: &Value, path: &Path) -> Errors {
    let path = path.child("podFailurePolicy").child("rules");
    let rules = items(spec, "/podFailurePolicy/rules");
    let mut errors = Errors::new();
    if rules.len() > RULES {
        errors.push(Error::too_many(&path, rules.len(), RULES));
    }
    for (index, rule) in rules.iter().enumerate() {
        errors.extend(failure_rule(spec, rule, &path.index(index)));
    }
    errors
}

fn failure_rule(spec: &Value, rule: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let action = path.child("action");
    match text(rule, "/action") {
        "" => errors.push(Error::required(&action, "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]")),
        "FailIndex" if spec["backoffLimitPerIndex"].is_null() => {
            errors.push(Error::invalid(&action, "FailIndex", "requires the backoffLimitPerIndex to be set"));
        }
        known if ACTIONS.contains(&known) => {}
        other => errors.push(Error::not_supported(&action, other, &ACTIONS)),
    }
    let patterns = items(rule, "/onPodConditions");
    match (rule["onExitCodes"].is_null(), patterns.is_empty()) {
        (false, false) => {
            let why = "specifying both OnExitCodes and OnPodConditions is not supported";
            errors.push(without_value(path, why));
        }
        (true, true) => {
            let why = "specifying one of OnExitCodes and OnPodConditions is required";
            errors.push(without_value(path, why));
        }
        (false, true) => errors.extend(exit_codes(spec, &rule["onExitCodes"], &path.child("onExitCodes"))),
        (true, false) => errors.extend(conditions(patterns, &path.child("onPodConditions"))),
    }
    errors
}

/// Upstream leaves the value out where it is a whole structure.
fn without_value(path: &Path, why: &str) -> Error {
    let mut error = Error::invalid(path, "", why);
    error.message = format!("Invalid value: {why}");
    error
}

fn conditions(patterns: &[Value], path: &Path) -> Errors {
    const KNOWN: [&str; 3] = ["False", "True", "Unknown"];
    let mut errors = Errors::new();
    if patterns.len() > RULES {
        errors.push(Error::too_many(path, patterns.len(), RULES));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = path.index(index);
        let rules = meta::names::qualified(text(pattern, "/type"));
        errors.extend(rules.iter().map(|rule| Error::invalid(&path.child("type"), text(pattern, "/type"), rule)));
        match text(pattern, "/status") {
            "" => errors.push(Error::required(&path.child("status"), "valid values: [\"False\" \"True\" \"Unknown\"]")),
            known if KNOWN.contains(&known) => {}
            other => errors.push(Error::not_supported(&path.child("status"), other, &KNOWN)),
        }
    }
    errors
}

fn exit_codes(spec: &Value, wanted: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let operator = text(wanted, "/operator");
    match operator {
        "" => errors.push(Error::required(&path.child("operator"), "valid values: [\"In\" \"NotIn\"]")),
        "In" | "NotIn" => {}
        other => errors.push(Error::not_supported(&path.child("operator"), other, &["In", "NotIn"])),
    }
    if let Some(container) = wanted["containerName"].as_str() {
        let lists = ["/template/spec/containers", "/template/spec/initContainers"];
        if !lists.iter().flat_map(|list| items(spec, list)).any(|own| own["name"] == container) {
            let rule = "must be one of the container or initContainer names in the pod template";
            errors.push(Error::invalid(&path.child("containerName"), container, rule));
        }
    }
    let (path, values) = (path.child("values"), items(wanted, "/values"));
    if values.is_empty() {
        errors.push(Error::invalid(&path, json!([]), "at least one value is required"));
    } else if values.len() > CODES {
        errors.push(Error::too_many(&path, values.len(), CODES));
    }
    for (index, value) in values.iter().enumerate() {
        if operator == "In" && *value == 0 {
            errors.push(Error::invalid(&path.index(index), 0, "must not be 0 for the In operator"));
        }
        if values.iter().take(index).any(|other| other == value) {
            errors.push(Error::duplicate(&path.index(index), value.clone()));
        }
    }
    let numbers: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
    if !numbers.is_sorted() {
        errors.push(Error::invalid(&path, wanted["values"].clone(), "must be ordered"));
    }
    errors
}

/// When a job succeeds early.
pub(super) fn success(spec: &Value, path: &Path) -> Errors {
    if spec["successPolicy"].is_null() || spec["completionMode"] != "Indexed" {
        return Errors::new();
    }
    let path = path.child("successPolicy").child("rules");
    let rules = items(spec, "/successPolicy/rules");
    let mut errors = Errors::new();
    if rules.is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.push(Error::required(&path, why));
    }
    if rules.len() > RULES {
        errors.push(Error::too_many(&path, rules.len(), RULES));
    }
    for (index, rule) in rules.iter().enumerate() {
        errors.extend(success_rule(spec, rule, &path.index(index)));
    }
    errors
}

fn success_rule(spec: &Value, rule: &Value, path: &Path) -> Errors {
    let (count, indexes) = (number(rule, "/succeededCount"), rule["succeededIndexes"].as_str());
    if count.is_none() && indexes.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        return vec![Error::required(path, why)];
    }
    let completions = number(spec, "/completions").unwrap_or(0);
    let mut total = completions;
    if let Some(text) = indexes {
        match count_indexes(text, completions) {
            Ok(found) => total = found,
            Err(why) => {
                let why = format!("error parsing succeededIndexes: {why}");
                return vec![Error::invalid(&path.child("succeededIndexes"), text, &why)];
            }
        }
    }
    let path = path.child("succeededCount");
    match count {
        Some(count) if count < 0 => vec![Error::invalid(&path, count, "must be greater than or equal to 0")],
        Some(count) if count > completions => {
            let why = format!("must be less than or equal to {completions} (the number of specified completions)");
            vec![Error::invalid(&path, count, &why)]
        }
        Some(count) if count > total => {
            let why = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            vec![Error::invalid(&path, count, &why)]
        }
        Some(_) | None => Errors::new(),
    }
}

/// How many indexes `1,3-5` names.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, -1);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let read = |number: &str| {
            number.parse::<i64>().map_err(|_| format!("cannot convert string to integer for index: {number:?}"))
        };
        let (first, end) = match part.split_once('-') {
            Some((first, end)) => (read(first)?, read(end)?),
            None => (read(part)?, read(part)?),
        };
        if first <= last || end < first {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        if end >= completions {
            return Err(format!("too large index: {part:?}"));
        }
        total += end - first + 1;
        last = end;
    }
    Ok(total)
}
