//! Messages to documents, in the same canonical form that decoding JSON gives.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::ProtoError;
use super::wire::{Part, Reader, malformed};
use crate::decode::{complete, settle, zero};
use crate::duration;
use crate::types::{Any, Field, Scalar, SchemaOr, SchemaOrKind, Schemas, Struct, Type, TypeId, WirePart};

/// How deep messages may nest: JSON schemas are recursive.
const MAX_DEPTH: usize = 100;

/// Reads the message of a struct.
pub(super) fn structure(schemas: &Schemas, structure: &Struct, bytes: &[u8]) -> Result<Map<String, Value>, ProtoError> {
    Decoder { schemas, depth: 0 }.structure(structure, bytes)
}

struct Decoder<'s> {
    schemas: &'s Schemas,
    depth: usize,
}

impl Decoder<'_> {
    fn structure(&mut self, structure: &Struct, bytes: &[u8]) -> Result<Map<String, Value>, ProtoError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(malformed("messages nest too deep"));
        }
        let mut object = Map::new();
        self.parts(structure, bytes, &mut object)?;
        for field in &structure.fields {
            if let Some(value) = object.remove(&field.name) {
                let value = Some(value).filter(|value| !value.is_null());
                if let Some(value) = settle(self.schemas, field, value) {
                    object.insert(field.name.clone(), value);
                }
            }
        }
        complete(self.schemas, structure, &mut object);
        self.depth -= 1;
        Ok(object)
    }

    /// The fields of a message, not settled yet.
    fn parts(&mut self, structure: &Struct, bytes: &[u8], object: &mut Map<String, Value>) -> Result<(), ProtoError> {
        let mut reader = Reader::new(bytes);
        while let Some((number, part)) = reader.next()? {
            let Ok(at) = structure.wire.binary_search_by_key(&number, |wire| wire.number) else { continue };
            match structure.wire[at].part {
                WirePart::Field(at) => self.field(&structure.fields[at], part, object)?,
                WirePart::Inline(ty) => {
                    if let Some(inlined) = self.schemas.structure(ty) {
                        self.parts(inlined, bytes_of(part)?, object)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn field(&mut self, field: &Field, part: Part<'_>, object: &mut Map<String, Value>) -> Result<(), ProtoError> {
        match self.schemas.get(field.ty) {
            Type::List(list) if !list.boxed => {
                let items = object.entry(field.name.as_str()).or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(items) = items else { return Ok(()) };
                if let (Type::Scalar(kind), Part::Bytes(packed)) = (self.schemas.get(list.item), part)
                    && matches!(kind, Scalar::Bool | Scalar::Int32 | Scalar::Int64)
                {
                    let mut packed = Reader::new(packed);
                    while !packed.is_empty() {
                        items.push(scalar(*kind, Part::Number(packed.varint()?))?);
                    }
                    return Ok(());
                }
                items.push(self.value(list.item, part)?);
            }
            Type::Map(map) => {
                let (key, value) = self.entry(map.value, bytes_of(part)?)?;
                let entries = object.entry(field.name.as_str()).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(entries) = entries {
                    entries.insert(key, value);
                }
            }
            _ => {
                let value = self.value(field.ty, part)?;
                object.insert(field.name.clone(), value);
            }
        }
        Ok(())
    }

    fn entry(&mut self, ty: TypeId, bytes: &[u8]) -> Result<(String, Value), ProtoError> {
        let (mut key, mut value) = (String::new(), None);
        let mut reader = Reader::new(bytes);
        while let Some((number, part)) = reader.next()? {
            match number {
                1 => key = text(bytes_of(part)?)?,
                2 => value = Some(self.value(ty, part)?),
                _ => {}
            }
        }
        Ok((key, value.unwrap_or_else(|| zero(self.schemas, ty))))
    }

    fn value(&mut self, ty: TypeId, part: Part<'_>) -> Result<Value, ProtoError> {
        match self.schemas.get(ty) {
            Type::Struct(inner) => Ok(Value::Object(self.structure(inner, bytes_of(part)?)?)),
            Type::Scalar(kind) => scalar(*kind, part),
            Type::Any(kind) => any(self.schemas, *kind, bytes_of(part)?),
            Type::SchemaOr(kind) => self.schema_or(*kind, bytes_of(part)?),
            // A list in a message of its own; maps are read entry by entry.
            Type::List(list) => {
                let mut items = Vec::new();
                let mut reader = Reader::new(bytes_of(part)?);
                while let Some((number, part)) = reader.next()? {
                    if number == 1 {
                        items.push(self.value(list.item, part)?);
                    }
                }
                Ok(Value::Array(items))
            }
            Type::Map(_) => Err(malformed("a map of maps")),
        }
    }

    fn schema_or(&mut self, kind: SchemaOr, bytes: &[u8]) -> Result<Value, ProtoError> {
        let (mut allows, mut schema, mut others) = (false, None, Vec::new());
        let mut reader = Reader::new(bytes);
        while let Some((number, part)) = reader.next()? {
            match (kind.other, number, part) {
                (SchemaOrKind::Bool, 1, Part::Number(number)) => allows = number != 0,
                (SchemaOrKind::Bool, 2, part) | (_, 1, part) => schema = Some(self.value(kind.schema, part)?),
                (SchemaOrKind::Schemas, 2, part) => others.push(self.value(kind.schema, part)?),
                (SchemaOrKind::Strings, 2, part) => others.push(Value::String(text(bytes_of(part)?)?)),
                _ => {}
            }
        }
        Ok(match (kind.other, schema) {
            (_, Some(schema)) => schema,
            (SchemaOrKind::Bool, None) => Value::Bool(allows),
            (SchemaOrKind::Schemas | SchemaOrKind::Strings, None) if others.is_empty() => Value::Null,
            (SchemaOrKind::Schemas | SchemaOrKind::Strings, None) => Value::Array(others),
        })
    }
}

fn bytes_of(part: Part<'_>) -> Result<&[u8], ProtoError> {
    match part {
        Part::Bytes(bytes) => Ok(bytes),
        Part::Number(_) | Part::Fixed64(_) => Err(malformed("wrong wireType")),
    }
}

fn text(bytes: &[u8]) -> Result<String, ProtoError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| malformed("a string isn't UTF-8"))
}

/// The first field with this number in a small message.
fn find(bytes: &[u8], wanted: u32) -> Result<Option<Part<'_>>, ProtoError> {
    let mut reader = Reader::new(bytes);
    while let Some((number, part)) = reader.next()? {
        if number == wanted {
            return Ok(Some(part));
        }
    }
    Ok(None)
}

fn int_at(bytes: &[u8], wanted: u32) -> Result<i64, ProtoError> {
    match find(bytes, wanted)? {
        Some(Part::Number(number)) => Ok(number.cast_signed()),
        _ => Ok(0),
    }
}

fn text_at(bytes: &[u8], wanted: u32) -> Result<String, ProtoError> {
    match find(bytes, wanted)? {
        Some(Part::Bytes(bytes)) => text(bytes),
        _ => Ok(String::new()),
    }
}

fn any(schemas: &Schemas, kind: Any, bytes: &[u8]) -> Result<Value, ProtoError> {
    match find(bytes, 1)? {
        Some(Part::Bytes(raw)) if !raw.is_empty() => {
            if kind == Any::Object && raw.starts_with(&super::MAGIC) {
                return super::decode_object(schemas, raw, None);
            }
            serde_json::from_slice(raw).map_err(|error| malformed(&error.to_string()))
        }
        _ => Ok(Value::Null),
    }
}

fn scalar(scalar: Scalar, part: Part<'_>) -> Result<Value, ProtoError> {
    Ok(match (scalar, part) {
        (Scalar::String, part) => Value::String(text(bytes_of(part)?)?),
        (Scalar::Bool, Part::Number(number)) => Value::Bool(number != 0),
        (Scalar::Int32, Part::Number(number)) => Value::from(number.cast_signed() as i32),
        (Scalar::Int64, Part::Number(number)) => Value::from(number.cast_signed()),
        (Scalar::Float, Part::Fixed64(bits)) => float(f64::from_bits(bits)),
        (Scalar::Bytes, part) => Value::String(STANDARD.encode(bytes_of(part)?)),
        (Scalar::Quantity, part) => {
            let text = text_at(bytes_of(part)?, 1)?;
            let quantity: meta::Quantity = text.parse().map_err(|_| malformed("not a quantity"))?;
            Value::String(quantity.to_string())
        }
        (Scalar::IntOrString, part) => {
            let bytes = bytes_of(part)?;
            if int_at(bytes, 1)? == 1 {
                Value::String(text_at(bytes, 3)?)
            } else {
                Value::from(int_at(bytes, 2)? as i32)
            }
        }
        (Scalar::Time | Scalar::MicroTime, part) => {
            let bytes = bytes_of(part)?;
            if bytes.is_empty() {
                return Ok(Value::Null);
            }
            let nanos = if scalar == Scalar::MicroTime { int_at(bytes, 2)? as i32 } else { 0 };
            let time = Timestamp::new(int_at(bytes, 1)?, nanos).map_err(|_| malformed("a time out of range"))?;
            let format = if scalar == Scalar::MicroTime { meta::format_micro_time } else { meta::format_time };
            Value::String(format(time))
        }
        (Scalar::Duration, part) => Value::String(duration::format(int_at(bytes_of(part)?, 1)?)),
        (Scalar::Bool | Scalar::Int32 | Scalar::Int64 | Scalar::Float, _) => return Err(malformed("wrong wireType")),
    })
}

/// Go writes whole floats without a fraction.
fn float(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9.0e15 { Value::from(value as i64) } else { Value::from(value) }
}
