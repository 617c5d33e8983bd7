//! Who may do what, and who answers: everything between a call and the registry.

use std::sync::Arc;

use admission::Dial;
use auth::node::Graph;
use auth::rbac::Rbac;
use auth::token::{TokenRequest, Tokens};
use auth::{Attributes, Authenticator, Authorizer, Review, Reviews, Target};
use meta::{ApiError, Call, Clock, Gvr, Object, Reply, ResourcePath, UserInfo, Verb, WatchOptions};
use registry::{Registry, WatchStream};
use serde_json::Value;

use crate::aggregation::Aggregator;
use crate::fairness::Flows;
use crate::in_flight::InFlight;
use crate::telemetry::Telemetry;

/// What the front door is made of.
pub struct DoorConfig {
    /// Serves objects.
    pub registry: Arc<Registry>,
    /// Knows who is asking.
    pub authenticator: Arc<Authenticator>,
    /// Decides who may do what.
    pub authorizer: Arc<dyn Authorizer>,
    /// The roles and bindings that the authorizer looks at; kept up to date from the registry.
    pub rbac: Arc<Rbac>,
    /// The nodes' pods that the authorizer looks at; kept up to date from the registry.
    pub graph: Arc<Graph>,
    /// Makes service accounts' tokens.
    pub tokens: Arc<Tokens>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// TLS towards kubelets: trusts their authority and shows the server's client certificate.
    pub kubelet_tls: Arc<rustls::ClientConfig>,
    /// The certificate that is shown to aggregated API servers.
    pub front_proxy: Arc<dyn rustls::client::ResolvesClientCert>,
    /// Opens connections to nodes and to aggregated API servers.
    pub dial: Arc<dyn Dial>,
    /// Host and port by which clients reach the server, for example `10.0.0.1:6443`: what discovery and OpenID documents name.
    pub address: String,
}

/// The front door.
pub struct Door {
    pub(crate) config: DoorConfig,
    pub(crate) aggregator: Arc<Aggregator>,
    pub(crate) flows: Arc<Flows>,
    pub(crate) in_flight: InFlight,
    pub(crate) telemetry: Telemetry,
    reviews: Reviews,
}

impl Door {
    /// Opens it. Roles and bindings that are stored already are known when this returns.
    pub fn open(config: DoorConfig) -> Arc<Self> {
        let reviews =
            Reviews { authenticator: Arc::clone(&config.authenticator), authorizer: Arc::clone(&config.authorizer) };
        let aggregator = Arc::new(Aggregator::new(Arc::clone(&config.front_proxy)));
        let flows = Arc::new(Flows::default());
        crate::feeds::start(&config, &aggregator, &flows);
        let (in_flight, telemetry) = (InFlight::default(), Telemetry::default());
        Arc::new(Self { config, aggregator, flows, in_flight, telemetry, reviews })
    }

    /// Carries out a call for a user, if the user may.
    pub(crate) async fn call(&self, user: &UserInfo, path: &ResourcePath, call: Call) -> Result<Reply, ApiError> {
        self.authorize(user, path, call.verb(), fields(&call))?;
        self.answer(user, path, call).await
    }

    /// Opens a watch for a user, if the user may.
    pub(crate) fn watch(
        &self,
        user: &UserInfo,
        path: &ResourcePath,
        options: WatchOptions,
    ) -> Result<WatchStream, ApiError> {
        self.authorize(user, path, Verb::Watch, Some(&options.fields))?;
        self.config.registry.watch(path, options)
    }

    /// Carries out a call that the user may make.
    pub(crate) async fn answer(&self, user: &UserInfo, path: &ResourcePath, call: Call) -> Result<Reply, ApiError> {
        if let Some(answer) = crate::components::answer(path, &call) {
            return answer;
        }
        let Call::Create { object, .. } = &call else {
            return self.config.registry.call(user, path, call).await;
        };
        let namespace = path.namespace.as_deref().unwrap_or_default();
        if let (Some("token"), "serviceaccounts", Some(name)) =
            (path.subresource.as_deref(), path.gvr.resource.as_str(), &path.name)
        {
            let request = TokenRequest { namespace, name, body: object.clone() };
            return unstored(&self.config.tokens.request(request)?);
        }
        let now = self.config.clock.now();
        let review = Review { resource: &path.gvr.resource, namespace, user, now, body: object.clone() };
        let is_review = matches!(path.gvr.group.as_str(), "authentication.k8s.io" | "authorization.k8s.io");
        match is_review.then(|| self.reviews.answer(review)).flatten() {
            Some(answer) => unstored(&answer?),
            None => self.config.registry.call(user, path, call).await,
        }
    }

    /// Refuses in upstream's words what the user may not do.
    pub(crate) fn authorize(
        &self,
        user: &UserInfo,
        path: &ResourcePath,
        verb: Verb,
        fields: Option<&meta::FieldSelector>,
    ) -> Result<(), ApiError> {
        self.authorize_named(user, path, verb.as_str(), (name_of(path, verb, fields), fields))
    }

    /// The same for any verb, with the name and the fields that rules are asked about.
    pub(crate) fn authorize_named(
        &self,
        user: &UserInfo,
        path: &ResourcePath,
        verb: &str,
        (name, fields): (&str, Option<&meta::FieldSelector>),
    ) -> Result<(), ApiError> {
        let target = Target::Resource {
            group: &path.gvr.group,
            version: &path.gvr.version,
            resource: &path.gvr.resource,
            subresource: path.subresource.as_deref().unwrap_or_default(),
            namespace: namespace_of(path),
            name,
            fields,
        };
        self.config.authorizer.check(&Attributes { user, verb, target })
    }

    /// Refuses in upstream's words a path that the user may not ask for.
    pub(crate) fn authorize_path(&self, user: &UserInfo, verb: &str, path: &str) -> Result<(), ApiError> {
        self.config.authorizer.check(&Attributes::path(user, verb, path))
    }

    /// One object as the cache has it.
    pub(crate) fn cached(&self, resource: &str, namespace: &str, name: &str) -> Result<Arc<Object>, ApiError> {
        let gvr = Gvr::new("", "v1", resource);
        self.config.registry.get_cached(&gvr, namespace, name).ok_or_else(|| ApiError::not_found(&gvr, name))
    }
}

/// Compat: a list or watch of one name, by a field selector, asks for that object; roles with resourceNames and nodes rely on it.
fn name_of<'a>(path: &'a ResourcePath, verb: Verb, fields: Option<&'a meta::FieldSelector>) -> &'a str {
    let selected = match verb {
        Verb::List | Verb::Watch => fields.and_then(|fields| fields.required("metadata.name")),
        Verb::Get | Verb::Create | Verb::Update | Verb::Patch | Verb::Delete | Verb::DeleteCollection => None,
    };
    path.name.as_deref().or(selected).unwrap_or_default()
}

/// Compat: for rules, a namespace lies in itself.
fn namespace_of(path: &ResourcePath) -> &str {
    let is_namespace = path.gvr.group.is_empty() && path.gvr.resource == "namespaces";
    let own = if is_namespace { path.name.as_deref() } else { None };
    path.namespace.as_deref().or(own).unwrap_or_default()
}

fn fields(call: &Call) -> Option<&meta::FieldSelector> {
    match call {
        Call::List(options) | Call::DeleteCollection(options, _) => Some(&options.fields),
        Call::Get { .. } | Call::Create { .. } | Call::Update { .. } | Call::Patch { .. } | Call::Delete(_) => None,
    }
}

fn unstored(answer: &Value) -> Result<Reply, ApiError> {
    let object = Object::from_value(answer).map_err(ApiError::internal)?;
    Ok(Reply::Object { object: Arc::new(object), created: true, warnings: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selected_name_counts_for_lists_and_watches() {
        let check = |verb: Verb, selector: &str, expected: &str| {
            let path = ResourcePath::collection(Gvr::new("", "v1", "configmaps"), "default");
            let fields = meta::FieldSelector::parse(selector).expect("a selector");
            assert_eq!(name_of(&path, verb, Some(&fields)), expected, "{verb:?} {selector}");
        };
        check(Verb::List, "metadata.name=a", "a");
        check(Verb::Watch, "metadata.namespace=x,metadata.name=a", "a");
        check(Verb::Watch, "metadata.name!=a", "");
        check(Verb::DeleteCollection, "metadata.name=a", "");
    }
}
