//! What upstream refuses in the options of a call, in its words.

use meta::field::{Error, Errors, Path};
use meta::{ApiError, Gvk};

use crate::query::Query;

/// Bytes that a field manager's name may have.
const MANAGER: usize = 128;

/// What a call writes with: names the options that are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writing {
    Create,
    Update,
    Patch,
    Apply,
}

/// The error of options that are wrong.
pub(crate) fn refuse(kind: &str, errors: &Errors) -> Result<(), ApiError> {
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(&Gvk::new("meta.k8s.io", "v1", kind), "", errors)) }
}

/// Of a list.
pub(crate) fn check_list(query: &Query) -> Result<(), ApiError> {
    let text = |name: &str| query.get(name).unwrap_or_default();
    let path = Path::new("resourceVersionMatch");
    let mut errors = Errors::new();
    let matching = text("resourceVersionMatch");
    if !matching.is_empty() {
        let revision = text("resourceVersion");
        if revision.is_empty() {
            errors
                .push(Error::forbidden(&path, "resourceVersionMatch is forbidden unless resourceVersion is provided"));
        }
        if !text("continue").is_empty() {
            errors.push(Error::forbidden(&path, "resourceVersionMatch is forbidden when continue is provided"));
        }
        if !matches!(matching, "Exact" | "NotOlderThan") {
            errors.push(Error::not_supported_as_listed(&path, matching, &["Exact", "NotOlderThan", ""]));
        }
        if matching == "Exact" && revision == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            errors.push(Error::forbidden(&path, why));
        }
    }
    if query.get("sendInitialEvents").is_some() {
        let path = Path::new("sendInitialEvents");
        errors.push(Error::forbidden(&path, "sendInitialEvents is forbidden for list"));
    }
    refuse("ListOptions", &errors)
}

/// Of a watch.
pub(crate) fn check_watch(query: &Query) -> Result<(), ApiError> {
    let path = Path::new("resourceVersionMatch");
    let matching = query.get("resourceVersionMatch").unwrap_or_default();
    let initial = query.get("sendInitialEvents").is_some();
    let mut errors = Errors::new();
    if initial && matching != "NotOlderThan" {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(Error::forbidden(&path, why));
    }
    if !matching.is_empty() && !initial {
        let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        errors.push(Error::forbidden(&path, why));
    }
    if !matches!(matching, "" | "NotOlderThan") {
        errors.push(Error::not_supported(&path, matching, &["NotOlderThan"]));
    }
    if query.get("continue").is_some_and(|token| !token.is_empty()) {
        errors.push(Error::forbidden(&path, "resourceVersionMatch is forbidden when continue is provided"));
    }
    refuse("ListOptions", &errors)
}

/// Of a write.
pub(crate) fn check_write(query: &Query, writing: Writing) -> Result<(), ApiError> {
    let manager = query.get("fieldManager").unwrap_or_default();
    let path = Path::new("fieldManager");
    let mut errors = Errors::new();
    match writing {
        Writing::Patch if query.get("force").is_some() => {
            errors.push(Error::forbidden(&Path::new("force"), "may not be specified for non-apply patch"));
        }
        Writing::Apply if manager.is_empty() => errors.push(Error::required(&path, "is required for apply patch")),
        Writing::Create | Writing::Update | Writing::Patch | Writing::Apply => {}
    }
    if manager.len() > MANAGER {
        errors.push(Error::too_long(&path, MANAGER));
    }
    for (at, sign) in manager.char_indices().filter(|(_, sign)| sign.is_control()) {
        let why = format!("invalid character U+{:04X} (at position {at})", u32::from(sign));
        errors.push(Error::invalid(&path, manager, &why));
    }
    let dry_run: Vec<&str> = query.all("dryRun").filter(|value| !value.is_empty()).collect();
    errors.extend(check_dry_run(&dry_run));
    let validation = query.get("fieldValidation").unwrap_or_default();
    if !matches!(validation, "" | "Ignore" | "Strict" | "Warn") {
        let path = Path::new("fieldValidation");
        errors.push(Error::not_supported(&path, validation, &["", "Ignore", "Strict", "Warn"]));
    }
    let kind = match writing {
        Writing::Create => "CreateOptions",
        Writing::Update => "UpdateOptions",
        Writing::Patch | Writing::Apply => "PatchOptions",
    };
    refuse(kind, &errors)
}

/// Of a deletion.
pub(crate) fn check_delete(policy: Option<&str>, orphan: Option<bool>, dry_run: &[&str]) -> Result<(), ApiError> {
    let path = Path::new("propagationPolicy");
    let mut errors = Errors::new();
    if let (Some(policy), Some(_)) = (policy, orphan) {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        errors.push(Error::invalid(&path, policy, why));
    }
    if let Some(policy) = policy.filter(|policy| !matches!(*policy, "Foreground" | "Background" | "Orphan")) {
        let known = ["Foreground", "Background", "Orphan", "nil"];
        errors.push(Error::not_supported_as_listed(&path, policy, &known));
    }
    errors.extend(check_dry_run(dry_run));
    refuse("DeleteOptions", &errors)
}

fn check_dry_run(values: &[&str]) -> Errors {
    let wrong = values.iter().any(|value| *value != "All");
    let error = || Error::not_supported(&Path::new("dryRun"), serde_json::json!(values), &["All"]);
    wrong.then(error).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_upstreams() {
        let check = |check: fn(&Query) -> Result<(), ApiError>, query: &str, expected: &str| {
            let error = check(&Query::parse(Some(query))).expect_err(query);
            assert_eq!((error.code(), error.message.as_str()), (422, expected), "{query}");
        };
        check(
            check_list,
            "resourceVersionMatch=Foo&resourceVersion=1",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Unsupported value: \"Foo\": supported values: \
             \"Exact\", \"NotOlderThan\", \"\"",
        );
        check(
            check_watch,
            "sendInitialEvents=true",
            "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting \
             resourceVersionMatch to NotOlderThan",
        );
        check(
            |query| check_write(query, Writing::Create),
            "dryRun=Foo",
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Foo\"]: supported values: \"All\"",
        );
        check(
            |query| check_write(query, Writing::Apply),
            "",
            "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
        );
        check(
            |query| check_delete(query.get("propagationPolicy"), None, &[]),
            "propagationPolicy=Foo",
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Foo\": supported values: \
             \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
        );
    }
}
