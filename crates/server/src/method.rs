//! What a method means on a path, and whether the path has it.

use http::Method;
use kinds::Resource;
use meta::{ApiError, Reason, ResourcePath, Verb};

/// The verb that rules are asked about; `None` for methods that mean nothing.
pub(crate) fn verb(method: &Method, path: &ResourcePath, watching: bool) -> Option<Verb> {
    let collection = path.name.is_none();
    Some(match *method {
        Method::GET | Method::HEAD if watching => Verb::Watch,
        Method::GET | Method::HEAD if collection => Verb::List,
        Method::GET | Method::HEAD => Verb::Get,
        Method::POST => Verb::Create,
        Method::PUT => Verb::Update,
        Method::PATCH => Verb::Patch,
        Method::DELETE if collection => Verb::DeleteCollection,
        Method::DELETE => Verb::Delete,
        _ => return None,
    })
}

/// Refuses a path that a resource doesn't have, and a method that the path doesn't have.
pub(crate) fn check(row: &Resource, path: &ResourcePath, method: &Method, watching: bool) -> Result<(), ApiError> {
    let verb = verb(method, path, watching);
    let verbs = verbs(row, path).ok_or_else(ApiError::no_such_resource)?;
    let own = |verb: Verb| verbs.contains(&verb.as_str()) && *method != Method::HEAD;
    if verb.is_some_and(own) {
        return Ok(());
    }
    // Compat: upstream's router never sees custom resources; their handler has words of its own.
    if row.custom.is_some() {
        return Err(ApiError::method_not_supported(&row.gvr(), verb.map_or("", Verb::as_str)));
    }
    let text = "the server does not allow this method on the requested resource";
    Err(ApiError::new(Reason::MethodNotAllowed, text))
}

/// The verbs that a path has; `None` where there is no such path.
fn verbs<'a>(row: &'a Resource, path: &ResourcePath) -> Option<Vec<&'a str>> {
    let of = |wanted: &[&str]| row.verbs.iter().copied().filter(|verb| wanted.contains(verb)).collect();
    let everywhere = row.namespaced && path.namespace.is_none();
    if !row.namespaced && path.namespace.is_some() {
        return None;
    }
    match (&path.name, path.subresource.as_deref()) {
        (None, _) if everywhere => row.verbs.contains(&"list").then(|| of(&["list", "watch"])),
        (None, _) => Some(of(&["create", "list", "watch", "deletecollection"])),
        (Some(_), _) if everywhere => None,
        (Some(_), None) => {
            let verbs = of(&["get", "watch", "update", "patch", "delete"]);
            (!verbs.is_empty()).then_some(verbs)
        }
        (Some(_), Some(name)) => row.subresource(name).map(|subresource| subresource.verbs.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::{Route, route};

    #[test]
    fn every_path_has_its_methods() {
        let code = |method: Method, path: &str, expected: u16| {
            let Route::Resource(path, _) = route(path) else { panic!("{path} is no resource") };
            let row = kinds::all().iter().find(|row| row.gvr() == path.gvr).expect("a resource");
            let found = check(row, &path, &method, false).map_or_else(|error| error.code(), |()| 200);
            assert_eq!(found, expected, "{method} {path:?}");
        };
        code(Method::GET, "/api/v1/pods", 200);
        code(Method::DELETE, "/api/v1/pods", 405);
        code(Method::POST, "/api/v1/pods", 405);
        code(Method::DELETE, "/api/v1/namespaces/a/pods", 200);
        code(Method::PUT, "/api/v1/namespaces/a/pods", 405);
        code(Method::GET, "/api/v1/pods/a", 404);
        code(Method::HEAD, "/api/v1/namespaces/a/pods/a", 405);
        code(Method::OPTIONS, "/api/v1/namespaces/a/pods/a", 405);
        code(Method::POST, "/api/v1/namespaces/a/pods/a", 405);
        code(Method::POST, "/api/v1/namespaces/a/pods/a/eviction", 200);
        code(Method::PUT, "/api/v1/namespaces/a/configmaps/a/status", 404);
        code(Method::GET, "/api/v1/namespaces/a/nodes", 404);
        code(Method::GET, "/api/v1/bindings", 404);
        code(Method::GET, "/api/v1/namespaces/a/bindings", 405);
        code(Method::GET, "/api/v1/namespaces/a/bindings/a", 404);
        code(Method::DELETE, "/api/v1/namespaces", 405);
    }
}
