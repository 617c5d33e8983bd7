//! Paths to fields, and what is wrong there: the vocabulary of validation.
//!
//! Texts follow upstream's `field.Error`, which clients read: `spec.containers[0].name: Required value`.

use std::fmt;

use serde_json::Value;

use crate::status::Cause;

/// A path to a field, for example `spec.containers[0].image` or `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// The path of a top-level field. An empty name is the object itself.
    pub fn new(name: &str) -> Self {
        Self(name.to_owned())
    }

    /// The field `name` beneath this one.
    #[must_use]
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Self::new(name) } else { Self(format!("{}.{name}", self.0)) }
    }

    /// The item `index` of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// The entry `key` of this map.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        Self(format!("{}[{key}]", self.0))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "<nil>" } else { &self.0 })
    }
}

/// The kinds of field errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// A reference that leads nowhere.
    NotFound,
    /// A field that must be set.
    Required,
    /// A second one where only one may be.
    Duplicate,
    /// A value of a wrong form.
    Invalid,
    /// A value outside an enumeration.
    NotSupported,
    /// A value that policy refuses.
    Forbidden,
    /// A value longer than allowed.
    TooLong,
    /// A list longer than allowed.
    TooMany,
    /// A list shorter than allowed.
    TooFew,
    /// A value of the wrong type.
    TypeInvalid,
    /// A failure of ours.
    Internal,
}

impl ErrorType {
    /// The `reason` of the cause in a Status.
    pub fn cause_reason(self) -> &'static str {
        match self {
            Self::NotFound => "FieldValueNotFound",
            Self::Required => "FieldValueRequired",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TooFew => "FieldValueTooFew",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::NotFound => "Not found",
            Self::Required => "Required value",
            Self::Duplicate => "Duplicate value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::TooFew => "Too few",
            Self::Internal => "Internal error",
        }
    }
}

/// One thing that is wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What kind of error it is.
    pub kind: ErrorType,
    /// Where it is.
    pub path: Path,
    /// The text without the path: `Invalid value: "x": must be …`.
    pub message: String,
}

/// The list that validation returns; empty when all is well.
pub type Errors = Vec<Error>;

impl Error {
    fn new(kind: ErrorType, path: &Path, tail: &str) -> Self {
        let message = if tail.is_empty() { kind.words().to_owned() } else { format!("{}: {tail}", kind.words()) };
        Self { kind, path: path.clone(), message }
    }

    fn with_value(kind: ErrorType, path: &Path, value: &Value, detail: &str) -> Self {
        let shown = show(value);
        Self::new(kind, path, &if detail.is_empty() { shown } else { format!("{shown}: {detail}") })
    }

    /// `Required value: detail`.
    pub fn required(path: &Path, detail: &str) -> Self {
        Self::new(ErrorType::Required, path, detail)
    }

    /// `Invalid value: "value": detail`.
    pub fn invalid(path: &Path, value: impl Into<Value>, detail: &str) -> Self {
        Self::with_value(ErrorType::Invalid, path, &value.into(), detail)
    }

    /// `Invalid value: "value": detail`, for a value of the wrong type.
    pub fn type_invalid(path: &Path, value: impl Into<Value>, detail: &str) -> Self {
        Self::with_value(ErrorType::TypeInvalid, path, &value.into(), detail)
    }

    /// `Duplicate value: "value"`.
    pub fn duplicate(path: &Path, value: impl Into<Value>) -> Self {
        Self::with_value(ErrorType::Duplicate, path, &value.into(), "")
    }

    /// `Not found: "value"`.
    pub fn not_found(path: &Path, value: impl Into<Value>) -> Self {
        Self::with_value(ErrorType::NotFound, path, &value.into(), "")
    }

    /// `Forbidden: detail`.
    pub fn forbidden(path: &Path, detail: &str) -> Self {
        Self::new(ErrorType::Forbidden, path, detail)
    }

    /// `Unsupported value: "value": supported values: "a", "b"`. The supported values are shown sorted.
    pub fn not_supported(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let mut supported: Vec<&str> = supported.to_vec();
        supported.sort_unstable();
        let list: Vec<String> = supported.iter().map(|name| format!("{name:?}")).collect();
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        Self::with_value(ErrorType::NotSupported, path, &value.into(), &detail)
    }

    /// The same with the supported values in the order given, as upstream shows some of its lists.
    pub fn not_supported_as_listed(path: &Path, value: impl Into<Value>, supported: &[&str]) -> Self {
        let list: Vec<String> = supported.iter().map(|name| format!("{name:?}")).collect();
        let detail = format!("supported values: {}", list.join(", "));
        Self::with_value(ErrorType::NotSupported, path, &value.into(), &detail)
    }

    /// `Too long: may not be more than max bytes`.
    pub fn too_long(path: &Path, max: usize) -> Self {
        let unit = if max == 1 { "byte" } else { "bytes" };
        Self::new(ErrorType::TooLong, path, &format!("may not be more than {max} {unit}"))
    }

    /// `Too many: actual: must have at most max items`.
    pub fn too_many(path: &Path, actual: usize, max: usize) -> Self {
        let unit = if max == 1 { "item" } else { "items" };
        Self::new(ErrorType::TooMany, path, &format!("{actual}: must have at most {max} {unit}"))
    }

    /// `Internal error: detail`.
    pub fn internal(path: &Path, detail: &str) -> Self {
        Self::new(ErrorType::Internal, path, detail)
    }

    /// The cause that a Status lists for it.
    pub fn cause(&self) -> Cause {
        Cause {
            reason: self.kind.cause_reason().to_owned(),
            message: self.message.clone(),
            field: self.path.to_string(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

// Compat: upstream prints strings quoted as Go does, null as "null", and structures as JSON.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_upstreams() {
        let path = Path::new("spec").child("containers").index(0).child("name");
        let check = |error: Error, text: &str| assert_eq!(error.to_string(), text);
        check(Error::required(&path, ""), "spec.containers[0].name: Required value");
        check(Error::invalid(&path, "A", "no"), "spec.containers[0].name: Invalid value: \"A\": no");
        check(Error::invalid(&path, 7, ""), "spec.containers[0].name: Invalid value: 7");
        check(
            Error::not_supported(&path, "x", &["b", "a"]),
            "spec.containers[0].name: Unsupported value: \"x\": supported values: \"a\", \"b\"",
        );
        check(Error::too_long(&path, 63), "spec.containers[0].name: Too long: may not be more than 63 bytes");
        check(Error::duplicate(&path.key("k"), "x"), "spec.containers[0].name[k]: Duplicate value: \"x\"");
    }
}
