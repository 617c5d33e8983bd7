//! Taints of nodes, and tolerations of pods.

use serde_json::Value;

/// What keeps pods away from a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the API's")]
pub struct Taint<'a> {
    pub key: &'a str,
    pub value: &'a str,
    pub effect: &'a str,
}

/// What lets a pod bear with taints. Empty fields are those that aren't set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the API's")]
pub struct Toleration<'a> {
    pub key: &'a str,
    pub operator: &'a str,
    pub value: &'a str,
    pub effect: &'a str,
}

fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

impl<'a> From<&'a Value> for Taint<'a> {
    fn from(taint: &'a Value) -> Self {
        Self { key: text(taint, "key"), value: text(taint, "value"), effect: text(taint, "effect") }
    }
}

impl<'a> From<&'a Value> for Toleration<'a> {
    fn from(own: &'a Value) -> Self {
        let operator = text(own, "operator");
        Self { key: text(own, "key"), operator, value: text(own, "value"), effect: text(own, "effect") }
    }
}

impl Toleration<'_> {
    /// Whether it covers a taint: an empty key or effect is any.
    pub fn covers(&self, taint: Taint<'_>) -> bool {
        let named = |own: &str, of_taint: &str| own.is_empty() || own == of_taint;
        let value = match self.operator {
            "Exists" => true,
            "" | "Equal" => self.value == taint.value,
            // Compat: comparing numbers (Lt, Gt) is off in v1.36 unless its gate is opened.
            _ => false,
        };
        named(self.effect, taint.effect) && named(self.key, taint.key) && value
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn empty_fields_are_any() {
        let check = |toleration: Value, expected: bool| {
            let taint = json!({"key": "a", "value": "b", "effect": "NoExecute"});
            assert_eq!(Toleration::from(&toleration).covers(Taint::from(&taint)), expected, "{toleration}");
        };
        check(json!({"operator": "Exists"}), true);
        check(json!({"key": "a", "operator": "Exists", "effect": "NoExecute"}), true);
        check(json!({"key": "a", "value": "b"}), true);
        check(json!({"key": "a", "operator": "Equal", "value": "c"}), false);
        check(json!({"key": "a", "operator": "Exists", "effect": "NoSchedule"}), false);
        check(json!({"key": "b", "operator": "Exists"}), false);
        check(json!({"key": "a", "operator": "Gt", "value": "b"}), false);
    }
}
