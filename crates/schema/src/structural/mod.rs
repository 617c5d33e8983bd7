//! Structural schemas: what a definition of a custom resource says of a version's objects.
//!
//! A schema is read once and then prunes, fills in defaults and validates documents, in upstream's words. Rules in CEL stand beside
//! the fields that they are about; carrying them out is the matter of [`crate::cel`].

mod check;
mod decode;
mod defaults;
mod formats;
mod lists;
mod parse;
mod prune;
mod standard;
#[cfg(test)]
mod tests;
mod types;
mod validate;

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use crate::types::{Schemas, TypeId};

pub(crate) use self::formats::has_format;

/// A schema of a value, with those of its parts.
#[derive(Clone, Debug, Default)]
pub struct Structural {
    /// `object`, `array`, `string`, `integer`, `number`, `boolean`, or empty.
    pub kind: String,
    /// Whether null is a value.
    pub nullable: bool,
    /// Whether it is a whole number or a text.
    pub int_or_string: bool,
    /// Whether fields that aren't named are kept.
    pub preserve_unknown: bool,
    /// Whether the value is an object of the API, with apiVersion, kind and metadata.
    pub embedded: bool,
    /// What stands there when nothing does.
    pub default: Option<Value>,
    /// The named fields.
    pub properties: BTreeMap<String, Structural>,
    /// The values of a map.
    pub additional: Option<Box<Structural>>,
    /// Whether `additionalProperties` is true.
    pub additional_any: bool,
    /// The items of a list.
    pub items: Option<Box<Structural>>,
    /// `atomic`, `set`, `map`, or empty.
    pub list_type: String,
    /// What tells the items of a list of type `map` apart.
    pub list_keys: Vec<String>,
    /// Whether a map is replaced as a whole.
    pub atomic: bool,
    /// The rules in CEL.
    pub rules: Vec<Rule>,
    /// What else must hold for a value.
    pub checks: Checks,
}

/// A rule of `x-kubernetes-validations`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// The expression.
    pub rule: String,
    /// What to say when it doesn't hold.
    pub message: String,
    /// An expression for that.
    pub message_expression: String,
    /// `FieldValueInvalid` and the like.
    pub reason: String,
    /// Which field to name.
    pub field_path: String,
    /// Whether the rule also runs where there is no old value.
    pub optional_old_self: bool,
}

/// What must hold for a value beyond its type.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    pub(crate) format: String,
    pub(crate) pattern: Option<(String, Option<Regex>)>,
    pub(crate) minimum: Option<f64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) exclusive_maximum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) min_length: Option<u64>,
    /// Bytes bound what a rule may cost.
    pub(crate) max_length: Option<u64>,
    pub(crate) min_items: Option<u64>,
    pub(crate) max_items: Option<u64>,
    pub(crate) min_properties: Option<u64>,
    pub(crate) max_properties: Option<u64>,
    pub(crate) unique_items: bool,
    pub(crate) values: Vec<Value>,
    pub(crate) required: Vec<String>,
    pub(crate) all_of: Vec<Structural>,
    pub(crate) any_of: Vec<Structural>,
    pub(crate) one_of: Vec<Structural>,
    pub(crate) not: Option<Box<Structural>>,
}

/// A custom object that came in.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomObject {
    /// The object, pruned.
    pub value: Value,
    /// Unknown and duplicate fields, in upstream's words.
    pub errors: Vec<String>,
}

impl Structural {
    /// Reads the JSON of a schema.
    pub fn parse(schema: &Value) -> Self {
        parse::structural(schema)
    }

    /// What is wrong with the JSON of a version's schema.
    pub fn check(schema: &Value, path: &meta::field::Path, has_status: bool) -> meta::field::Errors {
        check::check(schema, path, has_status)
    }

    /// Removes what the schema doesn't name, and tells what it was: `spec.foo`.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(self, object)
    }

    /// Fills in defaults.
    pub fn fill(&self, object: &mut Value) {
        defaults::fill(self, object);
    }

    /// What is wrong with an object. What didn't change from the old object is not judged anew.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> meta::field::Errors {
        validate::validate(self, object, old)
    }

    /// What is twice in the object's lists of type `set` and `map`.
    pub fn duplicates(&self, object: &Value) -> meta::field::Errors {
        lists::duplicates(self, object)
    }

    /// Reads a custom object and prunes it.
    pub fn decode(&self, json: &[u8]) -> Result<CustomObject, String> {
        decode::decode(self, json)
    }

    /// The same for an object that is parsed already.
    pub fn decode_value(&self, object: Value) -> CustomObject {
        decode::settle(self, object, Vec::new())
    }

    /// The types by which fields have their managers.
    pub fn types(&self) -> (Schemas, TypeId) {
        types::types(self)
    }

    /// Whether any rule stands here or beneath.
    pub fn has_rules(&self) -> bool {
        let parts = self.properties.values().chain(self.additional.as_deref()).chain(self.items.as_deref());
        !self.rules.is_empty() || parts.into_iter().any(Self::has_rules)
    }

    /// The schema of a field, of a named one or of a map's value.
    pub fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(self.additional.as_deref())
    }

    /// What tells an item of a list of type `map` apart: its values at the keys.
    pub(crate) fn list_key<'a>(&'a self, item: &'a Value) -> Vec<Option<&'a Value>> {
        let default = |key: &str| self.items.as_ref()?.properties.get(key)?.default.as_ref();
        self.list_keys.iter().map(|key| item.get(key).or_else(|| default(key))).collect()
    }

    /// The old item that an item of a list of type `map` was.
    pub fn old_item<'a>(&'a self, item: &'a Value, old: Option<&'a Value>) -> Option<&'a Value> {
        if self.list_type != "map" {
            return None;
        }
        let key = self.list_key(item);
        old?.as_array()?.iter().find(|old| self.list_key(old) == key)
    }
}
