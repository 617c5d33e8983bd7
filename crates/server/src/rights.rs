//! What users may do, for the expressions of admission.

use std::fmt;
use std::sync::Arc;

use admission::Question;
use auth::{Attributes, Authorizer, Target};
use meta::UserInfo;

/// Answers as the authorizer does.
pub struct Rights(pub Arc<dyn Authorizer>);

impl fmt::Debug for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rights")
    }
}

impl admission::Rights for Rights {
    fn check(&self, user: &UserInfo, question: &Question) -> (bool, String) {
        let Question { verb, path, group, resource, subresource, namespace, name } = question;
        let attributes = match path {
            Some(path) => Attributes::path(user, verb, path),
            None => {
                let target =
                    Target::Resource { group, version: "*", resource, subresource, namespace, name, fields: None };
                Attributes { user, verb, target }
            }
        };
        let decision = self.0.authorize(&attributes);
        (decision.allowed(), decision.reason.to_string())
    }
}
