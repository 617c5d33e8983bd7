//! What the API answers when it can't do as asked: one transport-free error type.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::field;
use crate::gvk::{Gvk, Gvr};

/// Upstream's machine-readable reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are upstream's own reasons")]
pub enum Reason {
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    StoreReadError,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
    /// No reason is given; the code says it all.
    #[serde(rename = "")]
    Unknown,
}

impl Reason {
    /// The HTTP code that upstream answers with. Numbers only: no transport is known here.
    pub fn code(self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::Gone | Self::Expired => 410,
            Self::Invalid => 422,
            Self::ServerTimeout | Self::StoreReadError | Self::InternalError | Self::Unknown => 500,
            Self::Timeout => 504,
            Self::TooManyRequests => 429,
            Self::BadRequest => 400,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::RequestEntityTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::ServiceUnavailable => 503,
        }
    }

    /// The reason as clients read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "NotFound",
            Self::AlreadyExists => "AlreadyExists",
            Self::Conflict => "Conflict",
            Self::Gone => "Gone",
            Self::Invalid => "Invalid",
            Self::ServerTimeout => "ServerTimeout",
            Self::StoreReadError => "StorageReadError",
            Self::Timeout => "Timeout",
            Self::TooManyRequests => "TooManyRequests",
            Self::BadRequest => "BadRequest",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::NotAcceptable => "NotAcceptable",
            Self::RequestEntityTooLarge => "RequestEntityTooLarge",
            Self::UnsupportedMediaType => "UnsupportedMediaType",
            Self::InternalError => "InternalError",
            Self::Expired => "Expired",
            Self::ServiceUnavailable => "ServiceUnavailable",
            Self::Unknown => "",
        }
    }

    fn from_str(text: &str) -> Self {
        const ALL: [Reason; 19] = [
            Reason::Unauthorized,
            Reason::Forbidden,
            Reason::NotFound,
            Reason::AlreadyExists,
            Reason::Conflict,
            Reason::Gone,
            Reason::Invalid,
            Reason::ServerTimeout,
            Reason::StoreReadError,
            Reason::Timeout,
            Reason::TooManyRequests,
            Reason::BadRequest,
            Reason::MethodNotAllowed,
            Reason::NotAcceptable,
            Reason::RequestEntityTooLarge,
            Reason::UnsupportedMediaType,
            Reason::InternalError,
            Reason::Expired,
            Reason::ServiceUnavailable,
        ];
        ALL.into_iter().find(|reason| reason.as_str() == text).unwrap_or(Self::Unknown)
    }
}

/// One of several causes of a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// For example `FieldValueRequired`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The path of the field.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What a failure is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct StatusDetails {
    /// The object's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The object's group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource (or for invalid objects the kind), as upstream fills it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's UID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Each single cause.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: i32,
}

fn is_zero(number: &i32) -> bool {
    *number == 0
}

/// The `Status` object of the API, success or failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether it tells of a success.
    pub success: bool,
    /// For people.
    pub message: String,
    /// For programs.
    pub reason: String,
    /// What it is about.
    pub details: Option<StatusDetails>,
    /// The HTTP code.
    pub code: u16,
    /// For an expired list: where to go on with what is there now.
    pub continue_token: String,
}

impl Status {
    /// A success, with the details that a deletion answers.
    pub fn success(details: Option<StatusDetails>) -> Self {
        Self { success: true, details, code: 200, ..Self::default() }
    }

    /// The `v1` object.
    pub fn to_value(&self) -> Value {
        let mut metadata = json!({});
        if !self.continue_token.is_empty() {
            metadata["continue"] = json!(self.continue_token);
        }
        let mut value = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": if self.success { "Success" } else { "Failure" },
        });
        if !self.message.is_empty() {
            value["message"] = json!(self.message);
        }
        if !self.reason.is_empty() {
            value["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            value["details"] = json!(details);
        }
        // Compat: deletions answer Success without a code, failures always carry one.
        if !self.success {
            value["code"] = json!(self.code);
        }
        value
    }
}

/// An API call that failed. It turns into a `Status` and nothing of ours leaks through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// For programs.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// What it is about.
    pub details: Option<Box<StatusDetails>>,
    /// For an expired list: where to go on with what is there now.
    pub continue_token: Option<String>,
    /// Where the code differs from the reason's own.
    pub code: Option<u16>,
}

impl std::error::Error for ApiError {}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl ApiError {
    /// An error of this reason and text.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), details: None, continue_token: None, code: None }
    }

    fn about(mut self, gvr: &Gvr, name: &str) -> Self {
        let details = StatusDetails {
            name: name.to_owned(),
            group: gvr.group.clone(),
            kind: gvr.resource.clone(),
            ..StatusDetails::default()
        };
        self.details = Some(Box::new(details));
        self
    }

    /// `pods "x" not found`.
    pub fn not_found(gvr: &Gvr, name: &str) -> Self {
        Self::new(Reason::NotFound, format!("{} {name:?} not found", gvr.qualified())).about(gvr, name)
    }

    /// `pods "x" already exists`.
    pub fn already_exists(gvr: &Gvr, name: &str) -> Self {
        Self::new(Reason::AlreadyExists, format!("{} {name:?} already exists", gvr.qualified())).about(gvr, name)
    }

    /// `Operation cannot be fulfilled on pods "x": …`.
    pub fn conflict(gvr: &Gvr, name: &str, why: &str) -> Self {
        let text = format!("Operation cannot be fulfilled on {} {name:?}: {why}", gvr.qualified());
        Self::new(Reason::Conflict, text).about(gvr, name)
    }

    /// The conflict of an update on an old revision.
    pub fn modified(gvr: &Gvr, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(gvr, name, why)
    }

    /// `pods "x" is forbidden: …`. Without a name: `pods is forbidden: …`.
    pub fn forbidden(gvr: &Gvr, name: &str, why: &str) -> Self {
        let what = if name.is_empty() { gvr.qualified() } else { format!("{} {name:?}", gvr.qualified()) };
        Self::new(Reason::Forbidden, format!("{what} is forbidden: {why}")).about(gvr, name)
    }

    /// `Pod "x" is invalid: …`, with a cause for each field.
    pub fn invalid(gvk: &Gvk, name: &str, errors: &[field::Error]) -> Self {
        let what = if gvk.group.is_empty() { gvk.kind.clone() } else { format!("{}.{}", gvk.kind, gvk.group) };
        let mut texts: Vec<String> = Vec::new();
        for error in errors {
            let text = error.to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let list = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let details = StatusDetails {
            name: name.to_owned(),
            group: gvk.group.clone(),
            kind: gvk.kind.clone(),
            causes: errors.iter().map(field::Error::cause).collect(),
            ..StatusDetails::default()
        };
        let mut error = Self::new(Reason::Invalid, format!("{what} {name:?} is invalid: {list}"));
        error.details = Some(Box::new(details));
        error
    }

    /// The request itself is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// No or wrong credentials.
    pub fn unauthorized() -> Self {
        Self::new(Reason::Unauthorized, "Unauthorized")
    }

    /// A verb that this resource doesn't have.
    pub fn method_not_supported(gvr: &Gvr, verb: &str) -> Self {
        let text = format!("{verb} is not supported on resources of kind {:?}", gvr.qualified());
        Self::new(Reason::MethodNotAllowed, text).about(gvr, "")
    }

    /// `the server could not find the requested resource`.
    pub fn no_such_resource() -> Self {
        let details = Some(Box::default());
        Self { details, ..Self::new(Reason::NotFound, "the server could not find the requested resource") }
    }

    /// A resource version or continue token older than the history kept. `next` goes on, inconsistently, from there.
    pub fn expired(message: impl Into<String>, next: Option<String>) -> Self {
        Self { continue_token: next, ..Self::new(Reason::Expired, message) }
    }

    /// A failure of ours; `message` reaches the client, so it tells only what helps there.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(Reason::InternalError, format!("Internal error occurred: {message}"))
    }

    /// Try again after this many seconds.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: i32) -> Self {
        let mut error = Self::new(Reason::TooManyRequests, message);
        error.details = Some(Box::new(StatusDetails { retry_after_seconds, ..StatusDetails::default() }));
        error
    }

    /// The code that answers it.
    pub fn code(&self) -> u16 {
        self.code.unwrap_or_else(|| self.reason.code())
    }

    /// The `Status` that tells it.
    pub fn to_status(&self) -> Status {
        Status {
            success: false,
            message: self.message.clone(),
            reason: self.reason.as_str().to_owned(),
            details: self.details.as_deref().cloned(),
            code: self.code(),
            continue_token: self.continue_token.clone().unwrap_or_default(),
        }
    }

    /// Reads a failure that a server answered.
    pub fn from_status(value: &Value) -> Self {
        let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
        let code = value.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
        let reason = Reason::from_str(text("reason"));
        let details = value.get("details").and_then(|details| serde_json::from_value(details.clone()).ok());
        let token = value.pointer("/metadata/continue").and_then(Value::as_str).map(str::to_owned);
        Self {
            reason,
            message: text("message").to_owned(),
            details: details.map(Box::new),
            continue_token: token,
            code: code.filter(|code| *code != reason.code()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{Error, Path};

    #[test]
    fn texts_and_codes_are_upstreams() {
        let pods = Gvr::new("", "v1", "pods");
        let deployments = Gvr::new("apps", "v1", "deployments");
        let check =
            |error: ApiError, code: u16, text: &str| assert_eq!((error.code(), error.message.as_str()), (code, text));
        check(ApiError::not_found(&pods, "x"), 404, "pods \"x\" not found");
        check(ApiError::already_exists(&deployments, "x"), 409, "deployments.apps \"x\" already exists");
        check(ApiError::forbidden(&pods, "", "no"), 403, "pods is forbidden: no");
        let pod = Gvk::new("", "v1", "Pod");
        let spec = Path::new("spec");
        let one = [Error::required(&spec.child("a"), "")];
        check(ApiError::invalid(&pod, "x", &one), 422, "Pod \"x\" is invalid: spec.a: Required value");
        let two = [one[0].clone(), Error::forbidden(&spec, "no")];
        let text = "Pod \"x\" is invalid: [spec.a: Required value, spec: Forbidden: no]";
        check(ApiError::invalid(&pod, "x", &two), 422, text);
    }

    #[test]
    fn a_status_is_read_back() {
        let error = ApiError::not_found(&Gvr::new("", "v1", "pods"), "x");
        assert_eq!(ApiError::from_status(&error.to_status().to_value()), error);
    }
}
