//! Which writes a webhook or a policy looks at: defaults and checks.

use meta::LabelSelector;
use meta::field::{Error, Errors, Path};
use serde_json::{Value, json};

use crate::field::{self, items, text};

/// Fills in what a webhook or a policy says of its matching.
pub(super) fn default(object: &mut Value) {
    field::default(object, "matchPolicy", "Equivalent");
    field::default(object, "namespaceSelector", json!({}));
    field::default(object, "objectSelector", json!({}));
    for list in ["rules", "resourceRules", "excludeResourceRules"] {
        for rule in field::items_mut(object, list) {
            field::default(rule, "scope", "*");
        }
    }
}

/// The same beneath a field, where it is set.
pub(super) fn default_match(spec: &mut Value, name: &str) {
    if let Some(matching) = spec.get_mut(name).filter(|matching| matching.is_object()) {
        default(matching);
    }
}

/// What is wrong with a choice of names.
pub(super) fn one_of(value: &Value, known: &[&str], path: &Path) -> Option<Error> {
    let value = value.as_str()?;
    (!known.contains(&value)).then(|| Error::not_supported(path, value, known))
}

/// What is wrong with selectors.
pub(super) fn selectors(object: &Value, path: &Path) -> Errors {
    let broken = |name: &str| {
        let selector = object.get(name).filter(|selector| selector.is_object())?;
        let why = LabelSelector::from_value(selector).err()?;
        Some(Error::invalid(&path.child(name), selector.clone(), &why.to_string()))
    };
    ["namespaceSelector", "objectSelector"].into_iter().filter_map(broken).collect()
}

/// What is wrong with a rule.
pub(super) fn rule(rule: &Value, path: &Path) -> Errors {
    const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    let mut errors = Errors::new();
    for (name, what) in [("operations", "operations"), ("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let (list, at) = (items(rule, &format!("/{name}")), path.child(name));
        if list.is_empty() {
            errors.push(Error::required(&at, ""));
        }
        if list.len() > 1 && list.contains(&json!("*")) {
            let why = format!("if '*' is present, must not specify other {what}");
            errors.push(Error::invalid(&at, json!(list), &why));
        }
        for (index, value) in list.iter().enumerate() {
            if name == "operations" {
                errors.extend(one_of(value, &OPERATIONS, &at.index(index)));
            } else if name == "apiVersions" && value == "" {
                errors.push(Error::required(&at.index(index), ""));
            }
        }
    }
    errors.extend(resources(items(rule, "/resources"), &path.child("resources")));
    errors.extend(one_of(&rule["scope"], &["*", "Cluster", "Namespaced"], &path.child("scope")));
    errors
}

fn resources(list: &[Value], path: &Path) -> Errors {
    let mut errors = Errors::new();
    if list.is_empty() {
        errors.push(Error::required(path, ""));
    }
    let names: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    for (index, name) in names.iter().enumerate() {
        if name.is_empty() {
            errors.push(Error::required(&path.index(index), ""));
            continue;
        }
        if let Some((resource, subresource)) = name.split_once('/') {
            let all = format!("{resource}/*");
            if subresource != "*" && names.contains(&all.as_str()) {
                let why = format!("if '{all}' is present, must not specify {name}");
                errors.push(Error::invalid(&path.index(index), *name, &why));
            }
        }
    }
    let (every, star) = (names.contains(&"*/*"), names.contains(&"*"));
    if every && names.len() > 1 {
        errors.push(Error::invalid(path, json!(list), "if '*/*' is present, must not specify other resources"));
    }
    if star && names.iter().any(|name| *name != "*" && !name.contains('/')) {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(Error::invalid(path, json!(list), why));
    }
    errors
}

/// What is wrong with the rules of a policy.
pub(super) fn matching(matching: &Value, path: &Path) -> Errors {
    let mut errors = selectors(matching, path);
    for list in ["resourceRules", "excludeResourceRules"] {
        for (index, one) in items(matching, &format!("/{list}")).iter().enumerate() {
            errors.extend(rule(one, &path.child(list).index(index)));
        }
    }
    errors.extend(one_of(&matching["matchPolicy"], &["Equivalent", "Exact"], &path.child("matchPolicy")));
    errors
}

/// Whether a rule list is empty where one is needed.
pub(super) fn needs_rules(matching: &Value, path: &Path) -> Option<Error> {
    items(matching, "/resourceRules").is_empty().then(|| Error::required(&path.child("resourceRules"), ""))
}

/// Whether a text that must be there is missing.
pub(super) fn required(object: &Value, name: &str, path: &Path) -> Option<Error> {
    text(object, &format!("/{name}")).is_empty().then(|| Error::required(&path.child(name), ""))
}
