//! What holds for the objects of a custom resource.

use meta::field::{Error, ErrorType, Errors, Path};
use serde_json::{Value, json};

use super::Custom;
use crate::field;
use crate::resource::{Part, Rules, Settings, keep_all_but_status, keep_other_part};

/// What stops rules in CEL from running: the object hasn't the form that they count on.
const BLOCKED: &str = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                       complete validation";

impl Custom {
    fn judge(&self, object: &Value, old: Option<&Value>) -> Errors {
        let mut errors = self.structural.validate(object, old);
        if old.is_none_or(|old| self.structural.duplicates(old).is_empty()) {
            errors.extend(self.structural.duplicates(object));
        }
        let blocks = |error: &Error| {
            matches!(
                error.kind,
                ErrorType::NotSupported
                    | ErrorType::Required
                    | ErrorType::TooLong
                    | ErrorType::TooMany
                    | ErrorType::TypeInvalid
            )
        };
        match &self.rules {
            Some(_) if errors.iter().any(blocks) => {
                errors.push(Error::invalid(&Path::default(), Value::Null, BLOCKED));
            }
            Some(rules) => errors.extend(rules.validate(&self.structural, object, old)),
            None => {}
        }
        errors
    }
}

impl Rules for Custom {
    fn default(&self, object: &mut Value) {
        self.settle(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        if self.has_status {
            field::remove(object, "status");
        }
        object["metadata"]["generation"] = json!(1);
    }

    fn validate(&self, object: &Value, _settings: &Settings) -> Errors {
        self.judge(object, None)
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part<'_>, _settings: &Settings) -> Errors {
        self.judge(new, Some(old))
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        if part == Part::Status {
            keep_all_but_status(new, old);
        } else if self.has_status {
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
