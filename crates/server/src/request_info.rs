//! What a request asks for, before anybody looks at what there is: its route, its verb, and whether it lasts.

use http::{Method, Uri};
use meta::ResourcePath;

use crate::in_flight::Sort;
use crate::method;
use crate::query::Query;
use crate::route::{Route, route};

/// Subresources whose requests last as long as somebody wants them. Compat: upstream's.
const LASTING: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// A request in brief.
#[derive(Clone, Debug)]
pub(crate) struct RequestInfo {
    route: Route,
    path: String,
    verb: String,
}

impl RequestInfo {
    /// Reads a request's first line.
    pub(crate) fn read(method: &Method, uri: &Uri) -> Self {
        let path = uri.path().to_owned();
        let route = route(&path);
        let verb = match &route {
            Route::Site => method.as_str().to_ascii_lowercase(),
            Route::Watch(_) => "watch".to_owned(),
            Route::Resource(resource, _) => {
                let watching = resource.name.is_none() && Query::parse(uri.query()).flag("watch");
                method::verb(method, resource, watching).map_or("", meta::Verb::as_str).to_owned()
            }
        };
        Self { route, path, verb }
    }

    /// Where it leads.
    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// Its path as it was sent.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// What it wants to do, as rules call it.
    pub(crate) fn verb(&self) -> &str {
        &self.verb
    }

    /// The resource it is about.
    pub(crate) fn resource(&self) -> Option<&ResourcePath> {
        match &self.route {
            Route::Resource(path, _) | Route::Watch(path) => Some(path),
            Route::Site => None,
        }
    }

    /// Whether it may go on for as long as somebody wants it.
    pub(crate) fn is_lasting(&self) -> bool {
        let subresource = self.resource().and_then(|path| path.subresource.as_deref());
        self.verb == "watch" || subresource.is_some_and(|own| LASTING.contains(&own))
    }

    /// Whether it reads or writes.
    pub(crate) fn sort(&self) -> Sort {
        if matches!(self.verb.as_str(), "get" | "list" | "watch" | "head") { Sort::Read } else { Sort::Write }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_known_by_verb_and_subresource() {
        let check = |method: Method, uri: &str, expected: (&str, bool, Sort)| {
            let info = RequestInfo::read(&method, &uri.parse().expect("a URI"));
            assert_eq!((info.verb(), info.is_lasting(), info.sort()), expected, "{method} {uri}");
        };
        check(Method::GET, "/api/v1/pods?watch=1", ("watch", true, Sort::Read));
        check(Method::GET, "/api/v1/watch/pods", ("watch", true, Sort::Read));
        check(Method::GET, "/api/v1/namespaces/a/pods/b?watch=1", ("get", false, Sort::Read));
        check(Method::POST, "/api/v1/namespaces/a/pods/b/exec", ("create", true, Sort::Write));
        check(Method::DELETE, "/api/v1/namespaces/a/pods", ("deletecollection", false, Sort::Write));
        check(Method::GET, "/version", ("get", false, Sort::Read));
    }
}
