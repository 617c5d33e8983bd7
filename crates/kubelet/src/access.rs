//! Who may use the kubelet's port. Callers are known by a certificate of the cluster's authority or by a token that the API
//! vouches for, and each request is the API's to allow: as one on this node, and on the part of it that the path names.
//!
//! Nothing is remembered between requests: what is taken from a user counts at once.

use auth::tls::Peer;
use client::Client;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Method, StatusCode};
use meta::{ApiError, Gvr, UserInfo};
use serde_json::{Value, json};

/// An answer to who may not pass.
type Refusal = (StatusCode, String);

/// Lets a request pass or says what to answer, in the words of upstream's kubelet.
pub(crate) async fn check(api: &Client, node: &str, peer: &Peer, request: &Parts) -> Result<(), Refusal> {
    let unknown = || (StatusCode::UNAUTHORIZED, "Unauthorized".to_owned());
    let user = caller(api, peer, request).await.map_err(|error| {
        tracing::warn!(%error, "ask the API whose token it is");
        unknown()
    })?;
    let user = user.ok_or_else(unknown)?;
    let (verb, subresources) = (verb(&request.method), subresources(request.uri.path()));
    for subresource in &subresources {
        let allowed = allows(api, &user, &attributes(node, verb, subresource)).await;
        let failed = |error| {
            tracing::warn!(%error, user = user.name, verb, subresource, "ask the API who may use this node");
            let text = format!("user={}, verb={verb}, resource=nodes, subresource={subresource}", user.name);
            (StatusCode::INTERNAL_SERVER_ERROR, format!("Authorization error ({text})"))
        };
        if allowed.map_err(failed)? {
            return Ok(());
        }
    }
    let list = subresources.join(" ");
    let text = format!("Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{list}])\n", user.name);
    Err((StatusCode::FORBIDDEN, text))
}

async fn caller(api: &Client, peer: &Peer, request: &Parts) -> Result<Option<UserInfo>, ApiError> {
    if let Peer::Known(user) = peer {
        return Ok(Some(UserInfo::clone(user)));
    }
    let header = request.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = header.and_then(auth::bearer) else { return Ok(None) };
    let gvr = Gvr::new("authentication.k8s.io", "v1", "tokenreviews");
    let review = json!({
        "kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token},
    });
    let answer = api.create(&gvr, "", review).await?.value();
    if answer["status"]["authenticated"] != true {
        return Ok(None);
    }
    serde_json::from_value(answer["status"]["user"].clone()).map(Some).map_err(ApiError::internal)
}

async fn allows(api: &Client, user: &UserInfo, attributes: &Value) -> Result<bool, ApiError> {
    let gvr = Gvr::new("authorization.k8s.io", "v1", "subjectaccessreviews");
    let review = json!({
        "kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
        "spec": {
            "user": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra,
            "resourceAttributes": attributes,
        },
    });
    Ok(api.create(&gvr, "", review).await?.value()["status"]["allowed"] == true)
}

fn attributes(node: &str, verb: &str, subresource: &str) -> Value {
    json!({"version": "v1", "resource": "nodes", "name": node, "verb": verb, "subresource": subresource})
}

fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "GET" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

/// What of the node a path is about; any of them may be allowed.
fn subresources(path: &str) -> Vec<&'static str> {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "stats" => vec!["stats"],
        "metrics" => vec!["metrics"],
        "logs" => vec!["log"],
        "checkpoint" => vec!["checkpoint"],
        "statusz" => vec!["statusz"],
        "flagz" => vec!["configz"],
        "pods" | "runningpods" => vec!["pods", "proxy"],
        "healthz" => vec!["healthz", "proxy"],
        "configz" => vec!["configz", "proxy"],
        _ => vec!["proxy"],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_parts_of_the_node() {
        let check = |path: &str, expected: &[&str]| assert_eq!(subresources(path), expected, "{path}");
        check("/stats/summary", &["stats"]);
        check("/metrics", &["metrics"]);
        check("/metrics/resource", &["metrics"]);
        check("/metricsx", &["proxy"]);
        check("/logs/", &["log"]);
        check("/pods", &["pods", "proxy"]);
        check("/healthz/ping", &["healthz", "proxy"]);
        check("/containerLogs/ns/pod/c", &["proxy"]);
        check("/exec/ns/pod/c", &["proxy"]);
        check("/", &["proxy"]);
    }

    #[test]
    fn methods_are_verbs() {
        let check = |method: Method, expected: &str| assert_eq!(verb(&method), expected);
        check(Method::GET, "get");
        check(Method::POST, "create");
        check(Method::HEAD, "");
    }
}
