//! What a request wants to do, in the words of authorization.

use meta::{ApiError, FieldSelector, Gvr, Reason, UserInfo};

/// A request as authorizers see it.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    /// Who asks.
    pub user: &'a UserInfo,
    /// `get`, `list`, … for resources; the lower-case HTTP method for paths.
    pub verb: &'a str,
    /// What it is about.
    pub target: Target<'a>,
}

/// What a request is about.
#[derive(Clone, Debug)]
pub enum Target<'a> {
    /// A resource of the API. Absent parts are empty.
    Resource {
        /// The API group.
        group: &'a str,
        /// The version, or `*`.
        version: &'a str,
        /// The resource, lower-case plural.
        resource: &'a str,
        /// For example `status`.
        subresource: &'a str,
        /// The namespace; empty at the cluster's scope.
        namespace: &'a str,
        /// The object; empty for collections.
        name: &'a str,
        /// What a list, watch or deletecollection is narrowed to.
        fields: Option<&'a FieldSelector>,
    },
    /// Any other path, for example `/version`.
    Path(&'a str),
}

impl<'a> Attributes<'a> {
    /// A request on a resource at any version.
    pub fn resource(user: &'a UserInfo, verb: &'a str, group: &'a str, resource: &'a str) -> Self {
        let target =
            Target::Resource { group, version: "*", resource, subresource: "", namespace: "", name: "", fields: None };
        Self { user, verb, target }
    }

    /// A request on a path.
    pub fn path(user: &'a UserInfo, verb: &'a str, path: &'a str) -> Self {
        Self { user, verb, target: Target::Path(path) }
    }

    /// The same in a namespace, on an object. Changes nothing about paths.
    #[must_use]
    pub fn at(mut self, to: &'a str, object: &'a str) -> Self {
        if let Target::Resource { namespace, name, .. } = &mut self.target {
            (*namespace, *name) = (to, object);
        }
        self
    }

    /// The same on a subresource. Changes nothing about paths.
    #[must_use]
    pub fn subresource(mut self, of: &'a str) -> Self {
        if let Target::Resource { subresource, .. } = &mut self.target {
            *subresource = of;
        }
        self
    }

    /// The namespace that rules are looked up in.
    pub fn namespace(&self) -> &'a str {
        match &self.target {
            Target::Resource { namespace, .. } => namespace,
            Target::Path(_) => "",
        }
    }

    /// The answer to a request that nobody allowed. `reason` is the authorizers'.
    pub fn forbidden(&self, reason: &str) -> ApiError {
        let text = escape(&self.forbidden_text());
        let text = if reason.is_empty() { text } else { format!("{text}: {reason}") };
        match &self.target {
            Target::Resource { group, version, resource, name, .. } => {
                ApiError::forbidden(&Gvr::new(*group, *version, *resource), name, &text)
            }
            // Compat: upstream builds it for an empty resource, hence the text.
            Target::Path(_) => {
                let mut error = ApiError::new(Reason::Forbidden, format!("forbidden: {text}"));
                error.details = Some(Box::default());
                error
            }
        }
    }

    fn forbidden_text(&self) -> String {
        let (user, verb) = (&self.user.name, self.verb);
        match &self.target {
            Target::Path(path) => format!("User {user:?} cannot {verb} path {path:?}"),
            Target::Resource { group, resource, subresource, namespace, .. } => {
                let slash = if subresource.is_empty() { "" } else { "/" };
                let place = match *namespace {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace {namespace:?}"),
                };
                let what = format!("{resource}{slash}{subresource}");
                format!("User {user:?} cannot {verb} resource {what:?} in API group {group:?} {place}")
            }
        }
    }
}

/// Error texts must not look like HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_upstreams() {
        let user = UserInfo::new("x<y>", &[]);
        let check = |attributes: Attributes<'_>, reason: &str, expected: &str| {
            let error = attributes.forbidden(reason);
            assert_eq!((error.message.as_str(), error.code()), (expected, 403));
        };
        check(
            Attributes::resource(&user, "list", "", "pods").at("y", ""),
            "",
            "pods is forbidden: User \"x&lt;y&gt;\" cannot list resource \"pods\" in API group \"\" in the namespace \"y\"",
        );
        check(
            Attributes::resource(&user, "update", "apps", "deployments").at("", "d").subresource("scale"),
            "because",
            "deployments.apps \"d\" is forbidden: User \"x&lt;y&gt;\" cannot update resource \"deployments/scale\" in API group \
             \"apps\" at the cluster scope: because",
        );
        check(Attributes::path(&user, "get", "/x"), "", "forbidden: User \"x&lt;y&gt;\" cannot get path \"/x\"");
    }
}
