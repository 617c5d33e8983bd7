//! What may change in a pod that exists.

use meta::field::{Error, Errors, Path};
use serde_json::Value;

use super::{CONTAINERS, resize};
use crate::field::{self, items, number};

/// What is wrong with an ordinary update.
pub(super) fn check(new: &Value, old: &Value) -> Errors {
    let spec = Path::new("spec");
    let mut errors = Errors::new();
    check_deadline(new, old, &spec, &mut errors);
    let lost = items(old, "/spec/tolerations").iter().any(|one| !items(new, "/spec/tolerations").contains(one));
    if lost {
        errors.push(Error::forbidden(
            &spec.child("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
    if fixed(new, old) != fixed(old, old) {
        let detail = "pod updates may not change fields other than `spec.containers[*].image`,\
                      `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to \
                      existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was \
                      previously negative)";
        errors.push(Error::forbidden(&spec, detail));
    }
    errors
}

/// What is wrong with an update of the ephemeral containers: those that are there stay as they are.
pub(super) fn check_ephemeral(new: &Value, old: &Value) -> Errors {
    let path = Path::new("spec").child("ephemeralContainers");
    let mut errors = Errors::new();
    if old.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some() {
        errors.push(Error::forbidden(&Path::new(""), "static pods do not support ephemeral containers"));
        return errors;
    }
    for before in items(old, "/spec/ephemeralContainers") {
        let name = before["name"].as_str().unwrap_or_default();
        let after = items(new, "/spec/ephemeralContainers").iter().find(|after| after["name"] == before["name"]);
        let what = match after {
            None => "removed",
            Some(after) if after != before => "changed",
            Some(_) => continue,
        };
        errors.push(Error::forbidden(&path, &format!("existing ephemeral containers {name:?} may not be {what}\n")));
    }
    errors
}

fn check_deadline(new: &Value, old: &Value, spec: &Path, errors: &mut Errors) {
    let path = spec.child("activeDeadlineSeconds");
    let (before, after) = (number(old, "/spec/activeDeadlineSeconds"), number(new, "/spec/activeDeadlineSeconds"));
    match (before, after) {
        (Some(before), Some(after)) if after > before => {
            let detail = format!("must be less than or equal to previous value: {before}");
            errors.push(Error::invalid(&path, after, &detail));
        }
        (Some(_), None) => {
            errors.push(Error::invalid(&path, Value::Null, "must not update from a positive integer to nil value"))
        }
        _ => {}
    }
}

/// The spec with everything that may change as it was in `old`.
fn fixed(pod: &Value, old: &Value) -> Value {
    let mut spec = pod["spec"].clone();
    for name in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        field::remove(&mut spec, name);
    }
    if number(old, "/spec/terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        field::remove(&mut spec, "terminationGracePeriodSeconds");
    }
    for list in &CONTAINERS[..2] {
        for container in field::items_mut(&mut spec, list) {
            field::remove(container, "image");
        }
    }
    spec
}

/// Keeps of an update through a subresource only what that subresource is for.
pub(super) fn keep_all_but(new: &mut Value, old: &Value, subresource: &str) {
    let wanted = std::mem::replace(new, old.clone());
    for part in ["resourceVersion", "managedFields"] {
        new["metadata"][part] = wanted["metadata"][part].clone();
        if new["metadata"][part].is_null() {
            field::remove(&mut new["metadata"], part);
        }
    }
    match subresource {
        "ephemeralcontainers" => new["spec"]["ephemeralContainers"] = wanted["spec"]["ephemeralContainers"].clone(),
        "resize" => resize::merge(&mut new["spec"], &wanted["spec"]),
        _ => {}
    }
    if new["spec"]["ephemeralContainers"].is_null() {
        field::remove(&mut new["spec"], "ephemeralContainers");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_some_fields_may_change() {
        let old = json!({"spec": {"containers": [{"name": "a", "image": "x", "command": ["c"]}], "activeDeadlineSeconds": 10}});
        let with = |pointer: &str, value: Value| {
            let mut new = old.clone();
            *new.pointer_mut(pointer).expect("a field") = value;
            check(&new, &old).len()
        };
        assert_eq!(with("/spec/containers/0/image", json!("y")), 0);
        assert_eq!(with("/spec/containers/0/command", json!(["d"])), 1);
        assert_eq!(with("/spec/activeDeadlineSeconds", json!(5)), 0);
        assert_eq!(with("/spec/activeDeadlineSeconds", json!(11)), 1);
    }
}
