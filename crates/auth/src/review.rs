//! The review kinds: questions about users and permissions, answered from memory and stored nowhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use meta::field::{Error, Path};
use meta::{ApiError, FieldSelector, Gvk, UserInfo, format_time};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::attributes::{Attributes, Target};
use crate::authenticate::Authenticator;
use crate::authorizer::{Authorizer, Verdict};
use crate::rbac::Rule;

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

/// Answers reviews.
pub struct Reviews {
    /// For tokens.
    pub authenticator: Arc<Authenticator>,
    /// For access.
    pub authorizer: Arc<dyn Authorizer>,
}

/// A review that is posted.
#[derive(Clone, Debug)]
pub struct Review<'a> {
    /// The resource, for example `selfsubjectaccessreviews`.
    pub resource: &'a str,
    /// The namespace in the path; only `localsubjectaccessreviews` have one.
    pub namespace: &'a str,
    /// Who posts it.
    pub user: &'a UserInfo,
    /// When.
    pub now: Timestamp,
    /// The review, defaulted and pruned.
    pub body: Value,
}

impl Reviews {
    /// The review with its status. `None` for resources that are no reviews.
    pub fn answer(&self, review: Review<'_>) -> Option<Result<Value, ApiError>> {
        let Review { resource, namespace, user, now, body } = review;
        Some(match resource {
            "tokenreviews" => self.token(body),
            "selfsubjectreviews" => Ok(self_subject(user, now)),
            "subjectaccessreviews" => self.access(body, "SubjectAccessReview", namespace, None),
            "localsubjectaccessreviews" => self.access(body, "LocalSubjectAccessReview", namespace, None),
            "selfsubjectaccessreviews" => self.access(body, "SelfSubjectAccessReview", namespace, Some(user)),
            "selfsubjectrulesreviews" => self.rules(&body, user),
            _ => return None,
        })
    }

    fn token(&self, mut body: Value) -> Result<Value, ApiError> {
        let token = text(&body, "/spec/token");
        if token.is_empty() {
            return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
        }
        let wanted: Vec<String> = read(body.pointer("/spec/audiences"));
        let wanted = if wanted.is_empty() { self.authenticator.tokens().audiences().to_vec() } else { wanted };
        let status = match self.authenticator.token(token, &wanted) {
            Ok(verified) => {
                json!({"authenticated": true, "user": *verified.user, "audiences": verified.audiences})
            }
            Err(error) => json!({"user": {}, "error": error}),
        };
        finish(&mut body, AUTHENTICATION, "TokenReview", status);
        Ok(body)
    }

    fn access(&self, mut body: Value, kind: &str, namespace: &str, own: Option<&UserInfo>) -> Result<Value, ApiError> {
        let spec: AccessSpec = read(body.get("spec"));
        let errors = check_access(&body, &spec, namespace, kind);
        if !errors.is_empty() {
            return Err(ApiError::invalid(&Gvk::new(AUTHORIZATION, "v1", kind), "", &errors));
        }
        let user = own.cloned().unwrap_or_else(|| spec.user_info());
        let fields = spec.resource_attributes.as_ref().map(ResourceAttributes::fields).transpose();
        let (fields, ignored) = match fields {
            Ok(fields) => (fields.flatten(), ""),
            Err(Unreadable) => (None, "spec.resourceAttributes.fieldSelector ignored due to parse error"),
        };
        let target = spec.target(fields.as_ref());
        let attributes = Attributes { user: &user, verb: spec.verb(), target };
        let decision = self.authorizer.authorize(&attributes);
        let mut status = Map::from_iter([("allowed".to_owned(), json!(decision.allowed()))]);
        if decision.verdict == Verdict::Deny {
            status.insert("denied".to_owned(), json!(true));
        }
        for (name, text) in [("reason", &*decision.reason), ("evaluationError", ignored)] {
            if !text.is_empty() {
                status.insert(name.to_owned(), json!(text));
            }
        }
        finish(&mut body, AUTHORIZATION, kind, Value::Object(status));
        Ok(body)
    }

    fn rules(&self, body: &Value, user: &UserInfo) -> Result<Value, ApiError> {
        let namespace = text(body, "/spec/namespace");
        if namespace.is_empty() {
            return Err(ApiError::bad_request("no namespace on request"));
        }
        let set = self.authorizer.rules_for(user, namespace);
        let resources: Vec<Value> = set
            .rules
            .iter()
            .filter(|rule| !rule.resources.is_empty())
            .map(|rule| json!(Rule { non_resource_urls: Vec::new(), ..rule.clone() }))
            .collect();
        let urls = set.rules.iter().filter(|rule| !rule.non_resource_urls.is_empty());
        let urls: Vec<Value> =
            urls.map(|rule| json!({"verbs": rule.verbs, "nonResourceURLs": rule.non_resource_urls})).collect();
        let mut status = json!({"resourceRules": resources, "nonResourceRules": urls, "incomplete": set.incomplete});
        match set.errors.as_slice() {
            [] => {}
            [one] => status["evaluationError"] = json!(one),
            many => status["evaluationError"] = json!(format!("[{}]", many.join(", "))),
        }
        // Compat: upstream answers with a new object, whose spec is empty.
        let mut answer = json!({"spec": {}});
        finish(&mut answer, AUTHORIZATION, "SelfSubjectRulesReview", status);
        Ok(answer)
    }
}

fn self_subject(user: &UserInfo, now: Timestamp) -> Value {
    let mut answer = json!({"metadata": {"creationTimestamp": format_time(now)}});
    finish(&mut answer, AUTHENTICATION, "SelfSubjectReview", json!({"userInfo": user}));
    answer
}

fn finish(body: &mut Value, group: &str, kind: &str, status: Value) {
    body["kind"] = json!(kind);
    body["apiVersion"] = json!(format!("{group}/v1"));
    if !body["metadata"].is_object() {
        body["metadata"] = json!({});
    }
    body["status"] = status;
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AccessSpec {
    resource_attributes: Option<ResourceAttributes>,
    non_resource_attributes: Option<PathAttributes>,
    user: String,
    groups: Option<Vec<String>>,
    extra: Option<BTreeMap<String, Vec<String>>>,
    uid: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ResourceAttributes {
    namespace: String,
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    name: String,
    field_selector: Option<Selector>,
    label_selector: Option<Selector>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PathAttributes {
    path: String,
    verb: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Selector {
    raw_selector: String,
    requirements: Option<Vec<Requirement>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
}

/// A selector that says nothing we understand: authorization goes on as if nothing were selected, which is stricter.
struct Unreadable;

impl AccessSpec {
    fn user_info(&self) -> UserInfo {
        UserInfo {
            name: self.user.clone(),
            uid: self.uid.clone(),
            groups: self.groups.clone().unwrap_or_default(),
            extra: self.extra.clone().unwrap_or_default(),
        }
    }

    fn verb(&self) -> &str {
        let resource = self.resource_attributes.as_ref().map(|attributes| &attributes.verb);
        let path = self.non_resource_attributes.as_ref().map(|attributes| &attributes.verb);
        resource.or(path).map_or("", |verb| verb)
    }

    fn target<'a>(&'a self, fields: Option<&'a FieldSelector>) -> Target<'a> {
        match &self.resource_attributes {
            Some(attributes) => Target::Resource {
                group: &attributes.group,
                version: if attributes.version.is_empty() { "*" } else { &attributes.version },
                resource: &attributes.resource,
                subresource: &attributes.subresource,
                namespace: &attributes.namespace,
                name: &attributes.name,
                fields,
            },
            None => Target::Path(self.non_resource_attributes.as_ref().map_or("", |attributes| &attributes.path)),
        }
    }
}

impl ResourceAttributes {
    fn fields(&self) -> Result<Option<FieldSelector>, Unreadable> {
        let Some(selector) = &self.field_selector else { return Ok(None) };
        if !selector.raw_selector.is_empty() {
            return FieldSelector::parse(&selector.raw_selector).map(Some).map_err(|_| Unreadable);
        }
        let mut requirements = Vec::new();
        for Requirement { key, operator, values } in selector.requirements.iter().flatten() {
            match (operator.as_str(), values.as_deref()) {
                ("In", Some([value])) => requirements.push((key.clone(), value.clone(), true)),
                ("NotIn", Some([value])) => requirements.push((key.clone(), value.clone(), false)),
                _ => return Err(Unreadable),
            }
        }
        Ok(Some(FieldSelector { requirements }))
    }
}

fn check_access(body: &Value, spec: &AccessSpec, namespace: &str, kind: &str) -> Vec<Error> {
    let mut errors = Vec::new();
    let path = |name: &str| Path::new("spec").child(name);
    match (&spec.resource_attributes, &spec.non_resource_attributes) {
        (Some(_), Some(_)) => {
            let (value, why) = (non_resource(body), "cannot be specified in combination with resourceAttributes");
            errors.push(Error::invalid(&path("nonResourceAttributes"), value, why));
        }
        (None, None) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(Error::invalid(&path("resourceAttributes"), Value::Null, why));
        }
        _ => {}
    }
    let nobody = spec.user.is_empty() && spec.groups.as_ref().is_none_or(Vec::is_empty);
    if kind != "SelfSubjectAccessReview" && nobody {
        errors.push(Error::invalid(&path("user"), "", "at least one of user or group must be specified"));
    }
    let local = kind == "LocalSubjectAccessReview";
    errors.extend(check_metadata(body, local));
    if local {
        errors.extend(check_local(body, spec, namespace));
    }
    if let Some(attributes) = &spec.resource_attributes {
        let selectors = [("fieldSelector", &attributes.field_selector), ("labelSelector", &attributes.label_selector)];
        for (name, selector) in selectors {
            let path = Path::new("spec.resourceAttributes").child(name);
            errors.extend(selector.as_ref().and_then(|selector| check_selector(selector, &path)));
        }
    }
    errors
}

/// Reviews have no name: there is nothing to find again.
fn check_metadata(body: &Value, local: bool) -> Option<Error> {
    let fields = body.get("metadata").and_then(Value::as_object).into_iter().flatten();
    let empty =
        |(name, value): (&String, &Value)| value.is_null() || name == "managedFields" || (local && name == "namespace");
    let why = if local { "must be empty except for namespace" } else { "must be empty" };
    let all_empty = fields.into_iter().all(empty);
    (!all_empty).then(|| Error::invalid(&Path::new("metadata"), body["metadata"].clone(), why))
}

fn check_local(body: &Value, spec: &AccessSpec, namespace: &str) -> Vec<Error> {
    let mut errors = Vec::new();
    if let Some(attributes) = spec.resource_attributes.as_ref().filter(|own| own.namespace != namespace) {
        let path = Path::new("spec.resourceAttributes.namespace");
        errors.push(Error::invalid(&path, attributes.namespace.as_str(), "must match metadata.namespace"));
    }
    if spec.non_resource_attributes.is_some() {
        let path = Path::new("spec.nonResourceAttributes");
        errors.push(Error::invalid(&path, non_resource(body), "disallowed on this kind of request"));
    }
    errors
}

fn non_resource(body: &Value) -> Value {
    body["spec"]["nonResourceAttributes"].clone()
}

fn check_selector(selector: &Selector, path: &Path) -> Option<Error> {
    let raw = !selector.raw_selector.is_empty();
    let listed = selector.requirements.as_ref().is_some_and(|requirements| !requirements.is_empty());
    match (raw, listed) {
        (true, true) => {
            let why = "may not specified at the same time as requirements";
            Some(Error::invalid(&path.child("rawSelector"), selector.raw_selector.as_str(), why))
        }
        (false, false) => {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            Some(Error::required(&path.child("requirements"), &why))
        }
        _ => None,
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// What cannot be read counts as absent; bodies are checked against their schema before.
fn read<T: DeserializeOwned + Default>(value: Option<&Value>) -> T {
    value.and_then(|value| serde_json::from_value(value.clone()).ok()).unwrap_or_default()
}

#[cfg(test)]
#[path = "review_tests.rs"]
mod tests;
