//! From one type to another, sizes, and optional values.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

use super::Result;
use crate::cel::budget::Budget;
use crate::cel::eval::{error, no_overload};
use crate::cel::value::Value;

pub(super) fn global<'a>(name: &str, arguments: &[Value<'a>], budget: &mut Budget) -> Option<Result<'a>> {
    if let ("optional.none", []) = (name, arguments) {
        return Some(Ok(Value::Optional(None)));
    }
    let [value] = arguments else { return None };
    Some(match name {
        "int" => int(value),
        "uint" => uint(value),
        "double" => double(value),
        "string" => budget.spend_on(value.weight()).and_then(|()| string(value)),
        "bytes" => match value {
            Value::Text(text) => Ok(Value::Bytes(text.as_bytes().into())),
            Value::Bytes(_) => Ok(value.clone()),
            _ => no_overload(),
        },
        "bool" => match value {
            Value::Bool(_) => Ok(value.clone()),
            Value::Text(text) => match text.as_ref() {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
                _ => error("type conversion error from 'string' to 'bool'"),
            },
            _ => no_overload(),
        },
        "dyn" => Ok(value.clone()),
        "type" => Ok(Value::Type(value.type_name())),
        "duration" => match value {
            Value::Duration(_) => Ok(value.clone()),
            Value::Text(text) => match crate::duration::parse(text) {
                Some(nanos) => Ok(Value::Duration(nanos)),
                None => error("type conversion error from 'string' to 'google.protobuf.Duration'"),
            },
            _ => no_overload(),
        },
        "timestamp" => match value {
            Value::Timestamp(_) => Ok(value.clone()),
            Value::Text(text) => match text.parse() {
                Ok(time) => Ok(Value::Timestamp(time)),
                Err(_) => error("type conversion error from 'string' to 'google.protobuf.Timestamp'"),
            },
            Value::Int(seconds) => match jiff::Timestamp::from_second(*seconds) {
                Ok(time) => Ok(Value::Timestamp(time)),
                Err(_) => error("timestamp overflow"),
            },
            _ => no_overload(),
        },
        "base64.encode" => match value {
            Value::Bytes(bytes) => budget.spend_on(bytes.len()).map(|()| Value::text(STANDARD.encode(bytes))),
            _ => no_overload(),
        },
        "base64.decode" => match value {
            Value::Text(text) => {
                match STANDARD.decode(text.as_bytes()).or_else(|_| STANDARD_NO_PAD.decode(text.as_bytes())) {
                    Ok(bytes) => budget.spend_on(bytes.len()).map(|()| Value::Bytes(bytes.into())),
                    Err(why) => error(why.to_string()),
                }
            }
            _ => no_overload(),
        },
        "optional.of" => Ok(Value::Optional(Some(Arc::new(value.clone())))),
        "optional.ofNonZeroValue" => {
            let zero = match value {
                Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) | Value::Duration(0) => true,
                Value::Double(number) => *number == 0.0,
                other => other.size() == Some(0),
            };
            Ok(Value::Optional((!zero).then(|| Arc::new(value.clone()))))
        }
        "jsonpatch.escapeKey" => match value {
            Value::Text(text) => Ok(Value::text(text.replace('~', "~0").replace('/', "~1"))),
            _ => no_overload(),
        },
        _ => return None,
    })
}

pub(super) fn member<'a>(name: &str, arguments: &[Value<'a>], budget: &mut Budget) -> Option<Result<'a>> {
    match (name, arguments) {
        ("size", [value]) => {
            let text = if matches!(value, Value::Text(_)) { value.weight() } else { 0 };
            let size = budget.spend_on(text).map(|()| value.size());
            match size {
                Ok(Some(size)) => Some(Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))),
                Ok(None) => None,
                Err(halt) => Some(Err(halt)),
            }
        }
        _ => None,
    }
}

fn int<'a>(value: &Value<'a>) -> Result<'a> {
    match value {
        Value::Int(_) => Ok(value.clone()),
        Value::Uint(number) => {
            i64::try_from(*number).map_or_else(|_| error("integer overflow"), |number| Ok(Value::Int(number)))
        }
        #[expect(clippy::cast_possible_truncation, reason = "checked to be within the range")]
        Value::Double(number) if number.abs() < 9.2e18 => Ok(Value::Int(*number as i64)),
        Value::Double(_) => error("integer overflow"),
        Value::Text(text) => match text.parse() {
            Ok(number) => Ok(Value::Int(number)),
            Err(_) => error(format!("strconv.ParseInt: parsing {text:?}: invalid syntax")),
        },
        Value::Timestamp(time) => Ok(Value::Int(time.as_second())),
        Value::Duration(nanos) => Ok(Value::Int(*nanos)),
        _ => no_overload(),
    }
}

fn uint<'a>(value: &Value<'a>) -> Result<'a> {
    match value {
        Value::Uint(_) => Ok(value.clone()),
        Value::Int(number) => {
            u64::try_from(*number).map_or_else(|_| error("unsigned integer overflow"), |number| Ok(Value::Uint(number)))
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within the range")]
        Value::Double(number) if (0.0..1.8e19).contains(number) => Ok(Value::Uint(*number as u64)),
        Value::Double(_) => error("unsigned integer overflow"),
        Value::Text(text) => match text.parse() {
            Ok(number) => Ok(Value::Uint(number)),
            Err(_) => error(format!("strconv.ParseUint: parsing {text:?}: invalid syntax")),
        },
        _ => no_overload(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "doubles hold what they can")]
fn double<'a>(value: &Value<'a>) -> Result<'a> {
    match value {
        Value::Double(_) => Ok(value.clone()),
        Value::Int(number) => Ok(Value::Double(*number as f64)),
        Value::Uint(number) => Ok(Value::Double(*number as f64)),
        Value::Text(text) => match text.parse() {
            Ok(number) => Ok(Value::Double(number)),
            Err(_) => error(format!("strconv.ParseFloat: parsing {text:?}: invalid syntax")),
        },
        _ => no_overload(),
    }
}

fn string<'a>(value: &Value<'a>) -> Result<'a> {
    Ok(Value::text(match value {
        Value::Text(_) => return Ok(value.clone()),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Timestamp(time) => time.to_string(),
        #[expect(clippy::cast_precision_loss, reason = "durations are shown in seconds")]
        Value::Duration(nanos) => format!("{}s", *nanos as f64 / 1e9),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return error("invalid UTF-8 in bytes, cannot convert to string"),
        },
        Value::Ip(address) => address.to_string(),
        Value::Cidr(address, bits) => format!("{address}/{bits}"),
        Value::Quantity(quantity) => quantity.to_string(),
        Value::Semver(version) => version.to_string(),
        _ => return no_overload(),
    }))
}
