//! Acting as somebody else: what the `Impersonate-*` headers ask for, and whether that may be.

use std::collections::BTreeMap;

use meta::{ApiError, UserInfo};
use percent_encoding::percent_decode_str;

use crate::attributes::Attributes;
use crate::authorizer::Authorizer;

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const EXTRA_PREFIX: &str = "impersonate-extra-";

/// Who a request wants to act as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impersonation {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Impersonation {
    /// Reads a request's headers; names in any case. `None` where nothing is asked for.
    pub fn from_headers<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Option<Self>, ApiError> {
        let mut wanted = Self::default();
        for (name, value) in headers {
            let name = name.to_ascii_lowercase();
            match name.as_str() {
                "impersonate-user" => wanted.user = value.to_owned(),
                "impersonate-uid" => wanted.uid = value.to_owned(),
                "impersonate-group" => wanted.groups.push(value.to_owned()),
                other => {
                    if let Some(key) = other.strip_prefix(EXTRA_PREFIX) {
                        let key = percent_decode_str(key).decode_utf8_lossy().into_owned();
                        wanted.extra.entry(key).or_default().push(value.to_owned());
                    }
                }
            }
        }
        if !wanted.user.is_empty() {
            return Ok(Some(wanted));
        }
        if wanted == Self::default() {
            return Ok(None);
        }
        let Self { uid, groups, extra, .. } = wanted;
        Err(ApiError::bad_request(format!(
            "requested uid {uid:?}, groups {groups:?}, extra {extra:?} without impersonating a user name"
        )))
    }

    /// Whether `user` may act so, and who that makes it.
    pub fn authorize(&self, user: &UserInfo, authorizer: &dyn Authorizer) -> Result<UserInfo, ApiError> {
        const GROUP: &str = "authentication.k8s.io";
        let of = |group, resource| Attributes::resource(user, "impersonate", group, resource);
        let account = service_account(&self.user);
        match account {
            Some((namespace, name)) => authorizer.check(&of("", "serviceaccounts").at(namespace, name))?,
            None => authorizer.check(&of("", "users").at("", &self.user))?,
        }
        for group in &self.groups {
            authorizer.check(&of("", "groups").at("", group))?;
        }
        for (key, values) in &self.extra {
            for value in values {
                authorizer.check(&of(GROUP, "userextras").subresource(key).at("", value))?;
            }
        }
        if !self.uid.is_empty() {
            authorizer.check(&of(GROUP, "uids").at("", &self.uid))?;
        }
        Ok(self.user(account))
    }

    fn user(&self, account: Option<(&str, &str)>) -> UserInfo {
        let mut groups = self.groups.clone();
        if let Some((namespace, _)) = account.filter(|_| groups.is_empty()) {
            groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        }
        let is_in = |group: &str| groups.iter().any(|own| own == group);
        if self.user == "system:anonymous" {
            if !is_in(UNAUTHENTICATED) {
                groups.push(UNAUTHENTICATED.to_owned());
            }
        } else if !is_in(AUTHENTICATED) && !is_in(UNAUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        UserInfo { name: self.user.clone(), uid: self.uid.clone(), groups, extra: self.extra.clone() }
    }
}

/// Namespace and name in a service account's user name.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::attributes::Target;
    use crate::authorizer::{Decision, RuleSet};

    /// Allows all but one resource, and writes down what it was asked.
    struct Ask {
        refuse: &'static str,
        asked: Mutex<Vec<String>>,
    }

    impl Authorizer for Ask {
        fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
            let Target::Resource { group, resource, subresource, namespace, name, .. } = &attributes.target else {
                panic!("impersonation is of resources")
            };
            let question = format!("{group}/{resource}/{subresource} {namespace}/{name}");
            self.asked.lock().expect("one thread").push(question);
            if *resource == self.refuse { Decision::no_opinion("") } else { Decision::allow("") }
        }

        fn rules_for(&self, _user: &UserInfo, _namespace: &str) -> RuleSet {
            RuleSet::default()
        }
    }

    fn check(headers: &[(&str, &str)], asked: &[&str], groups: &[&str]) -> UserInfo {
        let ask = Ask { refuse: "nothing", asked: Mutex::default() };
        let wanted = Impersonation::from_headers(headers.iter().copied()).expect("well formed").expect("something");
        let user = wanted.authorize(&UserInfo::new("admin", &[]), &ask).expect("allowed");
        assert_eq!(*ask.asked.lock().expect("one thread"), asked);
        assert_eq!(user.groups, groups);
        user
    }

    #[test]
    fn every_part_is_asked_for() {
        check(&[("Impersonate-User", "ann")], &["/users/ /ann"], &["system:authenticated"]);
        check(
            &[("Impersonate-User", "ann"), ("Impersonate-Group", "a"), ("Impersonate-Group", "system:unauthenticated")],
            &["/users/ /ann", "/groups/ /a", "/groups/ /system:unauthenticated"],
            &["a", "system:unauthenticated"],
        );
        check(
            &[("Impersonate-User", "system:serviceaccount:ns:bot")],
            &["/serviceaccounts/ ns/bot"],
            &["system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"],
        );
        check(&[("Impersonate-User", "system:anonymous")], &["/users/ /system:anonymous"], &["system:unauthenticated"]);
        let user = check(
            &[("impersonate-user", "ann"), ("Impersonate-Extra-Acme%2Fscope", "x"), ("Impersonate-Uid", "u")],
            &["/users/ /ann", "authentication.k8s.io/userextras/acme/scope /x", "authentication.k8s.io/uids/ /u"],
            &["system:authenticated"],
        );
        assert_eq!((user.uid.as_str(), &user.extra["acme/scope"]), ("u", &vec!["x".to_owned()]));
    }

    #[test]
    fn what_may_not_be_is_refused() {
        assert_eq!(Impersonation::from_headers([("Accept", "x")]), Ok(None));
        let error = Impersonation::from_headers([("Impersonate-Group", "x")]).expect_err("no user");
        assert_eq!(error.code(), 400);
        let ask = Ask { refuse: "groups", asked: Mutex::default() };
        let headers = [("Impersonate-User", "ann"), ("Impersonate-Group", "system:masters")];
        let wanted = Impersonation::from_headers(headers).expect("well formed").expect("something");
        let error = wanted.authorize(&UserInfo::new("bob", &[]), &ask).expect_err("not for bob");
        assert_eq!(
            error.message,
            "groups \"system:masters\" is forbidden: User \"bob\" cannot impersonate resource \"groups\" in API group \"\" at \
             the cluster scope"
        );
    }
}
