//! From client-side apply to server-side apply: what `kubectl` noted on an object when it merged by itself.
//!
//! Compat: both hold for the manager `kubectl` alone, as upstream has it.

use serde_json::{Value, json};

use super::{Conflict, Writing, without_managed};

const MANAGER: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn noted(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][ANNOTATION].as_str()
}

/// The conflicts but those about fields that `kubectl` applied itself, and that nobody has changed since.
pub(super) fn unless_applied_before(writing: &Writing<'_>, before: &Value, conflicts: Vec<Conflict>) -> Vec<Conflict> {
    let applied: Option<Value> = noted(before).and_then(|text| serde_json::from_str(text).ok());
    let Some(applied) = applied
        .filter(|applied| writing.manager == MANAGER && applied["apiVersion"].as_str() == Some(writing.api_version))
    else {
        return conflicts;
    };
    let typed = writing.typed();
    let difference = typed.compare(Some(&applied), Some(&without_managed(before)));
    let own = typed.fields(&applied).difference(&difference.changed).difference(&difference.removed);
    let left = conflicts.into_iter().map(|conflict| Conflict { set: conflict.set.difference(&own), ..conflict });
    left.filter(|conflict| !conflict.set.is_empty()).collect()
}

/// Keeps the note true, so that a client-side apply may follow.
pub(super) fn note(writing: &Writing<'_>, mut new: Value, patch: &Value) -> Value {
    if writing.manager == MANAGER && noted(&new).is_some() {
        let mut patch = without_managed(patch);
        if let Some(annotations) = patch.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            annotations.remove(ANNOTATION);
        }
        new["metadata"]["annotations"][ANNOTATION] = json!(format!("{patch}\n"));
    }
    new
}
