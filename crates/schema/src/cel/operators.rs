//! Operators.

use jiff::SignedDuration;

use super::ast::Binary;
use super::budget::{Budget, Halt};
use super::eval::{error, no_overload};
use super::value::Value;

type Result<'a> = std::result::Result<Value<'a>, Halt>;

pub(crate) fn negate(value: Value<'_>) -> Result<'_> {
    match value {
        Value::Int(number) => checked(number.checked_neg().map(Value::Int)),
        Value::Double(number) => Ok(Value::Double(-number)),
        Value::Duration(nanos) => checked(nanos.checked_neg().map(Value::Duration)),
        _ => no_overload(),
    }
}

fn checked(value: Option<Value<'_>>) -> Result<'_> {
    value.map_or_else(|| error("integer overflow"), Ok)
}

pub(crate) fn binary<'a>(operator: Binary, left: Value<'a>, right: Value<'a>, budget: &mut Budget) -> Result<'a> {
    match operator {
        Binary::Equal | Binary::NotEqual => {
            budget.spend_on(left.weight().min(right.weight()))?;
            Ok(Value::Bool(left.equals(&right) == (operator == Binary::Equal)))
        }
        Binary::In => contains(&left, &right, budget),
        Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
            budget.spend_on(left.weight().min(right.weight()))?;
            let is_number = |value: &Value<'_>| matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_));
            let Some(order) = left.compare(&right) else {
                // Nothing stands in an order with what is no number.
                return if is_number(&left) && is_number(&right) { Ok(Value::Bool(false)) } else { no_overload() };
            };
            Ok(Value::Bool(match operator {
                Binary::Less => order.is_lt(),
                Binary::LessOrEqual => order.is_le(),
                Binary::Greater => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        Binary::Add => add(left, right, budget),
        Binary::Subtract => subtract(left, right),
        Binary::Multiply | Binary::Divide | Binary::Modulo => scale(operator, left, right),
        // `&&` and `||` are decided before both sides are known.
        Binary::And | Binary::Or => no_overload(),
    }
}

fn contains<'a>(item: &Value<'a>, all: &Value<'a>, budget: &mut Budget) -> Result<'a> {
    match (all.items(), all.entries()) {
        (Some(items), _) => {
            budget.spend(items.len())?;
            budget.spend_on(items.len().saturating_mul(item.weight()))?;
            Ok(Value::Bool(items.iter().any(|own| own.equals(item))))
        }
        (None, Some(_)) => {
            budget.spend_on(all.size().unwrap_or(0))?;
            Ok(Value::Bool(all.get(item).is_some()))
        }
        (None, None) => no_overload(),
    }
}

fn add<'a>(left: Value<'a>, right: Value<'a>, budget: &mut Budget) -> Result<'a> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => checked(a.checked_add(b).map(Value::Int)),
        (Value::Uint(a), Value::Uint(b)) => checked(a.checked_add(b).map(Value::Uint)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::Text(a), Value::Text(b)) => {
            budget.spend_on(a.len() + b.len())?;
            Ok(Value::text([a.as_ref(), b.as_ref()].concat()))
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            budget.spend_on(a.len() + b.len())?;
            Ok(Value::Bytes([a.as_ref(), b.as_ref()].concat().into()))
        }
        (Value::Duration(a), Value::Duration(b)) => checked(a.checked_add(b).map(Value::Duration)),
        (Value::Timestamp(time), Value::Duration(nanos)) | (Value::Duration(nanos), Value::Timestamp(time)) => {
            let sum = time.checked_add(SignedDuration::from_nanos(nanos)).ok();
            checked(sum.map(Value::Timestamp))
        }
        (left, right) => match (left.items(), right.items()) {
            (Some(mut items), Some(more)) => {
                budget.spend(items.len() + more.len())?;
                items.extend(more);
                Ok(Value::list(items))
            }
            _ => no_overload(),
        },
    }
}

fn subtract<'a>(left: Value<'a>, right: Value<'a>) -> Result<'a> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => checked(a.checked_sub(b).map(Value::Int)),
        (Value::Uint(a), Value::Uint(b)) => checked(a.checked_sub(b).map(Value::Uint)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (Value::Duration(a), Value::Duration(b)) => checked(a.checked_sub(b).map(Value::Duration)),
        (Value::Timestamp(time), Value::Duration(nanos)) => {
            checked(time.checked_sub(SignedDuration::from_nanos(nanos)).ok().map(Value::Timestamp))
        }
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            checked(i64::try_from(a.duration_since(b).as_nanos()).ok().map(Value::Duration))
        }
        _ => no_overload(),
    }
}

fn scale<'a>(operator: Binary, left: Value<'a>, right: Value<'a>) -> Result<'a> {
    match (operator, left, right) {
        (Binary::Divide, Value::Int(_), Value::Int(0)) | (Binary::Divide, Value::Uint(_), Value::Uint(0)) => {
            error("division by zero")
        }
        (Binary::Modulo, Value::Int(_), Value::Int(0)) | (Binary::Modulo, Value::Uint(_), Value::Uint(0)) => {
            error("modulus by zero")
        }
        (Binary::Multiply, Value::Int(a), Value::Int(b)) => checked(a.checked_mul(b).map(Value::Int)),
        (Binary::Divide, Value::Int(a), Value::Int(b)) => checked(a.checked_div(b).map(Value::Int)),
        (Binary::Modulo, Value::Int(a), Value::Int(b)) => checked(a.checked_rem(b).map(Value::Int)),
        (Binary::Multiply, Value::Uint(a), Value::Uint(b)) => checked(a.checked_mul(b).map(Value::Uint)),
        (Binary::Divide, Value::Uint(a), Value::Uint(b)) => checked(a.checked_div(b).map(Value::Uint)),
        (Binary::Modulo, Value::Uint(a), Value::Uint(b)) => checked(a.checked_rem(b).map(Value::Uint)),
        (Binary::Multiply, Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        (Binary::Divide, Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        _ => no_overload(),
    }
}
