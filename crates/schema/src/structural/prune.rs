//! Dropping what a schema doesn't name.

use serde_json::{Map, Value};

use super::Structural;

/// What every object of the API has.
const COMMON: [&str; 3] = ["apiVersion", "kind", "metadata"];

pub(super) fn prune(schema: &Structural, object: &mut Value) -> Vec<String> {
    let mut pruned = Vec::new();
    walk(schema, object, true, &mut String::new(), &mut pruned);
    pruned
}

fn walk(schema: &Structural, value: &mut Value, resource: bool, path: &mut String, pruned: &mut Vec<String>) {
    match value {
        Value::Object(fields) => object(schema, fields, resource || schema.embedded, path, pruned),
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{index}]"));
                match &schema.items {
                    Some(schema) => walk(schema, item, false, path, pruned),
                    None if schema.preserve_unknown => {}
                    None => walk(&Structural::default(), item, false, path, pruned),
                }
                path.truncate(length);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn object(
    schema: &Structural,
    fields: &mut Map<String, Value>,
    resource: bool,
    path: &mut String,
    pruned: &mut Vec<String>,
) {
    fields.retain(|name, value| {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(name);
        let stays = match schema.field(name) {
            _ if resource && COMMON.contains(&name.as_str()) => true,
            Some(schema) => {
                walk(schema, value, false, path, pruned);
                true
            }
            None => schema.preserve_unknown || schema.additional_any,
        };
        if !stays {
            pruned.push(path.clone());
        }
        path.truncate(length);
        stays
    });
}
