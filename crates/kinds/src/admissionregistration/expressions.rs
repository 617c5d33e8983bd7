//! What is wrong with expressions in CEL.

use meta::field::{Error, Errors, Path};
use meta::names::qualified;
use schema::cel::{Declared, Program};
use serde_json::Value;

use crate::field::{items, text};

/// The names that every expression about a write may use.
const NAMES: [&str; 5] = ["object", "oldObject", "request", "authorizer", "namespaceObject"];

/// Those, with parameters and variables where a policy has them.
pub(super) fn declared(params: bool, policy: bool) -> Vec<(&'static str, Declared<'static>)> {
    let own = NAMES.iter().filter(|name| policy || **name != "namespaceObject").copied();
    let more =
        [("params", params), ("variables", policy)].into_iter().filter(|(_, there)| *there).map(|(name, _)| name);
    own.chain(more).map(|name| (name, Declared::Any)).collect()
}

/// Of one expression that must come to a type, or to any where that is empty.
pub(super) fn check(text: &str, declared: &[(&str, Declared<'_>)], wanted: &str, path: &Path) -> Option<Error> {
    let result = match wanted {
        "" => Program::compile(text, declared),
        wanted => Program::compile_to(text, declared, wanted),
    };
    let why = result.err()?;
    let why = if why.starts_with("must evaluate") { why } else { format!("compilation failed: {why}") };
    Some(Error::invalid(path, text, &why))
}

/// Of match conditions.
pub(super) fn conditions(object: &Value, declared: &[(&str, Declared<'_>)], path: &Path) -> Errors {
    const MAX: usize = 64;
    let conditions = items(object, "/matchConditions");
    let mut errors = Errors::new();
    if conditions.len() > MAX {
        errors.push(Error::too_many(path, conditions.len(), MAX));
    }
    for (index, condition) in conditions.iter().enumerate() {
        let at = path.index(index);
        let (name, expression) = (text(condition, "/name"), text(condition, "/expression").trim());
        if expression.is_empty() {
            errors.push(Error::required(&at.child("expression"), ""));
        } else {
            errors.extend(check(expression, declared, "bool", &at.child("expression")));
        }
        if name.is_empty() {
            errors.push(Error::required(&at.child("name"), ""));
        } else {
            errors.extend(qualified(name).iter().map(|why| Error::invalid(&at.child("name"), name, why)));
        }
        if conditions[..index].iter().any(|other| text(other, "/name") == name) {
            errors.push(Error::duplicate(&at.child("name"), name));
        }
    }
    errors
}
