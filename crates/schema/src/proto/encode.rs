//! Documents to messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::wire::Writer;
use crate::duration;
use crate::types::{Field, List, Scalar, SchemaOr, SchemaOrKind, Schemas, Struct, Type, TypeId, WirePart};

/// Writes the message of a struct, fields in ascending order.
pub(super) fn structure(writer: &mut Writer, schemas: &Schemas, structure: &Struct, object: &Map<String, Value>) {
    let encoder = Encoder { schemas };
    encoder.structure(writer, structure, object);
}

struct Encoder<'s> {
    schemas: &'s Schemas,
}

impl Encoder<'_> {
    fn structure(&self, writer: &mut Writer, structure: &Struct, object: &Map<String, Value>) {
        for wire in structure.wire.iter().rev() {
            match wire.part {
                WirePart::Field(at) => self.field(writer, &structure.fields[at], object),
                WirePart::Inline(ty) => {
                    let mark = writer.mark();
                    if let Some(inlined) = self.schemas.structure(ty) {
                        self.structure(writer, inlined, object);
                    }
                    writer.close(wire.number, mark);
                }
            }
        }
    }

    fn field(&self, writer: &mut Writer, field: &Field, object: &Map<String, Value>) {
        match object.get(&field.name) {
            Some(value) if !value.is_null() => self.value(writer, field.number, field.ty, value),
            // Compat: Go writes what isn't behind a pointer even when it is zero.
            _ if !field.pointer => self.zero(writer, field.number, field.ty),
            _ => {}
        }
    }

    fn value(&self, writer: &mut Writer, number: u32, ty: TypeId, value: &Value) {
        match self.schemas.get(ty) {
            Type::Struct(inner) => {
                let mark = writer.mark();
                match value.as_object() {
                    Some(object) => self.structure(writer, inner, object),
                    None => self.structure(writer, inner, &Map::new()),
                }
                writer.close(number, mark);
            }
            Type::List(list) => self.list(writer, number, list, value),
            Type::Map(map) => {
                for (key, value) in value.as_object().into_iter().flatten().rev() {
                    let mark = writer.mark();
                    self.item(writer, 2, map.value, value);
                    writer.bytes(1, key.as_bytes());
                    writer.close(number, mark);
                }
            }
            Type::Scalar(scalar) => self::scalar(writer, number, *scalar, value),
            Type::Any(_) => {
                let mark = writer.mark();
                writer.bytes(1, value.to_string().as_bytes());
                writer.close(number, mark);
            }
            Type::SchemaOr(kind) => {
                let mark = writer.mark();
                self.schema_or(writer, *kind, value);
                writer.close(number, mark);
            }
        }
    }

    fn list(&self, writer: &mut Writer, number: u32, list: &List, value: &Value) {
        let mark = writer.mark();
        let item_number = if list.boxed { 1 } else { number };
        for item in value.as_array().into_iter().flatten().rev() {
            self.item(writer, item_number, list.item, item);
        }
        if list.boxed {
            writer.close(number, mark);
        }
    }

    fn item(&self, writer: &mut Writer, number: u32, ty: TypeId, value: &Value) {
        match value {
            Value::Null => self.zero(writer, number, ty),
            value => self.value(writer, number, ty, value),
        }
    }

    fn schema_or(&self, writer: &mut Writer, kind: SchemaOr, value: &Value) {
        match (kind.other, value) {
            (SchemaOrKind::Bool, Value::Bool(allows)) => writer.int(1, i64::from(*allows)),
            // Compat: a schema in place of a boolean allows, too.
            (SchemaOrKind::Bool, schema) => {
                self.value(writer, 2, kind.schema, schema);
                writer.int(1, 1);
            }
            (SchemaOrKind::Schemas, Value::Array(items)) => {
                items.iter().rev().for_each(|item| self.item(writer, 2, kind.schema, item));
            }
            (SchemaOrKind::Strings, Value::Array(items)) => {
                items.iter().rev().for_each(|item| writer.bytes(2, item.as_str().unwrap_or_default().as_bytes()));
            }
            (SchemaOrKind::Schemas | SchemaOrKind::Strings, schema) => self.value(writer, 1, kind.schema, schema),
        }
    }

    fn zero(&self, writer: &mut Writer, number: u32, ty: TypeId) {
        match self.schemas.get(ty) {
            Type::Struct(_) => self.value(writer, number, ty, &Value::Null),
            Type::List(_) | Type::Map(_) | Type::Scalar(Scalar::Bytes) => {}
            Type::Any(_) | Type::SchemaOr(_) | Type::Scalar(Scalar::Time | Scalar::MicroTime) => {
                writer.bytes(number, &[]);
            }
            Type::Scalar(kind) => scalar(writer, number, *kind, &crate::decode::zero(self.schemas, ty)),
        }
    }
}

fn scalar(writer: &mut Writer, number: u32, scalar: Scalar, value: &Value) {
    let text = value.as_str().unwrap_or_default();
    match scalar {
        Scalar::String => writer.bytes(number, text.as_bytes()),
        Scalar::Bool => writer.int(number, i64::from(value.as_bool().unwrap_or(false))),
        Scalar::Int32 | Scalar::Int64 => writer.int(number, value.as_i64().unwrap_or(0)),
        Scalar::Float => writer.float(number, value.as_f64().unwrap_or(0.0)),
        Scalar::Bytes => writer.bytes(number, &STANDARD.decode(text).unwrap_or_default()),
        Scalar::Quantity => {
            let mark = writer.mark();
            match value {
                Value::Number(amount) => writer.bytes(1, amount.to_string().as_bytes()),
                _ => writer.bytes(1, text.as_bytes()),
            }
            writer.close(number, mark);
        }
        Scalar::IntOrString => {
            let mark = writer.mark();
            writer.bytes(3, text.as_bytes());
            writer.int(2, value.as_i64().unwrap_or(0));
            writer.int(1, i64::from(value.is_string()));
            writer.close(number, mark);
        }
        Scalar::Time | Scalar::MicroTime => {
            let mark = writer.mark();
            if let Some(time) = meta::parse_time(text) {
                let precise = scalar == Scalar::MicroTime;
                writer.int(2, if precise { i64::from(time.subsec_nanosecond() / 1000 * 1000) } else { 0 });
                writer.int(1, time.as_second());
            }
            writer.close(number, mark);
        }
        Scalar::Duration => {
            let mark = writer.mark();
            writer.int(1, duration::parse(text).unwrap_or(0));
            writer.close(number, mark);
        }
    }
}
