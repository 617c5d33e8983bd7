//! `serviceaccounts/NAME/token`: a TokenRequest in, the same with a token out.

use std::sync::Arc;

use jiff::SignedDuration;
use meta::field::{Error, Path};
use meta::{ApiError, Gvk, Gvr, Object, format_time};
use serde_json::{Value, json};

use super::{Bound, Claims, Reference, Tokens};

/// Seconds, where the request says nothing.
const DEFAULT_EXPIRATION: i64 = 3600;
const MIN_EXPIRATION: i64 = 10 * 60;
const MAX_EXPIRATION: i64 = 1 << 32;

/// The expiration that kubelets ask for on behalf of pods. Such a token lives longer, for programs that don't read it again.
const PROJECTED_EXPIRATION: i64 = 3607;
const EXTENDED_EXPIRATION: i64 = 365 * 24 * 3600;

/// A TokenRequest for one service account.
#[derive(Clone, Debug)]
pub struct TokenRequest<'a> {
    /// The namespace in the path.
    pub namespace: &'a str,
    /// The service account in the path.
    pub name: &'a str,
    /// The request's body.
    pub body: Value,
}

fn gvk() -> Gvk {
    Gvk::new("authentication.k8s.io", "v1", "TokenRequest")
}

impl Tokens {
    /// Answers a TokenRequest.
    pub fn request(&self, request: TokenRequest<'_>) -> Result<Value, ApiError> {
        let TokenRequest { namespace, name, mut body } = request;
        check_place(&body, namespace, name)?;
        let account = self.lookup("serviceaccounts", namespace, name)?;
        let uid = text(&body, "/metadata/uid");
        if !uid.is_empty() && uid != account.metadata.uid {
            let own = &account.metadata.uid;
            let why =
                format!("the UID in the token request ({uid}) does not match the UID of the service account ({own})");
            return Err(ApiError::conflict(&Gvr::new("authentication.k8s.io", "v1", "TokenRequest"), name, &why));
        }
        let audiences = strings(body.pointer("/spec/audiences"));
        let audiences = if audiences.is_empty() { self.audiences.clone() } else { audiences };
        let seconds = body.pointer("/spec/expirationSeconds").and_then(Value::as_i64).unwrap_or(DEFAULT_EXPIRATION);
        check_expiration(seconds)?;

        let mut bound =
            Bound { namespace: namespace.to_owned(), serviceaccount: reference(&account), ..Bound::default() };
        let wanted = body.pointer("/spec/boundObjectRef").filter(|reference| !reference.is_null());
        if let Some(wanted) = wanted {
            self.bind(&mut bound, wanted, name)?;
        }
        let now = self.clock.now();
        let extended = bound.pod.is_some()
            && seconds == PROJECTED_EXPIRATION
            && audiences.iter().all(|audience| self.audiences.contains(audience));
        let life = if extended { EXTENDED_EXPIRATION } else { seconds };
        let token = self.mint(bound, &audiences, life)?;

        for (field, value) in [("name", name), ("namespace", namespace), ("uid", &account.metadata.uid)] {
            body["metadata"][field] = json!(value);
        }
        body["kind"] = json!("TokenRequest");
        body["apiVersion"] = json!("authentication.k8s.io/v1");
        body["metadata"]["creationTimestamp"] = json!(format_time(now));
        body["spec"]["audiences"] = json!(audiences);
        body["spec"]["expirationSeconds"] = json!(seconds);
        if body.pointer("/spec/boundObjectRef").is_none() {
            body["spec"]["boundObjectRef"] = Value::Null;
        }
        let expires = format_time(now + SignedDuration::from_secs(seconds));
        body["status"] = json!({"token": token, "expirationTimestamp": expires});
        Ok(body)
    }

    /// A token that says this, for so many seconds.
    pub fn mint(&self, bound: Bound, audiences: &[String], seconds: i64) -> Result<String, ApiError> {
        let now = self.clock.now().as_second();
        let claims = Claims {
            aud: audiences.to_vec(),
            exp: now + seconds,
            iat: now,
            iss: self.issuer.clone(),
            jti: uuid::Uuid::new_v4().to_string(),
            nbf: now,
            sub: format!("system:serviceaccount:{}:{}", bound.namespace, bound.serviceaccount.name),
            bound,
        };
        self.signer.sign(&claims).map_err(|error| {
            tracing::error!(%error, "signing a service-account token");
            ApiError::internal("failed to generate token")
        })
    }

    fn bind(&self, bound: &mut Bound, wanted: &Value, account: &str) -> Result<(), ApiError> {
        let (api_version, kind, name) = (text(wanted, "/apiVersion"), text(wanted, "/kind"), text(wanted, "/name"));
        let (namespace, slot, resource) = match (api_version, kind) {
            ("v1", "Pod") => (bound.namespace.clone(), &mut bound.pod, "pods"),
            ("v1", "Secret") => (bound.namespace.clone(), &mut bound.secret, "secrets"),
            ("v1", "Node") => (String::new(), &mut bound.node, "nodes"),
            _ => {
                let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
                let text = format!("cannot bind token to object of type {}", Gvk::new(group, version, kind));
                return Err(ApiError::bad_request(text));
            }
        };
        let object = self.lookup(resource, &namespace, name)?;
        let uid = text(wanted, "/uid");
        if !uid.is_empty() && uid != object.metadata.uid {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
                 deleted and then recreated"
            );
            return Err(ApiError::conflict(&Gvr::new("", "v1", kind), name, &why));
        }
        *slot = Some(reference(&object));
        if kind == "Pod" {
            let pod = object.value();
            if text(&pod, "/spec/serviceAccountName") != account {
                return Err(ApiError::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            let node = text(&pod, "/spec/nodeName");
            if !node.is_empty() {
                let known = self.objects.get("nodes", "", node);
                let unknown = || Reference { name: node.to_owned(), uid: String::new() };
                bound.node = Some(known.as_deref().map_or_else(unknown, reference));
            }
        }
        Ok(())
    }

    fn lookup(&self, resource: &str, namespace: &str, name: &str) -> Result<Arc<Object>, ApiError> {
        let found = self.objects.get(resource, namespace, name);
        found.ok_or_else(|| ApiError::not_found(&Gvr::new("", "v1", resource), name))
    }
}

fn check_place(body: &Value, namespace: &str, name: &str) -> Result<(), ApiError> {
    for (field, wanted) in [("name", name), ("namespace", namespace)] {
        let given = text(body, &format!("/metadata/{field}"));
        if !given.is_empty() && given != wanted {
            let path = Path::new("metadata").child(field);
            let error = Error::invalid(&path, given, &format!("must match the service account {field} if specified"));
            return Err(ApiError::invalid(&gvk(), name, &[error]));
        }
    }
    Ok(())
}

fn check_expiration(seconds: i64) -> Result<(), ApiError> {
    let wrong = match seconds {
        ..MIN_EXPIRATION => "may not specify a duration less than 10 minutes",
        MIN_EXPIRATION..=MAX_EXPIRATION => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    let path = Path::new("spec").child("expirationSeconds");
    Err(ApiError::invalid(&gvk(), "", &[Error::invalid(&path, seconds, wrong)]))
}

fn reference(object: &Object) -> Reference {
    Reference { name: object.metadata.name.clone(), uid: object.metadata.uid.clone() }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
