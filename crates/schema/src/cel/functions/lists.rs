//! Lists and sets.

use super::Result;
use crate::cel::ast::Binary;
use crate::cel::budget::Budget;
use crate::cel::eval::error;
use crate::cel::operators::binary;
use crate::cel::value::Value;

pub(super) fn global<'a>(name: &str, arguments: &[Value<'a>], budget: &mut Budget) -> Option<Result<'a>> {
    if let ("lists.range", [Value::Int(end)]) = (name, arguments) {
        let count = usize::try_from(*end).unwrap_or(0);
        return Some(budget.spend(count).map(|()| Value::list((0..*end).map(Value::Int).collect())));
    }
    let [a, b] = arguments else { return None };
    if !name.starts_with("sets.") {
        return None;
    }
    let (left, right) = (a.items()?, b.items()?);
    if let Err(halt) = budget.spend(left.len().saturating_mul(right.len()).saturating_add(a.weight() + b.weight())) {
        return Some(Err(halt));
    }
    let within = |all: &[Value<'a>], part: &[Value<'a>]| part.iter().all(|item| all.iter().any(|own| own.equals(item)));
    Some(Ok(Value::Bool(match name {
        "sets.contains" => within(&left, &right),
        "sets.equivalent" => within(&left, &right) && within(&right, &left),
        "sets.intersects" => left.iter().any(|item| right.iter().any(|own| own.equals(item))),
        _ => return None,
    })))
}

pub(super) fn member<'a>(name: &str, arguments: &[Value<'a>], budget: &mut Budget) -> Option<Result<'a>> {
    let [list, rest @ ..] = arguments else { return None };
    let items = list.items()?;
    if let Err(halt) = budget.spend(items.len()).and_then(|()| budget.spend_on(list.weight())) {
        return Some(Err(halt));
    }
    let ascends = |pair: &[Value<'a>]| pair[0].compare(&pair[1]).is_some_and(std::cmp::Ordering::is_le);
    Some(match (name, rest) {
        ("isSorted", []) => Ok(Value::Bool(items.windows(2).all(ascends))),
        ("sum", []) => sum(items, budget),
        ("min", []) => best(&items, "min", std::cmp::Ordering::is_lt),
        ("max", []) => best(&items, "max", std::cmp::Ordering::is_gt),
        ("indexOf", [item]) => Ok(Value::Int(index(items.iter().position(|own| own.equals(item))))),
        ("lastIndexOf", [item]) => Ok(Value::Int(index(items.iter().rposition(|own| own.equals(item))))),
        ("includes", [item]) => Ok(Value::Bool(items.iter().any(|own| own.equals(item)))),
        ("slice", [Value::Int(from), Value::Int(to)]) => {
            let range = usize::try_from(*from).ok().zip(usize::try_from(*to).ok());
            let part = range.and_then(|(from, to)| items.get(from..to));
            part.map_or_else(|| error("cannot slice: index out of range"), |part| Ok(Value::list(part.to_vec())))
        }
        ("flatten", rest) => {
            let depth = match rest {
                [] => 1,
                [Value::Int(depth)] => *depth,
                _ => return None,
            };
            let mut flat = Vec::new();
            flatten(items, depth.clamp(0, 100), &mut flat);
            budget.spend(flat.len()).map(|()| Value::list(flat))
        }
        ("distinct", []) => distinct(items, budget),
        ("sort", []) => {
            let mut items = items;
            items.sort_by(|a, b| a.compare(b).unwrap_or(std::cmp::Ordering::Equal));
            budget.spend(items.len() * 4).map(|()| Value::list(items))
        }
        ("reverse", []) => Ok(Value::list(items.into_iter().rev().collect())),
        ("first", []) => Ok(Value::Optional(items.into_iter().next().map(std::sync::Arc::new))),
        ("last", []) => Ok(Value::Optional(items.into_iter().next_back().map(std::sync::Arc::new))),
        _ => return None,
    })
}

fn index(place: Option<usize>) -> i64 {
    place.and_then(|place| i64::try_from(place).ok()).unwrap_or(-1)
}

fn sum<'a>(items: Vec<Value<'a>>, budget: &mut Budget) -> Result<'a> {
    let mut items = items.into_iter();
    let Some(first) = items.next() else { return Ok(Value::Int(0)) };
    items.try_fold(first, |sum, item| binary(Binary::Add, sum, item, budget))
}

fn best<'a>(items: &[Value<'a>], name: &str, better: fn(std::cmp::Ordering) -> bool) -> Result<'a> {
    let best = items.iter().reduce(|best, item| if item.compare(best).is_some_and(better) { item } else { best });
    best.map_or_else(|| error(format!("{name} called on empty list")), |best| Ok(best.clone()))
}

fn flatten<'a>(items: Vec<Value<'a>>, depth: i64, flat: &mut Vec<Value<'a>>) {
    for item in items {
        match item.items().filter(|_| depth > 0) {
            Some(inner) => flatten(inner, depth - 1, flat),
            None => flat.push(item),
        }
    }
}

fn distinct<'a>(items: Vec<Value<'a>>, budget: &mut Budget) -> Result<'a> {
    let mut kept: Vec<Value<'a>> = Vec::new();
    for item in items {
        budget.spend(kept.len())?;
        if !kept.iter().any(|own| own.equals(&item)) {
            kept.push(item);
        }
    }
    Ok(Value::list(kept))
}
