//! Lists whose items must differ.

use meta::field::{Error, Errors, Path};
use serde_json::{Map, Value};

use super::Structural;

pub(super) fn duplicates(schema: &Structural, object: &Value) -> Errors {
    let mut errors = Errors::new();
    walk(schema, object, &Path::default(), &mut errors);
    errors
}

fn walk(schema: &Structural, value: &Value, path: &Path, errors: &mut Errors) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(field) = schema.properties.get(name) {
                    walk(field, value, &path.child(name), errors);
                } else if let Some(entry) = &schema.additional {
                    walk(entry, value, &path.key(name), errors);
                }
            }
        }
        Value::Array(items) => {
            twice(schema, items, path, errors);
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    walk(schema, item, &path.index(index), errors);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn twice(schema: &Structural, items: &[Value], path: &Path, errors: &mut Errors) {
    let mut seen = std::collections::HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let key = match schema.list_type.as_str() {
            "set" => item.clone(),
            "map" => {
                let values = schema.list_keys.iter().zip(schema.list_key(item));
                let present = values.filter_map(|(key, value)| Some((key.clone(), value?.clone())));
                Value::Object(present.collect::<Map<_, _>>())
            }
            _ => return,
        };
        if !seen.insert(key.to_string()) {
            errors.push(Error::duplicate(&path.index(index), key));
        }
    }
}
