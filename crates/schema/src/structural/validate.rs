//! What is wrong with a value, by its schema.
//!
//! Compat: what an update leaves as it was is not judged anew, where old and new can be told to be the same thing (KEP-4008).

use meta::field::{Error, Errors, Path};
use serde_json::Value;

use super::Structural;
use super::formats::has_format;

/// What every object of the API has, described or not.
const COMMON: [&str; 3] = ["apiVersion", "kind", "metadata"];

pub(super) fn validate(schema: &Structural, object: &Value, old: Option<&Value>) -> Errors {
    let mut errors = Errors::new();
    check(schema, object, old, "", true, &mut errors);
    errors
}

fn at(path: &str) -> Path {
    Path::new(path.trim_start_matches('.'))
}

fn check(schema: &Structural, value: &Value, old: Option<&Value>, path: &str, root: bool, errors: &mut Errors) {
    if old == Some(value) {
        return;
    }
    let found = errors.len();
    kind(schema, value, path, errors);
    if errors.len() > found {
        return;
    }
    junctions(schema, value, old, path, root, errors);
    match value {
        Value::String(value) => text(schema, value, path, errors),
        Value::Number(_) => number(schema, value, path, errors),
        Value::Array(items) => list(schema, items, old, path, errors),
        Value::Object(_) => fields(schema, value, old, path, root, errors),
        Value::Null | Value::Bool(_) => {}
    }
    let allowed = &schema.checks.values;
    let is_null = value.is_null() && schema.nullable;
    if !allowed.is_empty() && !is_null && !allowed.iter().any(|own| same(own, value)) {
        let shown: Vec<String> =
            allowed.iter().map(|own| own.as_str().map_or_else(|| own.to_string(), str::to_owned)).collect();
        let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
        errors.push(Error::not_supported(&at(path), value.clone(), &shown));
    }
}

/// Numbers are the same by their value.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn kind(schema: &Structural, value: &Value, path: &str, errors: &mut Errors) {
    let is_whole = value.as_i64().is_some()
        || value.as_u64().is_some()
        || value.as_f64().is_some_and(|number| number.fract() == 0.0);
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_whole && !value.is_f64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let wanted = if schema.int_or_string { "integer,string" } else { schema.kind.as_str() };
    let fits = match wanted {
        "" => true,
        _ if value.is_null() => schema.nullable,
        "integer,string" => value.is_string() || (value.is_number() && is_whole),
        "integer" => value.is_number() && is_whole,
        "number" => value.is_number(),
        other => other == found,
    };
    if !fits {
        let why = format!("{path} in body must be of type {wanted}: {found:?}");
        errors.push(Error::type_invalid(&at(path), found, &why));
    }
}

fn junctions(schema: &Structural, value: &Value, old: Option<&Value>, path: &str, root: bool, errors: &mut Errors) {
    let try_one = |schema: &Structural| {
        let mut errors = Errors::new();
        check(schema, value, old, path, root, &mut errors);
        errors
    };
    let broken = |why: String| Error::invalid(&Path::default(), "", &why);
    let checks = &schema.checks;
    if !checks.any_of.is_empty() && !checks.any_of.iter().any(|schema| try_one(schema).is_empty()) {
        errors.push(broken(format!("{path:?} must validate at least one schema (anyOf)")));
        errors.extend(best(&checks.any_of, &try_one));
    }
    let valid = checks.one_of.iter().filter(|schema| try_one(schema).is_empty()).count();
    if !checks.one_of.is_empty() && valid != 1 {
        let how = if valid == 0 { "Found none valid".to_owned() } else { format!("Found {valid} valid alternatives") };
        errors.push(broken(format!("{path:?} must validate one and only one schema (oneOf). {how}")));
        if valid == 0 {
            errors.extend(best(&checks.one_of, &try_one));
        }
    }
    let failed: Vec<Errors> = checks.all_of.iter().map(try_one).filter(|errors| !errors.is_empty()).collect();
    if !failed.is_empty() {
        let how = if failed.len() == checks.all_of.len() { ". None validated" } else { "" };
        errors.extend(failed.into_iter().flatten());
        errors.push(broken(format!("{path:?} must validate all the schemas (allOf){how}")));
    }
    if checks.not.as_ref().is_some_and(|schema| try_one(schema).is_empty()) {
        errors.push(broken(format!("{path:?} must not validate the schema (not)")));
    }
}

/// What the first alternative with the fewest faults finds.
fn best(schemas: &[Structural], try_one: &dyn Fn(&Structural) -> Errors) -> Errors {
    schemas.iter().map(try_one).min_by_key(Vec::len).unwrap_or_default()
}

fn text(schema: &Structural, value: &str, path: &str, errors: &mut Errors) {
    let checks = &schema.checks;
    let length = value.chars().count() as u64;
    if let Some(max) = checks.max_length.filter(|max| length > *max) {
        errors.push(Error::too_long(&at(path), usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if let Some(min) = checks.min_length.filter(|min| length < *min) {
        let why = format!("{path} in body should be at least {min} chars long");
        errors.push(Error::invalid(&at(path), value, &why));
    }
    if let Some((text, Some(pattern))) = &checks.pattern
        && !pattern.is_match(value)
    {
        errors.push(Error::invalid(&at(path), value, &format!("{path} in body should match '{text}'")));
    }
    if !checks.format.is_empty() && !schema.int_or_string && !has_format(&checks.format, value) {
        let why = format!("{path} in body must be of type {}: {value:?}", checks.format);
        errors.push(Error::type_invalid(&at(path), value, &why));
    }
}

fn number(schema: &Structural, value: &Value, path: &str, errors: &mut Errors) {
    let checks = &schema.checks;
    let Some(number) = value.as_f64() else { return };
    let mut fail =
        |why: String| errors.push(Error::invalid(&at(path), value.clone(), &format!("{path} in body should be {why}")));
    if let Some(factor) = checks.multiple_of.filter(|factor| (number / factor).fract() != 0.0) {
        fail(format!("a multiple of {factor}"));
    }
    match checks.maximum {
        Some(max) if checks.exclusive_maximum && number >= max => fail(format!("less than {max}")),
        Some(max) if !checks.exclusive_maximum && number > max => fail(format!("less than or equal to {max}")),
        _ => {}
    }
    match checks.minimum {
        Some(min) if checks.exclusive_minimum && number <= min => fail(format!("greater than {min}")),
        Some(min) if !checks.exclusive_minimum && number < min => fail(format!("greater than or equal to {min}")),
        _ => {}
    }
}

fn list(schema: &Structural, items: &[Value], old: Option<&Value>, path: &str, errors: &mut Errors) {
    let checks = &schema.checks;
    if let Some(each) = &schema.items {
        for (index, item) in items.iter().enumerate() {
            check(each, item, schema.old_item(item, old), &format!("{path}[{index}]"), false, errors);
        }
    }
    let count = items.len() as u64;
    if let Some(min) = checks.min_items.filter(|min| count < *min) {
        let why = format!("{path} in body should have at least {min} items");
        errors.push(Error::invalid(&at(path), count, &why));
    }
    if let Some(max) = checks.max_items.filter(|max| count > *max) {
        errors.push(Error::too_many(&at(path), items.len(), usize::try_from(max).unwrap_or(usize::MAX)));
    }
    if checks.unique_items && items.iter().enumerate().any(|(index, item)| items[..index].contains(item)) {
        errors.push(Error::invalid(&at(path), "", &format!("{path} in body shouldn't contain duplicates")));
    }
}

fn fields(schema: &Structural, value: &Value, old: Option<&Value>, path: &str, root: bool, errors: &mut Errors) {
    let Some(fields) = value.as_object() else { return };
    let checks = &schema.checks;
    let count = fields.len() as u64;
    if let Some(min) = checks.min_properties.filter(|min| count < *min) {
        let why = format!("{path} in body should have at least {min} properties");
        errors.push(Error::invalid(&at(path), count, &why));
    }
    if let Some(max) = checks.max_properties.filter(|max| count > *max) {
        errors.push(Error::too_many(&at(path), fields.len(), usize::try_from(max).unwrap_or(usize::MAX)));
    }
    for (name, value) in fields {
        let old = old.and_then(|old| old.get(name));
        if let Some(field) = schema.properties.get(name) {
            let dot = if path.is_empty() { "" } else { "." };
            check(field, value, old, &[path, dot, name].concat(), false, errors);
        } else if let Some(entry) = &schema.additional
            && !(root && COMMON.contains(&name.as_str()))
        {
            check(entry, value, old, &[path, ".", name].concat(), false, errors);
        }
    }
    for name in checks.required.iter().filter(|name| !fields.contains_key(*name)) {
        errors.push(Error::required(&at(&[path, ".", name].concat()), ""));
    }
}
