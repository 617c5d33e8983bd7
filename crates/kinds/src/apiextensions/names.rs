//! What is wrong with the names of a definition.

use meta::field::{Error, Errors, Path};
use meta::names::label_1035;
use serde_json::Value;

use crate::field::{items, text};

/// The names that a definition asks for, or has.
pub(super) fn validate(names: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    for field in ["plural", "singular"] {
        let name = text(names, &format!("/{field}"));
        errors.extend(broken(name).map(|why| Error::invalid(&path.child(field), name, &why)));
    }
    for field in ["kind", "listKind"] {
        let name = text(names, &format!("/{field}"));
        let why = |why| format!("may have mixed case, but should otherwise match: {why}");
        errors.extend(broken(&name.to_lowercase()).map(|rule| Error::invalid(&path.child(field), name, &why(rule))));
    }
    errors.extend(each(names, "shortNames", path));
    let (kind, list) = (text(names, "/kind"), text(names, "/listKind"));
    if !kind.is_empty() && kind == list {
        errors.push(Error::invalid(&path.child("listKind"), list, "kind and listKind may not be the same"));
    }
    errors.extend(each(names, "categories", path));
    errors
}

fn each(names: &Value, field: &str, path: &Path) -> Errors {
    let list = items(names, &format!("/{field}")).iter().enumerate();
    let check = |(index, name): (usize, &Value)| {
        let name = name.as_str().unwrap_or_default();
        let errors = label_1035(name);
        (!errors.is_empty()).then(|| Error::invalid(&path.child(field).index(index), name, &errors.join(",")))
    };
    list.filter_map(check).collect()
}

/// What is wrong with a name that is there.
fn broken(name: &str) -> Option<String> {
    let errors = if name.is_empty() { Vec::new() } else { label_1035(name) };
    (!errors.is_empty()).then(|| errors.join(","))
}
