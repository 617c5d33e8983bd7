//! Sets of fields, as `fieldsV1` writes them: a tree of steps, each of which is in the set or not.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// From a value to one of its parts, in upstream's order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A field of an object: `f:name`.
    Field(String),
    /// An item of a list, by the fields that identify it: `k:{…}`.
    Keys(BTreeMap<String, Scalar>),
    /// An item of a list, by its value: `v:…`.
    Value(Scalar),
}

/// A value that can identify an item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scalar {
    Null,
    Number(i64),
    Text(String),
    Bool(bool),
    /// Anything else, as JSON.
    Other(String),
}

impl Scalar {
    pub(super) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::String(text) => Self::Text(text.clone()),
            Value::Number(number) => number.as_i64().map_or_else(|| Self::Other(number.to_string()), Self::Number),
            Value::Array(_) | Value::Object(_) => Self::Other(value.to_string()),
        }
    }

    fn json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Number(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::Bool(value) => json!(value),
            Self::Other(text) => serde_json::from_str(text).unwrap_or_default(),
        }
    }
}

impl Step {
    pub(super) fn field(name: &str) -> Self {
        Self::Field(name.to_owned())
    }

    fn write(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Keys(keys) => {
                let keys: Map<String, Value> = keys.iter().map(|(name, value)| (name.clone(), value.json())).collect();
                format!("k:{}", Value::Object(keys))
            }
            Self::Value(value) => format!("v:{}", value.json()),
        }
    }

    fn read(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self::field(rest)),
            "k" => {
                let keys: Map<String, Value> = serde_json::from_str(rest).ok()?;
                Some(Self::Keys(keys.iter().map(|(name, value)| (name.clone(), Scalar::of(value))).collect()))
            }
            "v" => Some(Self::Value(Scalar::of(&serde_json::from_str(rest).ok()?))),
            _ => None,
        }
    }

    /// As people read it: `.name`, `[name="a"]`, `[="a"]`.
    fn show(&self) -> String {
        match self {
            Self::Field(name) => format!(".{name}"),
            Self::Keys(keys) => {
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={}", value.json())).collect();
                format!("[{}]", keys.join(","))
            }
            Self::Value(value) => format!("[={}]", value.json()),
        }
    }
}

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set {
    /// Whether the place itself is in it.
    pub(super) member: bool,
    children: BTreeMap<Step, Set>,
}

impl Set {
    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// What of the set is beneath a step.
    pub(super) fn beneath(&self, step: &Step) -> Option<&Self> {
        self.children.get(step)
    }

    pub(super) fn children(&self) -> impl Iterator<Item = (&Step, &Self)> {
        self.children.iter()
    }

    /// Puts a part in place; an empty one leaves no trace.
    pub(super) fn put(&mut self, step: Step, part: Self) {
        if part.is_empty() {
            self.children.remove(&step);
        } else {
            self.children.insert(step, part);
        }
    }

    pub(super) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.member |= other.member;
        for (step, part) in &other.children {
            let own = all.children.entry(step.clone()).or_default();
            *own = own.union(part);
        }
        all
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        let mut both = Self { member: self.member && other.member, ..Self::default() };
        for (step, part) in &self.children {
            if let Some(theirs) = other.children.get(step) {
                both.put(step.clone(), part.intersection(theirs));
            }
        }
        both
    }

    pub(super) fn difference(&self, other: &Self) -> Self {
        let mut rest = Self { member: self.member && !other.member, ..Self::default() };
        for (step, part) in &self.children {
            let part = other.children.get(step).map_or_else(|| part.clone(), |theirs| part.difference(theirs));
            rest.put(step.clone(), part);
        }
        rest
    }

    /// Takes a place and all beneath it out.
    pub(super) fn drop_all(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let step = Step::field(first);
        if rest.is_empty() {
            self.children.remove(&step);
        } else if let Some(mut part) = self.children.remove(&step) {
            part.drop_all(rest);
            self.put(step, part);
        }
    }

    /// Takes one place out, and leaves what is beneath it.
    pub(super) fn drop_one(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else {
            self.member = false;
            return;
        };
        let step = Step::field(first);
        if let Some(mut part) = self.children.remove(&step) {
            part.drop_one(rest);
            self.put(step, part);
        }
    }

    /// Every place of the set, as people read it.
    pub(super) fn show(&self) -> Vec<String> {
        fn walk(set: &Set, path: &str, all: &mut Vec<String>) {
            if set.member {
                all.push(path.to_owned());
            }
            for (step, part) in &set.children {
                walk(part, &format!("{path}{}", step.show()), all);
            }
        }
        let mut all = Vec::new();
        walk(self, "", &mut all);
        all
    }

    /// The set as `fieldsV1`.
    pub(super) fn write(&self) -> Value {
        let mut fields = Map::new();
        for (step, part) in &self.children {
            let mut value = part.write();
            if let Value::Object(fields) = &mut value
                && part.member
                && !part.children.is_empty()
            {
                fields.insert(".".to_owned(), json!({}));
            }
            fields.insert(step.write(), value);
        }
        Value::Object(fields)
    }

    /// A set from `fieldsV1`.
    pub(super) fn read(fields: &Value) -> Self {
        let mut set = Self::default();
        for (name, value) in fields.as_object().into_iter().flatten() {
            let Some(step) = Step::read(name) else { continue };
            let mut part = Self::read(value);
            part.member = part.children.is_empty() || value.get(".").is_some();
            set.put(step, part);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_and_written() {
        let check = |fields: Value| assert_eq!(Set::read(&fields).write(), fields);
        check(json!({}));
        check(json!({"f:data": {".": {}, "f:a": {}}, "f:metadata": {"f:labels": {"f:a": {}}}}));
        check(
            json!({"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}, "f:list": {"v:\"a\"": {}, "v:1": {}}}),
        );
    }

    #[test]
    fn sets_are_combined() {
        let set = |fields: Value| Set::read(&fields);
        let (one, two) =
            (set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}})), set(json!({"f:a": {"f:b": {}}, "f:d": {}})));
        assert_eq!(one.union(&two), set(json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}, "f:d": {}})));
        assert_eq!(one.intersection(&two), set(json!({"f:a": {"f:b": {}}})));
        assert_eq!(one.difference(&two), set(json!({"f:a": {}, "f:c": {}})));
        assert_eq!(one.show(), [".a", ".a.b", ".c"]);
    }
}
