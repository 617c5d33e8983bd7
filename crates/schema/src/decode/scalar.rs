//! Scalars: which JSON values each takes, and their one form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meta::Quantity;
use serde_json::{Number, Value};

use crate::types::Scalar;

/// Why a value is no such scalar.
pub(super) enum Unfit {
    /// It has the wrong JSON type; what Go calls the value.
    Kind(String),
    /// The text is wrong; Go's words for it.
    Text(String),
}

/// The canonical form of a scalar.
pub(super) fn scalar(scalar: Scalar, value: Value) -> Result<Value, Unfit> {
    match (scalar, value) {
        (Scalar::String | Scalar::Duration | Scalar::IntOrString, Value::String(text)) => Ok(Value::String(text)),
        (Scalar::Bool, Value::Bool(value)) => Ok(Value::Bool(value)),
        (Scalar::Int32 | Scalar::IntOrString, Value::Number(number)) => match number.as_i64() {
            Some(whole) if i32::try_from(whole).is_ok() => Ok(Value::from(whole)),
            _ => Err(Unfit::Kind(format!("number {number}"))),
        },
        (Scalar::Int64, Value::Number(number)) => match number.as_i64() {
            Some(whole) => Ok(Value::from(whole)),
            None => Err(Unfit::Kind(format!("number {number}"))),
        },
        (Scalar::Float, Value::Number(number)) => Ok(float(number)),
        (Scalar::Quantity, Value::Number(number)) => quantity(&number.to_string()),
        (Scalar::Quantity, Value::String(text)) => quantity(&text),
        (Scalar::Bytes, Value::String(text)) => bytes(text),
        (Scalar::Time, Value::String(text)) => time(&text, meta::format_time),
        (Scalar::MicroTime, Value::String(text)) => time(&text, meta::format_micro_time),
        (_, other) => Err(Unfit::Kind(go_kind(&other).to_owned())),
    }
}

/// What Go calls the JSON type of a value.
pub fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// What Go calls a scalar's type.
pub(super) fn go_type(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::String => "string",
        Scalar::Bool => "bool",
        Scalar::Int32 => "int32",
        Scalar::Int64 => "int64",
        Scalar::Float => "float64",
        Scalar::Bytes => "[]uint8",
        Scalar::Quantity => "resource.Quantity",
        Scalar::IntOrString => "intstr.IntOrString",
        Scalar::Time => "v1.Time",
        Scalar::MicroTime => "v1.MicroTime",
        Scalar::Duration => "v1.Duration",
    }
}

/// Go writes whole floats without a fraction.
fn float(number: Number) -> Value {
    match number.as_f64() {
        // Every whole number below 2^53 is exact in both.
        Some(value) if value.fract() == 0.0 && value.abs() < 9.0e15 => Value::from(value as i64),
        _ => Value::Number(number),
    }
}

fn quantity(text: &str) -> Result<Value, Unfit> {
    let quantity: Quantity = text.parse().map_err(|error: meta::QuantityError| Unfit::Text(error.to_string()))?;
    let canonical = quantity.to_string();
    Ok(Value::String(canonical))
}

fn bytes(text: String) -> Result<Value, Unfit> {
    // Compat: Go skips line ends inside base64.
    let text = if text.contains(['\r', '\n']) { text.replace(['\r', '\n'], "") } else { text };
    match STANDARD.decode(&text) {
        Ok(_) => Ok(Value::String(text)),
        Err(base64::DecodeError::InvalidByte(at, _)) => {
            Err(Unfit::Text(format!("illegal base64 data at input byte {at}")))
        }
        Err(_) => Err(Unfit::Text(format!("illegal base64 data at input byte {}", text.len() / 4 * 4))),
    }
}

fn time(text: &str, format: impl Fn(jiff::Timestamp) -> String) -> Result<Value, Unfit> {
    match meta::parse_time(text) {
        Some(time) => Ok(Value::String(format(time))),
        None => Err(Unfit::Text(format!(
            "parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""
        ))),
    }
}
