//! API aggregation: for groups and versions that an APIService gives to a server behind a service, that server answers in our
//! place. Discovery and OpenAPI show what it serves beside our own.
//!
//! An [`Aggregator`] is the index of those APIServices; [`Availability`] finds out whether each answers, and [`Registration`]
//! keeps an APIService for everything that is served here.

mod availability;
mod fetch;
mod forward;
mod priority;
mod registration;
mod remote;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use meta::{GroupVersion, Gvr, Object, WatchEvent, WatchKind};
use rustls::client::ResolvesClientCert;
use serde_json::Value;

pub use availability::Availability;
pub(crate) use fetch::Learned;
pub(crate) use forward::forward;
pub(crate) use priority::Priority;
pub use registration::Registration;
pub(crate) use remote::Remote;

/// Group, version and resource of APIServices.
pub(crate) const API_SERVICES: (&str, &str, &str) = ("apiregistration.k8s.io", "v1", "apiservices");

fn api_services() -> Gvr {
    let (group, version, resource) = API_SERVICES;
    Gvr::new(group, version, resource)
}

/// The servers that answer in our place.
pub(crate) struct Aggregator {
    certificate: Arc<dyn ResolvesClientCert>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    remotes: Arc<BTreeMap<GroupVersion, Arc<Remote>>>,
    learned: BTreeMap<GroupVersion, Arc<Learned>>,
}

impl Aggregator {
    /// Knows no servers yet; each will be shown this certificate.
    pub(crate) fn new(certificate: Arc<dyn ResolvesClientCert>) -> Self {
        Self { certificate, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    pub(crate) fn remotes(&self) -> Arc<BTreeMap<GroupVersion, Arc<Remote>>> {
        Arc::clone(&self.state().remotes)
    }

    /// Who answers for a path of the API; `None` for what is answered here.
    pub(crate) fn remote_of(&self, path: &str) -> Option<Arc<Remote>> {
        let remotes = self.remotes();
        if remotes.is_empty() {
            return None;
        }
        remotes.get(&group_version(path)?).cloned()
    }

    /// What a server said that it serves, when it was last asked.
    pub(crate) fn learned(&self, gv: &GroupVersion) -> Option<Arc<Learned>> {
        self.state().learned.get(gv).cloned()
    }

    fn learn(&self, gv: &GroupVersion, learned: Learned) {
        self.state().learned.insert(gv.clone(), Arc::new(learned));
    }

    /// Takes in an APIService as it is now.
    pub(crate) fn put(&self, object: &Object) {
        let value = object.value();
        let gv = served(&value);
        let known = self.remotes().get(&gv).cloned();
        match Remote::read(&value, known.as_deref(), &self.certificate) {
            Some(remote) => {
                let mut state = self.state();
                let mut remotes = BTreeMap::clone(&state.remotes);
                remotes.insert(gv, Arc::new(remote));
                state.remotes = Arc::new(remotes);
            }
            None => self.forget(&gv),
        }
    }

    /// Follows a change of an APIService.
    pub(crate) fn apply(&self, event: &WatchEvent) {
        match event.kind {
            WatchKind::Added | WatchKind::Modified => self.put(&event.object),
            WatchKind::Deleted => self.forget(&served(&event.object.value())),
            WatchKind::Bookmark => {}
        }
    }

    fn forget(&self, gv: &GroupVersion) {
        let mut state = self.state();
        state.learned.remove(gv);
        if state.remotes.contains_key(gv) {
            let mut remotes = BTreeMap::clone(&state.remotes);
            remotes.remove(gv);
            state.remotes = Arc::new(remotes);
        }
    }
}

/// The group and version that an APIService is about.
fn served(service: &Value) -> GroupVersion {
    let text = |field: &str| service["spec"][field].as_str().unwrap_or_default();
    GroupVersion::new(text("group"), text("version"))
}

/// The group and version that a path lies in.
fn group_version(path: &str) -> Option<GroupVersion> {
    let mut parts = path.trim_start_matches('/').split('/');
    match (parts.next()?, parts.next()?) {
        ("api", version) if !version.is_empty() => Some(GroupVersion::new("", version)),
        ("apis", group) => Some(GroupVersion::new(group, parts.next().filter(|version| !version.is_empty())?)),
        _ => None,
    }
}

/// Shows no certificate.
#[cfg(test)]
#[derive(Debug)]
struct Nobody;

#[cfg(test)]
impl ResolvesClientCert for Nobody {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

#[cfg(test)]
impl Aggregator {
    /// Knows no servers, and has no certificate.
    pub(crate) fn nobody() -> Self {
        Self::new(Arc::new(Nobody))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_whoever_serves_their_group_and_version() {
        let aggregator = Aggregator::nobody();
        let service = |reference: Value| {
            Object::from_value(&json!({
                "kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1", "metadata": {"name": "v1.example.com"},
                "spec": {"group": "example.com", "version": "v1", "service": reference, "insecureSkipTLSVerify": true},
                "status": {"conditions": [{"type": "Available", "status": "True"}]},
            }))
            .expect("an object")
        };
        let check = |path: &str, expected: bool| assert_eq!(aggregator.remote_of(path).is_some(), expected, "{path}");
        check("/apis/example.com/v1", false);
        aggregator.put(&service(json!({"namespace": "a", "name": "b"})));
        check("/apis/example.com/v1", true);
        check("/apis/example.com/v1/namespaces/a/things/b/log", true);
        check("/apis/example.com", false);
        check("/apis/example.com/v2/things", false);
        check("/api/v1/pods", false);
        aggregator.put(&service(Value::Null));
        check("/apis/example.com/v1", false);
    }
}
