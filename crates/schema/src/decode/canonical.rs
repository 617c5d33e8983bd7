//! What Go writes for a field: which values vanish, and what stands for an absent one.

use serde_json::{Map, Value};

use crate::types::{Any, Field, Scalar, Schemas, Struct, Type, TypeId};

/// What a field has in the document, if it has anything; `None` stands for absent or null.
pub(crate) fn settle(schemas: &Schemas, field: &Field, value: Option<Value>) -> Option<Value> {
    let omits = field.omit_empty || field.omit_zero;
    let Some(value) = value else {
        if field.pointer {
            return (!omits).then_some(Value::Null);
        }
        let stays = if never_empty(schemas.get(field.ty)) { !field.omit_zero } else { !omits };
        return stays.then(|| zero(schemas, field.ty));
    };
    if field.pointer {
        return Some(value);
    }
    if is_empty(&value) {
        match schemas.get(field.ty) {
            // Compat: upstream stores protobuf, which doesn't tell an empty list or map from none.
            Type::List(_) | Type::Map(_) => return (!omits).then_some(Value::Null),
            other if omits && !never_empty(other) => return None,
            _ => {}
        }
    }
    if field.omit_zero && value == zero(schemas, field.ty) {
        return None;
    }
    Some(value)
}

/// Completes an object whose present fields are settled.
pub(crate) fn complete(schemas: &Schemas, structure: &Struct, object: &mut Map<String, Value>) {
    for field in &structure.fields {
        let vanishes = (field.omit_empty && field.pointer) || field.omit_zero;
        if !vanishes
            && !object.contains_key(&field.name)
            && let Some(value) = settle(schemas, field, None)
        {
            object.insert(field.name.clone(), value);
        }
    }
}

/// What Go's zero value of a type looks like.
pub(crate) fn zero(schemas: &Schemas, ty: TypeId) -> Value {
    match schemas.get(ty) {
        Type::Struct(structure) => {
            let mut object = Map::new();
            complete(schemas, structure, &mut object);
            Value::Object(object)
        }
        Type::List(_) | Type::Map(_) | Type::Any(_) | Type::SchemaOr(_) => Value::Null,
        Type::Scalar(scalar) => match scalar {
            Scalar::String => Value::from(""),
            Scalar::Bool => Value::from(false),
            Scalar::Int32 | Scalar::Int64 | Scalar::Float | Scalar::IntOrString => Value::from(0),
            Scalar::Quantity => Value::from("0"),
            Scalar::Duration => Value::from("0s"),
            Scalar::Bytes | Scalar::Time | Scalar::MicroTime => Value::Null,
        },
    }
}

/// Go's structs, which `omitempty` doesn't concern.
fn never_empty(ty: &Type) -> bool {
    match ty {
        Type::Struct(_) | Type::SchemaOr(_) | Type::Any(Any::Object | Any::Fields | Any::Json) => true,
        Type::Scalar(scalar) => {
            matches!(
                scalar,
                Scalar::Quantity | Scalar::IntOrString | Scalar::Time | Scalar::MicroTime | Scalar::Duration
            )
        }
        Type::List(_) | Type::Map(_) => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}
