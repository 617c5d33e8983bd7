//! The paths of printer columns, scale and selectable fields: kubectl's dialect of JSONPath, without its braces.

use serde_json::Value;

/// A path such as `.spec.ports[0].port` or `.status.conditions[?(@.type=="Ready")].status`.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>),
    All,
    Deep(String),
    Where(Vec<String>, Option<(Comparison, Value)>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl JsonPath {
    /// Reads a path; `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        let mut rest = text.trim();
        rest = rest.strip_prefix('$').unwrap_or(rest);
        while !rest.is_empty() {
            let (step, tail) = step(rest)?;
            steps.extend(step);
            rest = tail;
        }
        Some(Self(steps))
    }

    /// The path of plain fields that this is, if it is.
    pub fn fields(&self) -> Option<Vec<&str>> {
        self.0.iter().map(plain).collect()
    }

    /// Everything that it leads to.
    pub fn find<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![value];
        for step in &self.0 {
            found = found.into_iter().flat_map(|value| take(step, value)).collect();
        }
        found
    }

    /// The first thing that it leads to.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        self.find(value).into_iter().next()
    }

    /// Sets what a path of plain fields leads to; whether it could.
    pub fn set(&self, value: &mut Value, new: Value) -> bool {
        let Some(fields) = self.fields() else { return false };
        let mut at = value;
        for field in fields {
            if at.is_null() {
                *at = Value::Object(serde_json::Map::new());
            }
            let Some(map) = at.as_object_mut() else { return false };
            at = map.entry(field).or_insert(Value::Null);
        }
        *at = new;
        true
    }
}

fn plain(step: &Step) -> Option<&str> {
    match step {
        Step::Field(name) => Some(name),
        Step::Index(_) | Step::Slice(..) | Step::All | Step::Deep(_) | Step::Where(..) => None,
    }
}

fn step(text: &str) -> Option<(Option<Step>, &str)> {
    if let Some(rest) = text.strip_prefix("..") {
        let (name, rest) = name(rest);
        return Some((Some(Step::Deep(name)), rest));
    }
    if let Some(rest) = text.strip_prefix('.') {
        if rest.is_empty() || rest.starts_with('[') {
            return Some((None, rest));
        }
        let (name, rest) = name(rest);
        let step = if name == "*" { Step::All } else { Step::Field(name) };
        return Some((Some(step), rest));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let end = closing(rest)?;
        return Some((Some(bracket(rest[..end].trim())?), &rest[end + 1..]));
    }
    let (name, rest) = name(text);
    (!name.is_empty()).then_some((Some(Step::Field(name)), rest))
}

/// A name up to the next separator; a backslash takes the next sign as it is.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut signs = text.char_indices();
    while let Some((at, sign)) = signs.next() {
        match sign {
            '\\' => name.extend(signs.next().map(|(_, sign)| sign)),
            '.' | '[' => return (name, &text[at..]),
            sign => name.push(sign),
        }
    }
    (name, "")
}

/// Where the bracket that is open ends, quotes and brackets within passed over.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, sign) in text.char_indices() {
        match (quote, sign) {
            (Some(open), sign) if sign == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(sign),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            (None, _) => {}
        }
    }
    None
}

fn bracket(text: &str) -> Option<Step> {
    if text == "*" {
        return Some(Step::All);
    }
    if let Some(filter) = text.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        return condition(filter.trim());
    }
    if let Some(name) = quoted(text) {
        return Some(Step::Field(name));
    }
    if let Some((from, to)) = text.split_once(':') {
        let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
        return Some(Step::Slice(number(from.trim())?, number(to.trim())?));
    }
    text.parse().ok().map(Step::Index)
}

fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|sign| matches!(sign, '\'' | '"'))?;
    text.strip_prefix(quote)?.strip_suffix(quote).map(str::to_owned)
}

fn condition(text: &str) -> Option<Step> {
    const SIGNS: [(&str, Comparison); 6] = [
        ("==", Comparison::Equal),
        ("!=", Comparison::NotEqual),
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::GreaterOrEqual),
        ("<", Comparison::Less),
        (">", Comparison::Greater),
    ];
    let path = |text: &str| {
        let path = JsonPath::parse(text.trim().strip_prefix('@')?)?;
        path.fields().map(|fields| fields.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    for (sign, comparison) in SIGNS {
        if let Some((left, right)) = text.split_once(sign) {
            let right = right.trim();
            let value = match quoted(right) {
                Some(text) => Value::String(text),
                None => serde_json::from_str(right).ok()?,
            };
            return Some(Step::Where(path(left)?, Some((comparison, value))));
        }
    }
    Some(Step::Where(path(text)?, None))
}

fn take<'a>(step: &Step, value: &'a Value) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Field(name), value) => value.get(name.as_str()).into_iter().collect(),
        (Step::Index(index), Value::Array(items)) => at(items, *index).into_iter().collect(),
        (Step::Slice(from, to), Value::Array(items)) => {
            let place =
                |index: i64| usize::try_from(if index < 0 { index + length(items) } else { index }).unwrap_or(0);
            let (from, to) = (from.map_or(0, place), to.map_or(items.len(), place).min(items.len()));
            items.get(from..to).into_iter().flatten().collect()
        }
        (Step::All, Value::Array(items)) => items.iter().collect(),
        (Step::All, Value::Object(fields)) => fields.values().collect(),
        (Step::Deep(name), value) => {
            let mut found = Vec::new();
            deep(name, value, &mut found);
            found
        }
        (Step::Where(path, condition), Value::Array(items)) => {
            items.iter().filter(|item| holds(path, condition.as_ref(), item)).collect()
        }
        _ => Vec::new(),
    }
}

fn length(items: &[Value]) -> i64 {
    i64::try_from(items.len()).unwrap_or(i64::MAX)
}

fn at(items: &[Value], index: i64) -> Option<&Value> {
    let index = if index < 0 { index + length(items) } else { index };
    items.get(usize::try_from(index).ok()?)
}

fn deep<'a>(name: &str, value: &'a Value, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get(name));
            fields.values().for_each(|value| deep(name, value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| deep(name, value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn holds(path: &[String], condition: Option<&(Comparison, Value)>, item: &Value) -> bool {
    let Some(own) = path.iter().try_fold(item, |value, name| value.get(name)) else { return false };
    let Some((comparison, wanted)) = condition else { return true };
    let order = match (own, wanted) {
        (Value::Number(own), Value::Number(wanted)) => own.as_f64().partial_cmp(&wanted.as_f64()),
        (Value::String(own), Value::String(wanted)) => Some(own.cmp(wanted)),
        (Value::Bool(own), Value::Bool(wanted)) => Some(own.cmp(wanted)),
        _ => None,
    };
    let Some(order) = order else { return *comparison == Comparison::NotEqual };
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(path: &str, expected: Value) {
        let value = json!({"spec": {"a.b": 1, "list": [{"n": "x", "v": 1}, {"n": "y", "v": 2}], "map": {"k": true}}});
        let path = JsonPath::parse(path).expect(path);
        assert_eq!(json!(path.find(&value)), expected, "{path:?}");
    }

    #[test]
    fn paths_lead_where_kubectl_goes() {
        check(".spec.list[0].v", json!([1]));
        check(".spec.list[-1].n", json!(["y"]));
        check(".spec.list[*].v", json!([1, 2]));
        check(".spec.list[0:1].v", json!([1]));
        check(r#".spec.list[?(@.n=="y")].v"#, json!([2]));
        check(".spec.list[?(@.v>1)].n", json!(["y"]));
        check(r".spec.a\.b", json!([1]));
        check("['spec']['a.b']", json!([1]));
        check("..k", json!([true]));
        check(".spec.none.at", json!([]));
        assert!(JsonPath::parse(".spec[").is_none() && JsonPath::parse(".spec[?(x)]").is_none());
    }
}
