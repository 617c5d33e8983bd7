//! One pass over JSON that follows the type.

use std::fmt;

use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::canonical::{complete, settle, zero};
use super::scalar::{Unfit, go_kind, go_type, scalar};
use crate::types::{Any, Scalar, SchemaOr, SchemaOrKind, Schemas, Struct, Type, TypeId};

/// Compat: upstream's decoder stops collecting after so many.
const MAX_ERRORS: usize = 100;

/// What a pass carries along.
pub(super) struct Context<'s> {
    schemas: &'s Schemas,
    path: Vec<Step<'s>>,
    /// The structs on the way, the innermost last.
    structs: Vec<&'s Struct>,
    pub(super) errors: Vec<String>,
    /// Set before a pass fails for another reason than syntax.
    pub(super) fatal: Option<String>,
}

enum Step<'s> {
    Field(&'s str),
    Key(String),
    Index(usize),
}

impl<'s> Context<'s> {
    pub(super) fn new(schemas: &'s Schemas) -> Self {
        Self { schemas, path: Vec::new(), structs: Vec::new(), errors: Vec::new(), fatal: None }
    }

    fn report(&mut self, what: &str, name: &str) {
        if self.errors.len() >= MAX_ERRORS {
            return;
        }
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Field(name) => push_name(&mut path, name),
                Step::Key(key) => push_name(&mut path, key),
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        push_name(&mut path, name);
        let error = format!("{what} field {path:?}");
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    /// Ends the pass: a value of the wrong kind stands where the type is `ty`.
    fn unfit<E: Error>(&mut self, found: &str, ty: &str) -> E {
        let fields = self.path.iter().filter_map(|step| match step {
            Step::Field(name) => Some(*name),
            Step::Key(_) | Step::Index(_) => None,
        });
        let fields: Vec<&str> = fields.collect();
        let text = match self.structs.last() {
            Some(structure) if !fields.is_empty() => {
                let name = structure.go_name();
                let name = name.rsplit('.').next().unwrap_or(name);
                let path = fields.join(".");
                format!("json: cannot unmarshal {found} into Go struct field {name}.{path} of type {ty}")
            }
            _ => format!("json: cannot unmarshal {found} into Go value of type {ty}"),
        };
        self.fatal(text)
    }

    fn fatal<E: Error>(&mut self, text: String) -> E {
        self.fatal = Some(text);
        E::custom("the document does not have its type")
    }
}

fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// Decodes a value of a type; `None` is null.
pub(super) struct Seed<'c, 's> {
    pub(super) cx: &'c mut Context<'s>,
    pub(super) ty: TypeId,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Option<Value>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'s> Seed<'_, 's> {
    fn leaf<E: Error>(self, value: Value) -> Result<Option<Value>, E> {
        let schemas = self.cx.schemas;
        match schemas.get(self.ty) {
            Type::Scalar(kind) => match scalar(*kind, value) {
                Ok(value) => Ok(Some(value)),
                Err(Unfit::Kind(found)) => Err(self.cx.unfit(&found, go_type(*kind))),
                Err(Unfit::Text(text)) => Err(self.cx.fatal(text)),
            },
            Type::Any(_) => Ok(Some(value)),
            Type::SchemaOr(SchemaOr { other: SchemaOrKind::Bool, .. }) if value.is_boolean() => Ok(Some(value)),
            _ => Err(self.cx.unfit(go_kind(&value), &type_name(schemas, self.ty))),
        }
    }

    fn structure<'de, A: MapAccess<'de>>(self, structure: &'s Struct, mut map: A) -> Result<Option<Value>, A::Error> {
        let mut object = Map::new();
        let mut seen = vec![false; structure.fields.len()];
        while let Some(name) = map.next_key::<String>()? {
            let Ok(at) = structure.fields.binary_search_by(|field| field.name.as_str().cmp(&name)) else {
                if structure.open {
                    object.insert(name, map.next_value()?);
                } else {
                    self.cx.report("unknown", &name);
                    map.next_value::<IgnoredAny>()?;
                }
                continue;
            };
            let field = &structure.fields[at];
            if std::mem::replace(&mut seen[at], true) {
                self.cx.report("duplicate", &name);
            }
            self.cx.path.push(Step::Field(&field.name));
            let value = map.next_value_seed(Seed { cx: self.cx, ty: field.ty })?;
            self.cx.path.pop();
            match settle(self.cx.schemas, field, value) {
                Some(value) => object.insert(name, value),
                None => object.remove(&field.name),
            };
        }
        complete(self.cx.schemas, structure, &mut object);
        Ok(Some(Value::Object(object)))
    }

    fn map<'de, A: MapAccess<'de>>(self, value_ty: TypeId, mut map: A) -> Result<Option<Value>, A::Error> {
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                self.cx.report("duplicate", &key);
            }
            self.cx.path.push(Step::Key(key));
            let value = map.next_value_seed(Seed { cx: self.cx, ty: value_ty })?;
            let value = value.unwrap_or_else(|| zero(self.cx.schemas, value_ty));
            if let Some(Step::Key(key)) = self.cx.path.pop() {
                object.insert(key, value);
            }
        }
        Ok(Some(Value::Object(object)))
    }

    fn list<'de, A: SeqAccess<'de>>(self, item: TypeId, mut seq: A) -> Result<Option<Value>, A::Error> {
        let mut items = Vec::new();
        loop {
            self.cx.path.push(Step::Index(items.len()));
            let next = seq.next_element_seed(Seed { cx: self.cx, ty: item })?;
            self.cx.path.pop();
            let Some(value) = next else { break };
            items.push(value.unwrap_or_else(|| zero(self.cx.schemas, item)));
        }
        Ok(Some(Value::Array(items)))
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        self.leaf(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        self.leaf(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        self.leaf(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        self.leaf(Value::from(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        self.leaf(Value::from(value))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Self::Value, E> {
        self.leaf(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let schemas = self.cx.schemas;
        match schemas.get(self.ty) {
            Type::List(list) => self.list(list.item, seq),
            Type::Any(Any::Json | Any::Object | Any::Fields) => {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<Value>()? {
                    items.push(item);
                }
                Ok(Some(Value::Array(items)))
            }
            Type::SchemaOr(SchemaOr { schema, other: SchemaOrKind::Schemas }) => self.list(*schema, seq),
            Type::SchemaOr(SchemaOr { other: SchemaOrKind::Strings, .. }) => {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element::<String>()? {
                    items.push(Value::String(item));
                }
                Ok(Some(Value::Array(items)))
            }
            _ => Err(self.cx.unfit("array", &type_name(schemas, self.ty))),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let schemas = self.cx.schemas;
        match schemas.get(self.ty) {
            Type::Struct(structure) => {
                self.cx.structs.push(structure);
                let Seed { cx, ty } = self;
                let value = Seed { cx: &mut *cx, ty }.structure(structure, map)?;
                cx.structs.pop();
                Ok(value)
            }
            Type::Map(inner) => self.map(inner.value, map),
            Type::Any(_) => {
                let mut object = Map::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    object.insert(key, value);
                }
                Ok(Some(Value::Object(object)))
            }
            Type::SchemaOr(SchemaOr { schema, .. }) => Seed { cx: self.cx, ty: *schema }.visit_map(map),
            Type::List(_) | Type::Scalar(_) => Err(self.cx.unfit("object", &type_name(schemas, self.ty))),
        }
    }
}

/// What Go calls a type.
fn type_name(schemas: &Schemas, ty: TypeId) -> String {
    match schemas.get(ty) {
        Type::Struct(structure) => structure.go_name().to_owned(),
        Type::List(list) => format!("[]{}", type_name(schemas, list.item)),
        Type::Map(map) => format!("map[string]{}", type_name(schemas, map.value)),
        Type::Scalar(Scalar::String) => "string".to_owned(),
        Type::Scalar(scalar) => go_type(*scalar).to_owned(),
        Type::Any(_) => "runtime.RawExtension".to_owned(),
        Type::SchemaOr(_) => "v1.JSONSchemaProps".to_owned(),
    }
}
