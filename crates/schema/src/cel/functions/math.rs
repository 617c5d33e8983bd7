//! Numbers.

use super::Result;
use crate::cel::budget::Budget;
use crate::cel::eval::{error, no_overload};
use crate::cel::value::Value;

pub(super) fn global<'a>(name: &str, arguments: &[Value<'a>], budget: &mut Budget) -> Option<Result<'a>> {
    let name = name.strip_prefix("math.")?;
    if matches!(name, "greatest" | "least") {
        let items = match arguments {
            [list] => list.items().unwrap_or_else(|| vec![list.clone()]),
            many => many.to_vec(),
        };
        if let Err(halt) = budget.spend(items.len()) {
            return Some(Err(halt));
        }
        let better = |a: &Value<'a>, b: &Value<'a>| match a.compare(b) {
            Some(order) => {
                if name == "greatest" {
                    order.is_gt()
                } else {
                    order.is_lt()
                }
            }
            None => false,
        };
        let best = items.into_iter().reduce(|best, item| if better(&item, &best) { item } else { best });
        return Some(best.map_or_else(no_overload, Ok));
    }
    Some(match (name, arguments) {
        ("abs", [Value::Int(number)]) => {
            number.checked_abs().map_or_else(|| error("integer overflow"), |number| Ok(Value::Int(number)))
        }
        ("abs", [Value::Double(number)]) => Ok(Value::Double(number.abs())),
        ("abs" | "ceil" | "floor" | "round" | "trunc", [value @ Value::Uint(_)]) => Ok(value.clone()),
        ("ceil", [Value::Double(number)]) => Ok(Value::Double(number.ceil())),
        ("floor", [Value::Double(number)]) => Ok(Value::Double(number.floor())),
        ("round", [Value::Double(number)]) => Ok(Value::Double(number.round())),
        ("trunc", [Value::Double(number)]) => Ok(Value::Double(number.trunc())),
        ("sqrt", [Value::Double(number)]) => Ok(Value::Double(number.sqrt())),
        #[expect(clippy::cast_precision_loss, reason = "doubles hold what they can")]
        ("sqrt", [Value::Int(number)]) => Ok(Value::Double((*number as f64).sqrt())),
        ("sign", [Value::Int(number)]) => Ok(Value::Int(number.signum())),
        ("sign", [Value::Double(number)]) => Ok(Value::Double(if *number == 0.0 { 0.0 } else { number.signum() })),
        ("isNaN", [Value::Double(number)]) => Ok(Value::Bool(number.is_nan())),
        ("isInf", [Value::Double(number)]) => Ok(Value::Bool(number.is_infinite())),
        ("isFinite", [Value::Double(number)]) => Ok(Value::Bool(number.is_finite())),
        ("bitAnd", [Value::Int(a), Value::Int(b)]) => Ok(Value::Int(a & b)),
        ("bitOr", [Value::Int(a), Value::Int(b)]) => Ok(Value::Int(a | b)),
        ("bitXor", [Value::Int(a), Value::Int(b)]) => Ok(Value::Int(a ^ b)),
        ("bitNot", [Value::Int(a)]) => Ok(Value::Int(!a)),
        ("bitShiftLeft", [Value::Int(a), Value::Int(by)]) => shift(*by, |by| a.checked_shl(by).unwrap_or(0)),
        ("bitShiftRight", [Value::Int(a), Value::Int(by)]) => shift(*by, |by| {
            i64::from_ne_bytes(u64::from_ne_bytes(a.to_ne_bytes()).checked_shr(by).unwrap_or(0).to_ne_bytes())
        }),
        _ => return None,
    })
}

fn shift<'a>(by: i64, act: impl FnOnce(u32) -> i64) -> Result<'a> {
    match u32::try_from(by) {
        Ok(by) => Ok(Value::Int(act(by))),
        Err(_) if by < 0 => error("math.bitShift() negative offset"),
        Err(_) => Ok(Value::Int(0)),
    }
}
