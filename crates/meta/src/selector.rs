//! Label and field selectors.

mod parse;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use crate::object::Object;

/// Why a selector can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label is there with one of the values.
    In,
    /// The label is not there, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
    /// The label is a whole number above the value.
    GreaterThan,
    /// The label is a whole number below the value.
    LessThan,
}

/// One requirement on labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How to compare.
    pub operator: Operator,
    /// With what.
    pub values: Vec<String>,
}

impl Requirement {
    /// Whether labels meet it.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let compare = |test: fn(i64, i64) -> bool| {
            let number = |text: &String| text.parse::<i64>().ok();
            matches!((value.and_then(number), self.values.first().and_then(number)), (Some(a), Some(b)) if test(a, b))
        };
        match self.operator {
            Operator::In => value.is_some_and(|value| self.values.contains(value)),
            Operator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => compare(|a, b| a > b),
            Operator::LessThan => compare(|a, b| a < b),
        }
    }
}

/// Requirements on labels that must all hold. The empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// All of these must hold.
    pub requirements: Vec<Requirement>,
}

impl LabelSelector {
    /// Reads the form of query parameters: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::labels(text)
    }

    /// Exactly these labels with these values.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let equal = |(key, value): (&String, &String)| Requirement {
            key: key.clone(),
            operator: Operator::In,
            values: vec![value.clone()],
        };
        Self { requirements: labels.into_iter().map(equal).collect() }
    }

    /// Reads the form that specs carry: `{matchLabels: …, matchExpressions: […]}`.
    pub fn from_value(value: &Value) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for (key, label) in value.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let values = vec![label.as_str().unwrap_or_default().to_owned()];
            requirements.push(Requirement { key: key.clone(), operator: Operator::In, values });
        }
        for expression in value.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
            let operator = match text("operator") {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                "Gt" => Operator::GreaterThan,
                "Lt" => Operator::LessThan,
                other => return Err(SelectorError(format!("{other:?} is not a valid label selector operator"))),
            };
            let values = expression.get("values").and_then(Value::as_array).into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
            requirements.push(Requirement { key: text("key").to_owned(), operator, values });
        }
        Ok(Self { requirements })
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether labels meet every requirement.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Requirement { key, operator, values }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match (operator, values.as_slice()) {
                (Operator::In, [value]) => write!(f, "{key}={value}")?,
                (Operator::In, values) => write!(f, "{key} in ({})", values.join(","))?,
                (Operator::NotIn, [value]) => write!(f, "{key}!={value}")?,
                (Operator::NotIn, values) => write!(f, "{key} notin ({})", values.join(","))?,
                (Operator::Exists, _) => f.write_str(key)?,
                (Operator::DoesNotExist, _) => write!(f, "!{key}")?,
                (Operator::GreaterThan, values) => write!(f, "{key}>{}", values.join(""))?,
                (Operator::LessThan, values) => write!(f, "{key}<{}", values.join(""))?,
            }
        }
        Ok(())
    }
}

/// Requirements on fields that must all hold: name, value, and whether they must be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    /// All of these must hold.
    pub requirements: Vec<(String, String, bool)>,
}

impl FieldSelector {
    /// Reads `status.phase=Running,spec.nodeName!=a`. Whether the fields exist is the kind's matter.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::fields(text)
    }

    /// One field with one value.
    pub fn equal(name: &str, value: &str) -> Self {
        Self { requirements: vec![(name.to_owned(), value.to_owned(), true)] }
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object meets every requirement; a field that the object lacks is empty.
    pub fn matches(&self, object: &Object) -> bool {
        self.requirements.iter().all(|(name, value, equal)| (object.field(name).unwrap_or_default() == value) == *equal)
    }

    /// The value that a field is required to have.
    pub fn required(&self, name: &str) -> Option<&str> {
        self.requirements.iter().find(|(own, _, equal)| *equal && own == name).map(|(_, value, _)| value.as_str())
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value, equal)) in self.requirements.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{name}{}{value}", if *equal { "=" } else { "!=" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn label_selectors_select() {
        let labels: BTreeMap<String, String> =
            [("app", "web"), ("tier", "3")].map(|(k, v)| (k.into(), v.into())).into();
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=3", true),
            ("app!=web", false),
            ("other!=web", true),
            ("app in (web, db)", true),
            ("app notin (web,db),tier", false),
            ("!app", false),
            ("!other", true),
            ("tier>2", true),
            ("tier<2", false),
        ] {
            let selector = LabelSelector::parse(text).expect(text);
            assert_eq!(selector.matches(&labels), expected, "{text}");
            assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector), "{text}");
        }
        for text in ["a in b", "=x", "a b", "a in (b", "-a=b"] {
            assert!(LabelSelector::parse(text).is_err(), "{text}");
        }
        let spec = json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["3"]}]});
        assert!(!LabelSelector::from_value(&spec).expect("a selector").matches(&labels));
    }

    #[test]
    fn field_selectors_select() {
        let value = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a"}});
        let object =
            Object::from_value(&value).expect("an object").with_fields(vec![("status.phase".into(), "Running".into())]);
        for (text, expected) in [
            ("metadata.name=a,status.phase==Running", true),
            ("status.phase!=Running", false),
            ("spec.nodeName=", true),
            ("spec.nodeName!=", false),
        ] {
            assert_eq!(FieldSelector::parse(text).expect(text).matches(&object), expected, "{text}");
        }
        assert!(FieldSelector::parse("x").is_err());
    }
}
