//! Quantities.

use meta::Quantity;

use super::Result;
use crate::cel::budget::Budget;
use crate::cel::eval::error;
use crate::cel::value::Value;

pub(super) fn global<'a>(name: &str, arguments: &[Value<'a>], _budget: &mut Budget) -> Option<Result<'a>> {
    let [Value::Text(text)] = arguments else { return None };
    let parsed = text.parse::<Quantity>();
    Some(match (name, parsed) {
        ("quantity", Ok(quantity)) => Ok(Value::Quantity(quantity)),
        ("quantity", Err(why)) => error(why.to_string()),
        ("isQuantity", parsed) => Ok(Value::Bool(parsed.is_ok())),
        _ => return None,
    })
}

pub(super) fn member<'a>(name: &str, arguments: &[Value<'a>], _budget: &mut Budget) -> Option<Result<'a>> {
    let [Value::Quantity(own), rest @ ..] = arguments else { return None };
    let whole = own.milli_value() % 1000 == 0;
    Some(Ok(match (name, rest) {
        ("sign", []) => Value::Int(if own.is_zero() {
            0
        } else if own.is_negative() {
            -1
        } else {
            1
        }),
        ("isInteger", []) => Value::Bool(whole),
        ("asInteger", []) if whole => Value::Int(own.value()),
        ("asInteger", []) => return Some(error("cannot convert value to integer")),
        #[expect(clippy::cast_precision_loss, reason = "doubles hold what they can")]
        ("asApproximateFloat", []) => Value::Double(own.milli_value() as f64 / 1000.0),
        ("isGreaterThan", [Value::Quantity(other)]) => Value::Bool(own > other),
        ("isLessThan", [Value::Quantity(other)]) => Value::Bool(own < other),
        ("compareTo", [Value::Quantity(other)]) => Value::Int(match own.cmp(other) {
            std::cmp::Ordering::Less => -1,
            std::cmp::Ordering::Equal => 0,
            std::cmp::Ordering::Greater => 1,
        }),
        ("add", [Value::Quantity(other)]) => Value::Quantity(*own + *other),
        ("sub", [Value::Quantity(other)]) => Value::Quantity(*own - *other),
        ("add", [Value::Int(other)]) => Value::Quantity(*own + Quantity::units(*other)),
        ("sub", [Value::Int(other)]) => Value::Quantity(*own - Quantity::units(*other)),
        _ => return None,
    }))
}
