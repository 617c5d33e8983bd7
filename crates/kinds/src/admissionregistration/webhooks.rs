//! Webhook configurations.

use meta::field::{Error, Errors, Path};
use meta::names::subdomain;
use serde_json::Value;

use super::expressions;
use super::rules::{self, one_of};
use crate::field::{self, items, text};
use crate::webhook;

/// Fills in what a webhook doesn't say.
pub(super) fn default(hook: &mut Value, mutating: bool) {
    field::default(hook, "failurePolicy", "Fail");
    rules::default(hook);
    field::default(hook, "timeoutSeconds", 10);
    if mutating {
        field::default(hook, "reinvocationPolicy", "Never");
    }
    if let Some(service) = hook.pointer_mut("/clientConfig/service").filter(|service| service.is_object()) {
        field::default(service, "port", 443);
    }
}

/// What is wrong with a configuration.
pub(super) fn validate(object: &Value, mutating: bool) -> Errors {
    let path = Path::new("webhooks");
    let hooks = items(object, "/webhooks");
    let mut errors = Errors::new();
    for (index, hook) in hooks.iter().enumerate() {
        let at = path.index(index);
        errors.extend(self::hook(hook, mutating, &at));
        errors.extend(webhook::review_versions(
            items(hook, "/admissionReviewVersions"),
            "must specify one of v1, v1beta1",
            &at.child("admissionReviewVersions"),
        ));
        if hooks[..index].iter().any(|other| other["name"] == hook["name"]) {
            errors.push(Error::duplicate(&at.child("name"), text(hook, "/name")));
        }
    }
    errors
}

fn hook(hook: &Value, mutating: bool, path: &Path) -> Errors {
    let mut errors = name(text(hook, "/name"), &path.child("name"));
    for (index, rule) in items(hook, "/rules").iter().enumerate() {
        errors.extend(rules::rule(rule, &path.child("rules").index(index)));
    }
    errors.extend(one_of(&hook["failurePolicy"], &["Fail", "Ignore"], &path.child("failurePolicy")));
    errors.extend(one_of(&hook["matchPolicy"], &["Equivalent", "Exact"], &path.child("matchPolicy")));
    let effects = path.child("sideEffects");
    if text(hook, "/sideEffects").is_empty() {
        errors.push(Error::required(&effects, "must specify one of None, NoneOnDryRun"));
    }
    errors.extend(one_of(&hook["sideEffects"], &["None", "NoneOnDryRun"], &effects));
    if let Some(seconds) = hook["timeoutSeconds"].as_i64().filter(|seconds| !(1..=30).contains(seconds)) {
        let why = "the timeout value must be between 1 and 30 seconds";
        errors.push(Error::invalid(&path.child("timeoutSeconds"), seconds, why));
    }
    errors.extend(rules::selectors(hook, path));
    if mutating {
        errors.extend(one_of(&hook["reinvocationPolicy"], &["IfNeeded", "Never"], &path.child("reinvocationPolicy")));
    }
    let config = path.child("clientConfig");
    // Compat: the authority is only looked at when the webhook is called.
    let found = webhook::client_config(&hook["clientConfig"], &config).into_iter();
    errors.extend(found.filter(|error| error.path != config.child("caBundle")));
    errors.extend(expressions::conditions(hook, &expressions::declared(false, false), &path.child("matchConditions")));
    errors
}

/// A name with a domain of at least two parts.
fn name(name: &str, path: &Path) -> Errors {
    if name.is_empty() {
        return vec![Error::required(path, "")];
    }
    let broken = subdomain(name);
    if !broken.is_empty() {
        return vec![Error::invalid(path, name, &broken.join(","))];
    }
    if name.split('.').count() < 3 {
        return vec![Error::invalid(path, name, "should be a domain with at least three segments separated by dots")];
    }
    Errors::new()
}
