//! Reading custom objects: what is there twice, what no schema names, and metadata in its one form.

use std::fmt;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{CustomObject, Structural};
use crate::decode::decode_value;
use crate::types::Schemas;

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Compat: upstream's decoder stops collecting after so many.
const MAX_ERRORS: usize = 100;

pub(super) fn decode(schema: &Structural, json: &[u8]) -> Result<CustomObject, String> {
    let mut reader = Reader { path: String::new(), errors: Vec::new() };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = Seed(&mut reader).deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    if !value.is_object() {
        return Err("json: cannot unmarshal into Go value of type map[string]interface {}".to_owned());
    }
    check_metadata(&value)?;
    Ok(settle(schema, value, reader.errors))
}

/// Metadata has a type as in every object.
fn check_metadata(value: &Value) -> Result<(), String> {
    let builtin = Schemas::builtin();
    let (Some(ty), Some(metadata)) = (builtin.named(METADATA), value.get("metadata")) else { return Ok(()) };
    decode_value(builtin, ty, metadata.clone()).map(drop).map_err(|error| error.to_string())
}

/// Prunes an object, metadata included.
pub(super) fn settle(schema: &Structural, mut value: Value, mut errors: Vec<String>) -> CustomObject {
    let unknown = |path: &str| format!("unknown field {path:?}");
    settle_metadata(schema, &mut value, (true, ""), &mut errors);
    errors.extend(schema.prune(&mut value).iter().map(|path| unknown(path)));
    errors.truncate(MAX_ERRORS);
    CustomObject { value, errors }
}

/// Brings the metadata of an object, and of those that are embedded in it, into their one form.
fn settle_metadata(schema: &Structural, value: &mut Value, (root, path): (bool, &str), errors: &mut Vec<String>) {
    let within = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if root || schema.embedded {
        let builtin = Schemas::builtin();
        let metadata = value.get_mut("metadata").filter(|metadata| metadata.is_object());
        if let (Some(ty), Some(metadata)) = (builtin.named(METADATA), metadata)
            && let Ok(decoded) = decode_value(builtin, ty, metadata.clone())
        {
            *metadata = decoded.value;
            let lead = format!("field \"{}.", within("metadata"));
            errors.extend(decoded.errors.iter().map(|error| error.replacen("field \"", &lead, 1)));
        }
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if let Some(schema) = schema.field(name) {
                    settle_metadata(schema, value, (false, &within(name)), errors);
                }
            }
        }
        Value::Array(items) => {
            let Some(schema) = schema.items.as_deref() else { return };
            for (index, item) in items.iter_mut().enumerate() {
                settle_metadata(schema, item, (false, &format!("{path}[{index}]")), errors);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

struct Reader {
    path: String,
    errors: Vec<String>,
}

impl Reader {
    fn duplicate(&mut self, name: &str) {
        let dot = if self.path.is_empty() { "" } else { "." };
        let error = format!("duplicate field {:?}", [self.path.as_str(), dot, name].concat());
        if self.errors.len() < MAX_ERRORS && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }
}

struct Seed<'r>(&'r mut Reader);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        let length = self.0.path.len();
        loop {
            self.0.path.push_str(&format!("[{}]", items.len()));
            let item = seq.next_element_seed(Seed(&mut *self.0))?;
            self.0.path.truncate(length);
            match item {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        let length = self.0.path.len();
        while let Some(name) = map.next_key::<String>()? {
            if fields.contains_key(&name) {
                self.0.duplicate(&name);
            }
            if length > 0 {
                self.0.path.push('.');
            }
            self.0.path.push_str(&name);
            let value = map.next_value_seed(Seed(&mut *self.0))?;
            self.0.path.truncate(length);
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}
