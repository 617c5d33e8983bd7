//! Whether the server is well: `/livez`, `/readyz`, `/healthz`, each check by its name or all of them.

use http::{Response, StatusCode};
use meta::ApiError;

use crate::query::Query;
use crate::response::{Body, page_not_found, whole};

/// What can be asked for. A server that answers has passed all of them: it only opens its socket when everything is loaded, and
/// ends when the store does.
const CHECKS: &[&str] = &["ping", "log", "etcd", "informer-sync", "poststarthook/rbac/bootstrap-roles"];
/// Those that only readiness and health know.
const READY: &[&str] = &["informer-sync"];

/// The answer to a path of health, if it is one.
pub(crate) fn answer(path: &str, query: Option<&str>) -> Option<Result<Response<Body>, ApiError>> {
    let (kind, check) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    if !matches!(kind, "livez" | "readyz" | "healthz") {
        return None;
    }
    let mut checks = CHECKS.iter().filter(|own| kind != "livez" || !READY.contains(own));
    if !check.is_empty() {
        let known = checks.any(|own| *own == check);
        return Some(Ok(if known { text("ok".to_owned()) } else { page_not_found() }));
    }
    let query = Query::parse(query);
    let excluded: Vec<&str> = query.all("exclude").collect();
    if query.get("verbose").is_none() {
        return Some(Ok(text("ok".to_owned())));
    }
    let mut lines = String::new();
    for check in checks {
        let outcome = if excluded.contains(check) { "excluded: ok" } else { "ok" };
        lines += &format!("[+]{check} {outcome}\n");
    }
    for unknown in excluded.iter().filter(|own| !CHECKS.contains(own)) {
        lines += &format!("warn: some health checks cannot be excluded: no matches for {unknown:?}\n");
    }
    lines += &format!("{kind} check passed\n");
    Some(Ok(text(lines)))
}

fn text(text: String) -> Response<Body> {
    whole(StatusCode::OK, "text/plain; charset=utf-8", text)
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn health_is_told_in_detail_to_those_who_ask() {
        let check = async |path: &str, query: Option<&str>, expected: &str| {
            let response = answer(path, query).expect("a path of health").expect("an answer");
            let body = response.into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(String::from_utf8_lossy(&body), expected, "{path} {query:?}");
        };
        check("/healthz", None, "ok").await;
        check("/livez/ping", None, "ok").await;
        let lines = "[+]ping ok\n[+]log ok\n[+]etcd excluded: ok\n[+]poststarthook/rbac/bootstrap-roles ok\nlivez check passed\n";
        check("/livez", Some("verbose&exclude=etcd"), lines).await;
        let nonsense = answer("/readyz/nonsense", None).expect("a path of health").expect("an answer");
        assert_eq!(nonsense.status(), StatusCode::NOT_FOUND);
        assert!(answer("/version", None).is_none());
    }
}
