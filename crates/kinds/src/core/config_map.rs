//! ConfigMap.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use crate::age;
use crate::field::fields;
use crate::plain::{AGE, NAME, column, name};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[NAME, column("Data", "string"), AGE];

/// All data together may have so many bytes.
pub(super) const MAX_BYTES: usize = 1 << 20;

pub(crate) struct ConfigMap;

impl Rules for ConfigMap {
    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let mut errors = Errors::new();
        let mut bytes = 0;
        for map in ["data", "binaryData"] {
            let path = Path::new(map);
            for (key, value) in fields(&object[map]) {
                errors
                    .extend(names::data_key(key).iter().map(|rule| Error::invalid(&path.key(key), key.as_str(), rule)));
                bytes += value.as_str().map_or(0, str::len);
                if map == "data" && object["binaryData"].get(key).is_some() {
                    errors.push(Error::invalid(&path.key(key), key.as_str(), "duplicate of key present in binaryData"));
                }
            }
        }
        if bytes > MAX_BYTES {
            errors.push(Error::too_long(&Path::new("[]"), MAX_BYTES));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = immutable(new, old, &["data", "binaryData"]);
        errors.extend(self.validate(new, settings));
        errors
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let count = fields(&object["data"]).count() + fields(&object["binaryData"]).count();
        vec![name(object), json!(count), age::of(object, now)]
    }
}

/// What is wrong with a change of something that was declared immutable.
pub(super) fn immutable(new: &Value, old: &Value, data: &[&str]) -> Errors {
    if old["immutable"] != true {
        return Errors::new();
    }
    let error = |name: &str| Error::forbidden(&Path::new(name), "field is immutable when `immutable` is set");
    let mut errors = Errors::new();
    if new["immutable"] != true {
        errors.push(error("immutable"));
    }
    errors.extend(data.iter().filter(|name| new.get(**name) != old.get(**name)).map(|name| error(name)));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_maps_are_checked() {
        let settings = Settings { allow_privileged: true };
        let check = |object: Value, expected: &[&str]| {
            let found: Vec<String> =
                ConfigMap.validate(&object, &settings).iter().map(|e| e.path.to_string()).collect();
            assert_eq!(found, expected);
        };
        check(json!({"data": {"a.b-c_d": "x"}}), &[]);
        check(json!({"data": {"": "x"}}), &["data[]"]);
        check(json!({"data": {"a": "x"}, "binaryData": {"a": "eA=="}}), &["data[a]"]);
        let old = json!({"immutable": true, "data": {"a": "1"}});
        let change = |new: Value| ConfigMap.validate_update(&new, &old, Part::Main, &settings).len();
        assert_eq!(
            (change(old.clone()), change(json!({"immutable": true, "data": {"a": "2"}})), change(json!({}))),
            (0, 1, 2)
        );
    }
}
