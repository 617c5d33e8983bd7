//! Checks of metadata that every kind shares.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::Value;

use crate::field;

/// All annotations together may have so many bytes.
const ANNOTATIONS: usize = 256 << 10;

/// What is wrong with the metadata of a new object, names apart.
pub fn validate(object: &Value) -> Errors {
    let path = Path::new("metadata");
    let metadata = &object["metadata"];
    let mut errors = labels(&metadata["labels"], &path.child("labels"));
    errors.extend(annotations(&metadata["annotations"], &path.child("annotations")));
    errors.extend(owners(metadata, &path.child("ownerReferences")));
    for finalizer in field::items(metadata, "/finalizers") {
        let name = finalizer.as_str().unwrap_or_default();
        let at = path.child("finalizers");
        errors.extend(names::qualified(name).iter().map(|rule| Error::invalid(&at, name, rule)));
    }
    errors
}

/// What is wrong with the finalizers of a built-in kind: names without a domain are Kubernetes' own.
///
/// Compat: upstream asks this of its own kinds, but neither of custom ones nor of those that extend the API.
pub fn own_finalizers(object: &Value, group: &str) -> Errors {
    if matches!(group, "admissionregistration.k8s.io" | "apiextensions.k8s.io" | "apiregistration.k8s.io") {
        return Errors::new();
    }
    let path = Path::new("metadata").child("finalizers");
    let known = |name: &str| name.contains('/') || matches!(name, "kubernetes" | "orphan" | "foregroundDeletion");
    let names = field::items(object, "/metadata/finalizers").iter().map(|name| name.as_str().unwrap_or_default());
    let strange = names.enumerate().filter(|(_, name)| !known(name));
    let detail = "name is neither a standard finalizer name nor is it fully qualified";
    strange.map(|(index, name)| Error::invalid(&path.index(index), name, detail)).collect()
}

/// What is wrong with a change of metadata.
pub fn validate_update(new: &Value, old: &Value) -> Errors {
    let path = Path::new("metadata");
    let mut errors = validate(new);
    for name in ["name", "namespace", "uid", "creationTimestamp"] {
        let (before, after) = (&old["metadata"][name], &new["metadata"][name]);
        if before != after {
            errors.push(Error::invalid(&path.child(name), after.clone(), "field is immutable"));
        }
    }
    if !field::text(old, "/metadata/deletionTimestamp").is_empty() {
        for (index, finalizer) in field::items(new, "/metadata/finalizers").iter().enumerate() {
            if !field::items(old, "/metadata/finalizers").contains(finalizer) {
                let detail = "no new finalizers can be added if the object is being deleted, found new finalizers";
                errors.push(Error::forbidden(&path.child("finalizers").index(index), detail));
            }
        }
    }
    errors
}

/// What is wrong with labels.
pub(crate) fn labels(labels: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for (key, value) in field::fields(labels) {
        errors.extend(names::qualified(key).iter().map(|rule| Error::invalid(path, key.as_str(), rule)));
        let value = value.as_str().unwrap_or_default();
        errors.extend(names::label_value(value).iter().map(|rule| Error::invalid(path, value, rule)));
    }
    errors
}

fn annotations(annotations: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut total = 0;
    for (key, value) in field::fields(annotations) {
        let lower = key.to_lowercase();
        errors.extend(names::qualified(&lower).iter().map(|rule| Error::invalid(path, key.as_str(), rule)));
        total += key.len() + value.as_str().unwrap_or_default().len();
    }
    if total > ANNOTATIONS {
        errors.push(Error::too_long(path, ANNOTATIONS));
    }
    errors
}

fn owners(metadata: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    let mut controller: Option<&str> = None;
    // Compat: upstream leaves the indices out of these paths.
    for owner in field::items(metadata, "/ownerReferences") {
        for name in ["apiVersion", "kind", "name", "uid"] {
            if field::text(owner, &format!("/{name}")).is_empty() {
                let why = if name == "apiVersion" { "version must not be empty" } else { "must not be empty" };
                errors.push(Error::invalid(&path.child(name), "", why));
            }
        }
        if owner["controller"] == true {
            let name = field::text(owner, "/name");
            if let Some(first) = controller {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                );
                errors.push(Error::invalid(path, metadata["ownerReferences"].clone(), &detail));
            }
            controller.get_or_insert(name);
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_is_checked() {
        let check = |metadata: Value, expected: &[&str]| {
            let fields: Vec<String> =
                validate(&json!({"metadata": metadata})).iter().map(|e| e.path.to_string()).collect();
            assert_eq!(fields, expected);
        };
        check(json!({"labels": {"app": "x"}, "annotations": {"Example.com/A": "any thing"}}), &[]);
        check(json!({"labels": {"a b": "x", "app": "x y"}}), &["metadata.labels", "metadata.labels"]);
        check(json!({"finalizers": ["example.com/a", "kubernetes", "mine", "a b"]}), &["metadata.finalizers"]);
        check(
            json!({"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a"}]}),
            &["metadata.ownerReferences.uid"],
        );
        let old = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        let new =
            json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["a.b/c"]}});
        assert_eq!(validate_update(&new, &old).len(), 1);
    }

    #[test]
    fn built_in_kinds_have_no_finalizers_of_unknown_names() {
        let object = json!({"metadata": {"finalizers": ["example.com/a", "kubernetes", "mine"]}});
        let check = |group: &str, expected: &[&str]| {
            let fields: Vec<String> = own_finalizers(&object, group).iter().map(|e| e.path.to_string()).collect();
            assert_eq!(fields, expected, "{group}");
        };
        check("apps", &["metadata.finalizers[2]"]);
        check("apiextensions.k8s.io", &[]);
    }
}
