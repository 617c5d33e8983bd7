//! What a URL's path names.

use meta::{Gvr, ResourcePath};

/// A path of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// A resource, and what follows its subresource: `proxy/REST`.
    Resource(ResourcePath, String),
    /// The older form of a watch: `/api/v1/watch/pods`.
    Watch(ResourcePath),
    /// Everything else.
    Site,
}

/// Reads a path; it is still percent-encoded.
pub(crate) fn route(path: &str) -> Route {
    let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["api", version, "watch", rest @ ..] if !rest.is_empty() => return watch("", version, rest),
        ["apis", group, version, "watch", rest @ ..] if !rest.is_empty() => return watch(group, version, rest),
        _ => {}
    }
    let found = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => resource("", version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => resource(group, version, rest),
        _ => None,
    };
    found.map_or(Route::Site, |(path, rest)| Route::Resource(path, rest))
}

fn watch(group: &str, version: &str, parts: &[&str]) -> Route {
    resource(group, version, parts).map_or(Route::Site, |(path, _)| Route::Watch(path))
}

fn decode(part: &str) -> String {
    percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned()
}

fn resource(group: &str, version: &str, parts: &[&str]) -> Option<(ResourcePath, String)> {
    // `namespaces/NS/status` and `namespaces/NS/finalize` are the namespace's own; anything else lies in it.
    let (namespace, parts) = match parts {
        ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, parts),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
        _ => (None, parts),
    };
    let (resource, name, subresource, rest) = match parts {
        [resource] => (resource, None, None, &[][..]),
        [resource, name] => (resource, Some(name), None, &[][..]),
        [resource, name, subresource, rest @ ..] => (resource, Some(name), Some(subresource), rest),
        _ => return None,
    };
    let owned = |text: Option<&&str>| text.map(|text| (*text).to_owned());
    let gvr = Gvr::new(group, version, *resource);
    Some((ResourcePath { gvr, namespace, name: owned(name), subresource: owned(subresource) }, rest.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        let check = |path: &str, expected: Option<(&str, &str, &str, &str, &str)>| {
            let found = match route(path) {
                Route::Site => None,
                Route::Resource(path, rest) => Some((path, rest)),
                Route::Watch(path) => Some((path, "watch".to_owned())),
            };
            let found = found.as_ref().map(|(path, rest)| {
                let text = |part: &'_ Option<String>| part.clone().unwrap_or_default();
                (path.gvr.qualified(), text(&path.namespace), text(&path.name), text(&path.subresource), rest.clone())
            });
            let expected = expected.map(|(a, b, c, d, e)| (a.into(), b.into(), c.into(), d.into(), e.into()));
            assert_eq!(found, expected, "{path}");
        };
        check("/api/v1/pods", Some(("pods", "", "", "", "")));
        check("/api/v1/namespaces", Some(("namespaces", "", "", "", "")));
        check("/api/v1/namespaces/a", Some(("namespaces", "", "a", "", "")));
        check("/api/v1/namespaces/a/finalize", Some(("namespaces", "", "a", "finalize", "")));
        check("/api/v1/namespaces/a/pods/b/log", Some(("pods", "a", "b", "log", "")));
        check("/api/v1/namespaces/a/pods/b:80/proxy/x/y", Some(("pods", "a", "b:80", "proxy", "x/y")));
        check("/apis/apps/v1/namespaces/a/deployments", Some(("deployments.apps", "a", "", "", "")));
        check(
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:a%3Ab",
            Some(("clusterroles.rbac.authorization.k8s.io", "", "system:a:b", "", "")),
        );
        check("/api/v1/watch/namespaces/a/pods/b", Some(("pods", "a", "b", "", "watch")));
        check("/apis/apps/v1/watch/deployments", Some(("deployments.apps", "", "", "", "watch")));
        check("/apis/a/v1/b/c/d/e", Some(("b.a", "", "c", "d", "e")));
        check("/api/v1", None);
        check("/apis/apps/v1", None);
        check("/version", None);
    }
}
