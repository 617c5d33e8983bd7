//! Secret.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use super::config_map::{MAX_BYTES, immutable};
use crate::age;
use crate::field::{self, fields, text};
use crate::plain::{AGE, NAME, cell, column, name};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[NAME, column("Type", "string"), column("Data", "string"), AGE];

/// The keys that secrets of a type must have.
const REQUIRED: [(&str, &[&str]); 4] = [
    ("kubernetes.io/dockercfg", &[".dockercfg"]),
    ("kubernetes.io/dockerconfigjson", &[".dockerconfigjson"]),
    ("kubernetes.io/ssh-auth", &["ssh-privatekey"]),
    ("kubernetes.io/tls", &["tls.crt", "tls.key"]),
];

pub(crate) struct Secret;

impl Rules for Secret {
    fn default(&self, object: &mut Value) {
        use base64::Engine;
        field::default(object, "type", "Opaque");
        let plain = object["stringData"].take();
        field::remove(object, "stringData");
        for (key, value) in fields(&plain) {
            let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
            field::child(object, "data")[key] = json!(encoded);
        }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let path = Path::new("data");
        let mut errors = Errors::new();
        let mut bytes = 0;
        for (key, value) in fields(&object["data"]) {
            errors.extend(names::data_key(key).iter().map(|rule| Error::invalid(&path.key(key), key.as_str(), rule)));
            bytes += value.as_str().map_or(0, str::len) / 4 * 3;
        }
        if bytes > MAX_BYTES {
            errors.push(Error::too_long(&path, MAX_BYTES));
        }
        let kind = text(object, "/type");
        let required = REQUIRED.iter().filter(|(own, _)| *own == kind).flat_map(|(_, keys)| *keys);
        errors.extend(
            required.filter(|key| object["data"].get(**key).is_none()).map(|key| Error::required(&path.key(key), "")),
        );
        let has = |key: &str| object["data"].get(key).is_some();
        if kind == "kubernetes.io/basic-auth" && !has("username") && !has("password") {
            errors.extend(["username", "password"].map(|key| Error::required(&path.key(key), "")));
        }
        for (of, key) in [("dockercfg", ".dockercfg"), ("dockerconfigjson", ".dockerconfigjson")] {
            let content = object["data"].get(key).and_then(Value::as_str);
            let wrong = content.filter(|_| kind == format!("kubernetes.io/{of}")).and_then(not_json);
            errors.extend(wrong.map(|why| Error::invalid(&path.key(key), "<secret contents redacted>", &why)));
        }
        let annotation = "kubernetes.io/service-account.name";
        if kind == "kubernetes.io/service-account-token" && object["metadata"]["annotations"].get(annotation).is_none()
        {
            errors.push(Error::required(&Path::new("metadata").child("annotations").key(annotation), ""));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, settings: &Settings) -> Errors {
        let mut errors = immutable(new, old, &["data"]);
        if new["type"] != old["type"] {
            errors.push(Error::invalid(&Path::new("type"), new["type"].clone(), "field is immutable"));
        }
        errors.extend(self.validate(new, settings));
        errors
    }

    fn selectable(&self) -> &'static [&'static str] {
        &["type"]
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        vec![("type".to_owned(), text(object, "/type").to_owned())]
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let count = fields(&object["data"]).count();
        vec![name(object), cell(object, "/type", ""), json!(count), age::of(object, now)]
    }
}

/// Why the content, in base64, is no JSON.
fn not_json(content: &str) -> Option<String> {
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(content).ok()?;
    schema::json_error(&bytes)
}
