//! Sets of fields, as `fieldsV1` writes them: which paths of an object somebody owns.

use std::collections::{BTreeMap, BTreeSet};

use schema::{ListKind, Schemas, Type, TypeId};
use serde_json::{Map, Value, json};

/// A path of elements as `fieldsV1` spells them: `f:name` of a field, `k:{…}` of a list's item, `v:…` of a set's.
pub(super) type Path = Vec<String>;

/// A set of paths.
pub(super) type Set = BTreeSet<Path>;

/// What nobody owns.
const UNOWNED: [&[&str]; 13] = [
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:resourceVersion"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:deletionTimestamp"],
    &["f:metadata", "f:deletionGracePeriodSeconds"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:managedFields"],
];

/// All paths that a document sets.
pub(super) fn of(schemas: &Schemas, ty: Option<TypeId>, object: &Value) -> Set {
    let mut set = Set::new();
    walk(schemas, ty, object, &mut Vec::new(), &mut set);
    set.retain(|path| {
        let is = |unowned: &&[&str]| path.iter().map(String::as_str).eq(unowned.iter().copied());
        let beneath_managed = path.len() > 2 && path[0] == "f:metadata" && path[1] == "f:managedFields";
        !beneath_managed && !UNOWNED.iter().any(is)
    });
    set
}

fn walk(schemas: &Schemas, ty: Option<TypeId>, value: &Value, path: &mut Path, set: &mut Set) {
    match value {
        Value::Object(fields) if !fields.is_empty() && !is_atomic(schemas, ty) => {
            for (name, value) in fields {
                path.push(format!("f:{name}"));
                walk(schemas, child(schemas, ty, name), value, path, set);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() && is_list(schemas, ty) && !is_atomic(schemas, ty) => {
            let item_type = item(schemas, ty);
            for value in items {
                let Some(element) = element(schemas, ty, value) else { continue };
                path.push(element);
                set.insert(path.clone());
                if value.is_object() {
                    walk(schemas, item_type, value, path, set);
                }
                path.pop();
            }
        }
        _ => {
            if !path.is_empty() {
                set.insert(path.clone());
            }
        }
    }
}

/// Whether a value of the type has one owner as a whole.
pub(super) fn is_atomic(schemas: &Schemas, ty: Option<TypeId>) -> bool {
    match ty.map(|ty| schemas.get(ty)) {
        Some(Type::Struct(structure)) => structure.atomic,
        Some(Type::Map(map)) => map.atomic,
        Some(Type::List(list)) => list.kind == ListKind::Atomic,
        Some(Type::Scalar(_) | Type::Any(_) | Type::SchemaOr(_)) | None => true,
    }
}

/// Whether the type tells a list's items apart, or would.
pub(super) fn is_list(schemas: &Schemas, ty: Option<TypeId>) -> bool {
    ty.is_some_and(|ty| matches!(schemas.get(ty), Type::List(_)))
}

/// The type of a field or of a map's value.
pub(super) fn child(schemas: &Schemas, ty: Option<TypeId>, name: &str) -> Option<TypeId> {
    match schemas.get(ty?) {
        Type::Struct(structure) => structure.fields.iter().find(|field| field.name == name).map(|field| field.ty),
        Type::Map(map) => Some(map.value),
        Type::List(_) | Type::Scalar(_) | Type::Any(_) | Type::SchemaOr(_) => None,
    }
}

/// The type of a list's items.
pub(super) fn item(schemas: &Schemas, ty: Option<TypeId>) -> Option<TypeId> {
    match schemas.get(ty?) {
        Type::List(list) => Some(list.item),
        Type::Struct(_) | Type::Map(_) | Type::Scalar(_) | Type::Any(_) | Type::SchemaOr(_) => None,
    }
}

/// The path element of a list's item.
pub(super) fn element(schemas: &Schemas, ty: Option<TypeId>, value: &Value) -> Option<String> {
    let Type::List(list) = schemas.get(ty?) else { return None };
    match &list.kind {
        ListKind::Atomic => None,
        ListKind::Set => Some(format!("v:{value}")),
        ListKind::Map(keys) => {
            let key = |key: &schema::MapKey| {
                value.get(&key.name).or(key.default.as_ref()).map(|value| (key.name.clone(), value.clone()))
            };
            let keys: BTreeMap<String, Value> = keys.iter().filter_map(key).collect();
            Some(format!("k:{}", json!(keys)))
        }
    }
}

/// The value at a path.
pub(super) fn value_at<'a>(
    schemas: &Schemas,
    mut ty: Option<TypeId>,
    mut value: &'a Value,
    path: &[String],
) -> Option<&'a Value> {
    for step in path {
        if let Some(name) = step.strip_prefix("f:") {
            value = value.get(name)?;
            ty = child(schemas, ty, name);
        } else {
            let items = value.as_array()?;
            value = items.iter().find(|item| element(schemas, ty, item).as_deref() == Some(step))?;
            ty = item(schemas, ty);
        }
    }
    Some(value)
}

/// Removes the value at a path.
pub(super) fn remove(schemas: &Schemas, ty: Option<TypeId>, value: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (step.strip_prefix("f:"), value) {
        (Some(name), Value::Object(fields)) => {
            if rest.is_empty() {
                fields.remove(name);
            } else if let Some(value) = fields.get_mut(name) {
                remove(schemas, child(schemas, ty, name), value, rest);
            }
        }
        (None, Value::Array(items)) => {
            let Some(at) = items.iter().position(|item| element(schemas, ty, item).as_deref() == Some(step)) else {
                return;
            };
            if rest.is_empty() {
                items.remove(at);
            } else {
                remove(schemas, item(schemas, ty), &mut items[at], rest);
            }
        }
        _ => {}
    }
}

/// The set as `fieldsV1`.
pub(super) fn write(set: &Set) -> Value {
    let mut root = json!({});
    for path in set {
        let mut at = &mut root;
        for step in path {
            let fields = at.as_object_mut().expect("each step of a set is an object");
            at = fields.entry(step.clone()).or_insert_with(|| json!({}));
        }
    }
    for path in set {
        let mut at = Some(&mut root);
        for step in path {
            at = at.and_then(|at| at.get_mut(step));
        }
        if let Some(Value::Object(fields)) = at
            && !fields.is_empty()
        {
            fields.insert(".".to_owned(), json!({}));
        }
    }
    root
}

/// A set from `fieldsV1`.
pub(super) fn read(fields: &Value) -> Set {
    fn step(fields: &Map<String, Value>, path: &mut Path, set: &mut Set) {
        if fields.is_empty() && !path.is_empty() {
            set.insert(path.clone());
        }
        for (name, value) in fields {
            if name == "." {
                set.insert(path.clone());
            } else if let Value::Object(fields) = value {
                path.push(name.clone());
                step(fields, path, set);
                path.pop();
            }
        }
    }
    let mut set = Set::new();
    if let Value::Object(fields) = fields {
        step(fields, &mut Vec::new(), &mut set);
    }
    set
}

/// A path as people read it: `.spec.containers[name="a"].image`.
pub(super) fn show(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        if let Some(name) = step.strip_prefix("f:") {
            text.push('.');
            text.push_str(name);
        } else if let Some(value) = step.strip_prefix("v:") {
            text.push_str(&format!("[={value}]"));
        } else if let Some(keys) = step.strip_prefix("k:") {
            let keys: BTreeMap<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            text.push_str(&format!("[{}]", keys.join(",")));
        }
    }
    text
}
