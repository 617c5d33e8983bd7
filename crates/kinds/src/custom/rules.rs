//! What holds for the objects of a custom resource.

use meta::field::Errors;
use serde_json::{Value, json};

use super::Custom;
use crate::field;
use crate::resource::{Part, Rules, Settings, keep_other_part};

impl Rules for Custom {
    fn prepare_create(&self, object: &mut Value) {
        if self.has_status {
            field::remove(object, "status");
        }
        object["metadata"]["generation"] = json!(1);
    }

    fn validate(&self, _object: &Value, _settings: &Settings) -> Errors {
        Errors::new()
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        if part == Part::Status || self.has_status {
            keep_other_part(new, old, part);
        }
        let content = |object: &Value| -> Vec<(String, Value)> {
            let own = field::fields(object).filter(|(name, _)| *name != "metadata");
            own.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        if part != Part::Status && content(new) != content(old) {
            let generation = field::number(old, "/metadata/generation").unwrap_or(0);
            new["metadata"]["generation"] = json!(generation + 1);
        }
    }

    fn selectable(&self) -> &'static [&'static str] {
        self.selectable
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        let value = |path: &Option<super::JsonPath>| {
            path.as_ref().and_then(|path| path.first(object)).map_or_else(String::new, text)
        };
        self.selectable
            .iter()
            .zip(&self.selectable_paths)
            .map(|(name, path)| ((*name).to_owned(), value(path)))
            .collect()
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        self.cells(object, now)
    }
}
