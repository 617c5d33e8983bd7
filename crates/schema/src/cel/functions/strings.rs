//! Texts.

use regex::RegexBuilder;

use super::Result;
use crate::cel::budget::{Budget, Halt};
use crate::cel::eval::error;
use crate::cel::value::Value;

/// A compiled expression may take so many bytes.
const PATTERN: usize = 1 << 20;

pub(super) fn member<'a>(name: &str, arguments: &[Value<'a>], budget: &mut Budget) -> Option<Result<'a>> {
    if let ("join", [list, rest @ ..]) = (name, arguments) {
        return join(list, rest, budget);
    }
    let [Value::Text(text), rest @ ..] = arguments else { return None };
    if let Err(halt) = budget.spend_on(text.len()) {
        return Some(Err(halt));
    }
    let bool = |value| Some(Ok(Value::Bool(value)));
    let made = |text: String| Some(Ok(Value::text(text)));
    match (name, rest) {
        ("contains", [Value::Text(part)]) => {
            // Both lengths matter to a search.
            let cost = budget.spend_on(text.len().saturating_mul(part.len() / 10 + 1));
            Some(cost.map(|()| Value::Bool(text.contains(part.as_ref()))))
        }
        ("startsWith", [Value::Text(part)]) => bool(text.starts_with(part.as_ref())),
        ("endsWith", [Value::Text(part)]) => bool(text.ends_with(part.as_ref())),
        ("matches", [Value::Text(pattern)]) => {
            Some(pattern_of(pattern, text, budget).map(|regex| Value::Bool(regex.is_match(text))))
        }
        ("find", [Value::Text(pattern)]) => {
            let found = |regex: regex::Regex| Value::text(regex.find(text).map_or("", |found| found.as_str()));
            Some(pattern_of(pattern, text, budget).map(found))
        }
        ("findAll", [Value::Text(pattern), limit @ ..]) => {
            let limit = match limit {
                [] => usize::MAX,
                [Value::Int(limit)] => usize::try_from(*limit).unwrap_or(usize::MAX),
                _ => return None,
            };
            let all = |regex: regex::Regex| {
                Value::list(regex.find_iter(text).take(limit).map(|found| Value::text(found.as_str())).collect())
            };
            Some(pattern_of(pattern, text, budget).map(all))
        }
        ("lowerAscii", []) => made(text.to_ascii_lowercase()),
        ("upperAscii", []) => made(text.to_ascii_uppercase()),
        ("trim", []) => made(text.trim().to_owned()),
        ("reverse", []) => made(text.chars().rev().collect()),
        ("quote", []) => made(format!("{:?}", text.as_ref())),
        ("charAt", [Value::Int(index)]) => Some(char_at(text, *index)),
        ("substring", [Value::Int(from)]) => Some(substring(text, *from, None)),
        ("substring", [Value::Int(from), Value::Int(to)]) => Some(substring(text, *from, Some(*to))),
        ("indexOf", [Value::Text(part), from @ ..]) => Some(index_of(text, part, from)),
        ("lastIndexOf", [Value::Text(part)]) => {
            Some(Ok(Value::Int(text.rfind(part.as_ref()).map_or(-1, |at| place(text, at)))))
        }
        ("replace", [Value::Text(from), Value::Text(to), limit @ ..]) => replace(text, from, to, limit, budget),
        ("split", [Value::Text(separator), limit @ ..]) => split(text, separator, limit, budget),
        ("format", [list]) => Some(format(text, &list.items()?, budget)),
        _ => None,
    }
}

#[expect(clippy::cast_possible_wrap, reason = "texts are shorter than memory")]
fn place(text: &str, at: usize) -> i64 {
    text[..at].chars().count() as i64
}

fn pattern_of(pattern: &str, text: &str, budget: &mut Budget) -> std::result::Result<regex::Regex, Halt> {
    budget.spend_on(pattern.len().saturating_mul(text.len() / 4 + 10))?;
    RegexBuilder::new(pattern)
        .size_limit(PATTERN)
        .build()
        .map_err(|why| Halt::Error(format!("error parsing regexp: {why}")))
}

fn char_at<'a>(text: &str, index: i64) -> Result<'a> {
    let length = text.chars().count();
    match usize::try_from(index) {
        Ok(index) if index == length => Ok(Value::text("")),
        Ok(index) if index < length => Ok(Value::text(text.chars().nth(index).map(String::from).unwrap_or_default())),
        _ => error(format!("index out of range: {index}")),
    }
}

fn substring<'a>(text: &str, from: i64, to: Option<i64>) -> Result<'a> {
    let signs: Vec<char> = text.chars().collect();
    let range = || {
        let from = usize::try_from(from).ok()?;
        let to = to.map_or(Some(signs.len()), |to| usize::try_from(to).ok())?;
        signs.get(from..to)
    };
    range().map_or_else(
        || error(format!("index out of range: {from}")),
        |part| Ok(Value::text(part.iter().collect::<String>())),
    )
}

fn index_of<'a>(text: &str, part: &str, from: &[Value<'_>]) -> Result<'a> {
    let start = match from {
        [] => 0,
        [Value::Int(from)] => match usize::try_from(*from).ok().and_then(|from| text.char_indices().nth(from)) {
            Some((at, _)) => at,
            None => return error("index out of range"),
        },
        _ => return crate::cel::eval::no_overload(),
    };
    Ok(Value::Int(text[start..].find(part).map_or(-1, |at| place(text, start + at))))
}

fn replace<'a>(text: &str, from: &str, to: &str, limit: &[Value<'a>], budget: &mut Budget) -> Option<Result<'a>> {
    let limit = match limit {
        [] => usize::MAX,
        [Value::Int(limit)] => usize::try_from(*limit).unwrap_or(usize::MAX),
        _ => return None,
    };
    let count = text.matches(from).count().min(limit);
    let cost = budget.spend_on(text.len().saturating_add(count.saturating_mul(to.len())));
    Some(cost.map(|()| Value::text(text.replacen(from, to, count))))
}

fn split<'a>(text: &str, separator: &str, limit: &[Value<'a>], budget: &mut Budget) -> Option<Result<'a>> {
    let limit = match limit {
        [] => usize::MAX,
        [Value::Int(limit)] => usize::try_from(*limit).unwrap_or(usize::MAX),
        _ => return None,
    };
    if let Err(halt) = budget.spend(text.len()) {
        return Some(Err(halt));
    }
    let parts: Vec<Value<'a>> = if limit == 0 {
        Vec::new()
    } else if separator.is_empty() {
        text.chars().map(|sign| Value::text(sign.to_string())).collect()
    } else {
        text.splitn(limit, separator).map(Value::text).collect()
    };
    Some(Ok(Value::list(parts)))
}

fn join<'a>(list: &Value<'a>, separator: &[Value<'a>], budget: &mut Budget) -> Option<Result<'a>> {
    let separator = match separator {
        [] => "",
        [Value::Text(separator)] => separator,
        _ => return None,
    };
    let items = list.items()?;
    if let Err(halt) = budget.spend_on(list.weight().saturating_add(items.len().saturating_mul(separator.len()))) {
        return Some(Err(halt));
    }
    let texts: Option<Vec<&str>> =
        items.iter().map(|item| if let Value::Text(text) = item { Some(text.as_ref()) } else { None }).collect();
    Some(Ok(Value::text(texts?.join(separator))))
}

/// `"%s has %d".format([…])`.
fn format<'a>(template: &str, arguments: &[Value<'a>], budget: &mut Budget) -> Result<'a> {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut signs = template.chars().peekable();
    while let Some(sign) = signs.next() {
        if sign != '%' {
            out.push(sign);
            continue;
        }
        if signs.peek() == Some(&'%') {
            signs.next();
            out.push('%');
            continue;
        }
        let mut precision = String::new();
        if signs.peek() == Some(&'.') {
            signs.next();
            while let Some(digit) = signs.peek().filter(|sign| sign.is_ascii_digit()) {
                precision.push(*digit);
                signs.next();
            }
        }
        let Some(argument) = arguments.next() else { return error("index 0 out of range") };
        budget.spend_on(argument.weight())?;
        let precision = precision.parse::<usize>().unwrap_or(6).min(64);
        let text = match (signs.next(), argument) {
            (Some('s'), value) => show(value),
            (Some('d'), Value::Int(number)) => number.to_string(),
            (Some('d'), Value::Uint(number)) => number.to_string(),
            (Some('f'), value) => format!("{:.precision$}", number(value)?),
            (Some('e'), value) => format!("{:.precision$e}", number(value)?),
            (Some('b'), Value::Int(number)) => format!("{number:b}"),
            (Some('b'), Value::Bool(value)) => u8::from(*value).to_string(),
            (Some('o'), Value::Int(number)) => format!("{number:o}"),
            (Some('x'), Value::Int(number)) => format!("{number:x}"),
            (Some('X'), Value::Int(number)) => format!("{number:X}"),
            (Some('x'), Value::Text(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
            (clause, _) => {
                return error(format!("could not parse formatting clause: unrecognized formatting clause {clause:?}"));
            }
        };
        out.push_str(&text);
    }
    Ok(Value::text(out))
}

#[expect(clippy::cast_precision_loss, reason = "doubles hold what they can")]
fn number(value: &Value<'_>) -> std::result::Result<f64, Halt> {
    match value {
        Value::Double(number) => Ok(*number),
        Value::Int(number) => Ok(*number as f64),
        Value::Uint(number) => Ok(*number as f64),
        _ => error("fixed-point clause can only be used on doubles"),
    }
}

/// A value as `%s` shows it.
fn show(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => text.to_string(),
        Value::Null => "null".to_owned(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Duration(nanos) => crate::duration::format(*nanos),
        Value::Type(name) => name.clone(),
        other => match (other.items(), other.entries()) {
            (Some(items), _) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
            (None, Some(mut entries)) => {
                entries.sort_by(|(a, _), (b, _)| a.compare(b).unwrap_or(std::cmp::Ordering::Equal));
                let entries: Vec<String> =
                    entries.iter().map(|(key, value)| format!("{}: {}", show(key), show(value))).collect();
                format!("{{{}}}", entries.join(", "))
            }
            (None, None) => other
                .to_json()
                .map(|json| json.as_str().map_or_else(|| json.to_string(), str::to_owned))
                .unwrap_or_default(),
        },
    }
}
