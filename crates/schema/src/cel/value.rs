//! What expressions compute with.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use meta::Quantity;
use serde_json::Value as Json;

use super::budget::{Budget, Halt};
use crate::structural::Structural;

/// A value; documents are looked into where they are.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number without a sign.
    Uint(u64),
    /// A number with a point.
    Double(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A list that an expression made.
    List(Arc<Vec<Value<'a>>>),
    /// A map that an expression made.
    Map(Arc<Vec<(Value<'a>, Value<'a>)>>),
    /// A list or an object of a document, and what its schema says of it.
    Json(&'a Json, Option<&'a Structural>),
    /// A point in time.
    Timestamp(Timestamp),
    /// Nanoseconds.
    Duration(i64),
    /// A type, by its name.
    Type(String),
    /// Something or nothing.
    Optional(Option<Arc<Value<'a>>>),
    /// A quantity such as `500m`.
    Quantity(Quantity),
    /// An address.
    Ip(IpAddr),
    /// An address range.
    Cidr(IpAddr, u8),
    /// A URL in its parts.
    Url(Arc<super::functions::Link>),
    /// A named format of texts.
    Format(&'static str),
    /// A version: major, minor, patch, and what comes before the release.
    Semver(Arc<super::functions::Version>),
    /// A typed object that an expression made.
    Object(Arc<(String, Vec<(String, Value<'a>)>)>),
    /// Fields that are only computed when they are asked for.
    Fields(Arc<dyn Fields<'a> + 'a>),
}

/// Fields that are computed when they are asked for.
pub trait Fields<'a>: fmt::Debug + Send + Sync {
    /// One of them; `None` where there is no such field.
    fn field(&self, name: &str, budget: &mut Budget) -> Option<Result<Value<'a>, Halt>>;

    /// A method's result; `None` where there is no such method.
    fn call(&self, _name: &str, _arguments: &[Value<'a>], _budget: &mut Budget) -> Option<Result<Value<'a>, Halt>> {
        None
    }

    /// The name of its type.
    fn type_name(&self) -> String {
        "map".to_owned()
    }
}

impl<'a> Value<'a> {
    /// A document, or a part of one, as its schema says.
    pub fn of(json: &'a Json, schema: Option<&'a Structural>) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) if schema.is_some_and(|schema| schema.kind == "number") => {
                Self::Double(number.as_f64().unwrap_or(0.0))
            }
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(whole), _, _) => Self::Int(whole),
                (None, Some(whole), _) => Self::Uint(whole),
                (None, None, float) => Self::Double(float.unwrap_or(0.0)),
            },
            Json::String(text) => formatted(text, schema).unwrap_or(Self::Text(Cow::Borrowed(text))),
            Json::Array(_) | Json::Object(_) => Self::Json(json, schema),
        }
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    /// A list.
    pub fn list(items: Vec<Self>) -> Self {
        Self::List(Arc::new(items))
    }

    /// The name of its type.
    pub fn type_name(&self) -> String {
        let name = match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) | Self::Json(Json::Array(_), _) => "list",
            Self::Map(_) | Self::Json(..) => "map",
            Self::Timestamp(_) => "google.protobuf.Timestamp",
            Self::Duration(_) => "google.protobuf.Duration",
            Self::Type(_) => "type",
            Self::Optional(_) => "optional_type",
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Ip(_) => "net.IP",
            Self::Cidr(..) => "net.CIDR",
            Self::Url(_) => "kubernetes.URL",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Object(object) => return object.0.clone(),
            Self::Fields(fields) => return fields.type_name(),
        };
        name.to_owned()
    }

    /// The items of a list.
    pub(crate) fn items(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Self::List(items) => Some(items.as_ref().clone()),
            Self::Json(Json::Array(items), schema) => {
                let schema = schema.and_then(|schema| schema.items.as_deref());
                Some(items.iter().map(|item| Self::of(item, schema)).collect())
            }
            _ => None,
        }
    }

    /// How many items, entries, letters or bytes there are.
    pub(crate) fn size(&self) -> Option<usize> {
        match self {
            Self::List(items) => Some(items.len()),
            Self::Map(entries) => Some(entries.len()),
            Self::Json(Json::Array(items), _) => Some(items.len()),
            Self::Json(Json::Object(fields), _) => Some(fields.len()),
            Self::Text(text) => Some(text.chars().count()),
            Self::Bytes(bytes) => Some(bytes.len()),
            _ => None,
        }
    }

    /// The entries of a map.
    pub(crate) fn entries(&self) -> Option<Vec<(Value<'a>, Value<'a>)>> {
        match self {
            Self::Map(entries) => Some(entries.as_ref().clone()),
            Self::Json(Json::Object(fields), schema) => Some(
                fields
                    .iter()
                    .filter_map(|(name, value)| {
                        let value = present(value, schema.and_then(|schema| schema.field(name)))?;
                        Some((Self::Text(Cow::Borrowed(name)), value))
                    })
                    .collect(),
            ),
            _ => None,
        }
    }

    /// The value of a key; `None` where there is none.
    pub(crate) fn get(&self, key: &Value<'a>) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Map(entries), key) => {
                entries.iter().find(|(own, _)| own.equals(key)).map(|(_, value)| value.clone())
            }
            (Self::Json(Json::Object(fields), schema), Self::Text(name)) => {
                let value = fields.get(name.as_ref())?;
                present(value, schema.and_then(|schema| schema.field(name)))
            }
            (Self::Object(object), Self::Text(name)) => {
                object.1.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
            }
            _ => None,
        }
    }

    /// Whether two values are the same.
    pub(crate) fn equals(&self, other: &Value<'a>) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::Type(a), Self::Type(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a, m), Self::Cidr(b, n)) => a == b && m == n,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Format(a), Self::Format(b)) => a == b,
            (Self::Optional(None), Self::Optional(None)) => true,
            (Self::Optional(Some(a)), Self::Optional(Some(b))) => a.equals(b),
            // The same document costs nothing to compare.
            (Self::Json(a, _), Self::Json(b, _)) if std::ptr::eq(*a, *b) => true,
            (Self::Object(a), Self::Object(b)) => {
                let same = |(name, value): &(String, Value<'a>)| {
                    b.1.iter().any(|(other, with)| name == other && value.equals(with))
                };
                a.0 == b.0 && a.1.len() == b.1.len() && a.1.iter().all(same)
            }
            (a, b) => match (a.items(), b.items(), a.entries(), b.entries()) {
                (Some(a), Some(b), _, _) => same_items(self, &a, other, &b),
                (_, _, Some(a), Some(_)) => {
                    let same =
                        |(key, value): &(Value<'a>, Value<'a>)| other.get(key).is_some_and(|own| own.equals(value));
                    self.size() == other.size() && a.iter().all(same)
                }
                _ => self.compare(other) == Some(Ordering::Equal),
            },
        }
    }

    /// The order of two values, where they have one.
    pub(crate) fn compare(&self, other: &Value<'a>) -> Option<Ordering> {
        #[expect(clippy::cast_precision_loss, reason = "numbers of two kinds are compared as doubles")]
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(b)),
            (Self::Uint(a), Self::Uint(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Uint(a), Self::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Self::Double(a), Self::Double(b)) => a.partial_cmp(b),
            (Self::Double(a), Self::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Self::Int(a), Self::Double(b)) => (*a as f64).partial_cmp(b),
            (Self::Double(a), Self::Uint(b)) => a.partial_cmp(&(*b as f64)),
            (Self::Uint(a), Self::Double(b)) => (*a as f64).partial_cmp(b),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Timestamp(a), Self::Timestamp(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) => Some(a.cmp(b)),
            (Self::Quantity(a), Self::Quantity(b)) => Some(a.cmp(b)),
            (Self::Semver(a), Self::Semver(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// What it costs to go through it, in parts.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.iter().map(Value::weight).sum::<usize>() + items.len(),
            Self::Map(entries) => entries.iter().map(|(key, value)| key.weight() + value.weight() + 1).sum(),
            Self::Json(json, _) => weight(json),
            Self::Object(object) => object.1.iter().map(|(name, value)| name.len() + value.weight()).sum(),
            Self::Optional(Some(value)) => value.weight(),
            _ => 1,
        }
    }

    /// The document for it; `None` where JSON has none.
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(number) => Json::from(*number),
            Self::Uint(number) => Json::from(*number),
            Self::Double(number) => Json::from(*number),
            Self::Text(text) => Json::String(text.to_string()),
            Self::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
            Self::List(items) => Json::Array(items.iter().map(Value::to_json).collect::<Option<_>>()?),
            Self::Map(entries) => {
                let entry = |(key, value): &(Value<'a>, Value<'a>)| match key {
                    Value::Text(key) => Some((key.to_string(), value.to_json()?)),
                    _ => None,
                };
                Json::Object(entries.iter().map(entry).collect::<Option<_>>()?)
            }
            Self::Object(object) => {
                let field = |(name, value): &(String, Value<'a>)| Some((name.clone(), value.to_json()?));
                Json::Object(object.1.iter().map(field).collect::<Option<_>>()?)
            }
            Self::Json(json, _) => (*json).clone(),
            Self::Timestamp(time) => Json::String(time.to_string()),
            Self::Duration(nanos) => Json::String(crate::duration::format(*nanos)),
            Self::Quantity(quantity) => Json::String(quantity.to_string()),
            Self::Optional(Some(value)) => value.to_json()?,
            Self::Ip(address) => Json::String(address.to_string()),
            Self::Type(_)
            | Self::Optional(None)
            | Self::Cidr(..)
            | Self::Url(_)
            | Self::Format(_)
            | Self::Semver(_)
            | Self::Fields(_) => return None,
        })
    }
}

/// Lists of type `set` and `map` are the same in any order.
fn same_items<'a>(left: &Value<'a>, a: &[Value<'a>], right: &Value<'a>, b: &[Value<'a>]) -> bool {
    let unordered = |value: &Value<'a>| matches!(value, Value::Json(_, Some(schema)) if matches!(schema.list_type.as_str(), "set" | "map"));
    if a.len() != b.len() {
        return false;
    }
    if unordered(left) || unordered(right) {
        return a.iter().all(|item| b.iter().any(|other| item.equals(other)));
    }
    a.iter().zip(b).all(|(a, b)| a.equals(b))
}

/// A field's value, if it counts as set: null is only a value where the schema says so.
fn present<'a>(value: &'a Json, schema: Option<&'a Structural>) -> Option<Value<'a>> {
    if value.is_null() && !schema.is_some_and(|schema| schema.nullable) {
        return None;
    }
    Some(Value::of(value, schema))
}

fn formatted<'a>(text: &'a str, schema: Option<&'a Structural>) -> Option<Value<'a>> {
    match schema?.checks.format.as_str() {
        "date-time" | "datetime" => text.parse().ok().map(Value::Timestamp),
        "date" => format!("{text}T00:00:00Z").parse().ok().map(Value::Timestamp),
        "duration" => crate::duration::parse(text).map(Value::Duration),
        "byte" => STANDARD.decode(text).ok().map(|bytes| Value::Bytes(bytes.into())),
        _ => None,
    }
}

fn weight(json: &Json) -> usize {
    match json {
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(weight).sum::<usize>() + items.len(),
        Json::Object(fields) => fields.iter().map(|(name, value)| name.len() + weight(value)).sum(),
        Json::Null | Json::Bool(_) | Json::Number(_) => 1,
    }
}
