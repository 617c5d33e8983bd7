//! Priority and fairness: which flow a request belongs to, by the FlowSchemas, and what priority level that has.
//!
//! [`Flows`] is the index of both kinds; [`Fairness`] keeps the objects that every cluster has and the schemas' status. Requests
//! of a flow are told so in their answers. They wait in no queues here: [`crate::in_flight`] limits them all together.

mod bootstrap;
mod keeper;
mod rule;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderValue};
use meta::{Gvr, Object, UserInfo, WatchEvent, WatchKind};
use serde_json::Value;

use self::rule::Rule;
use crate::request_info::RequestInfo;

pub use keeper::Fairness;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// The plural of FlowSchemas.
pub(crate) const SCHEMAS: &str = "flowschemas";
/// The plural of PriorityLevelConfigurations.
pub(crate) const LEVELS: &str = "prioritylevelconfigurations";

/// Seats of the whole server, which levels share. Compat: upstream's defaults for reads and writes together.
const SEATS: i64 = 600;

/// One of the group's resources.
pub(crate) fn gvr(resource: &str) -> Gvr {
    Gvr::new(GROUP, "v1", resource)
}

/// What a FlowSchema says.
#[derive(Debug)]
struct Schema {
    precedence: i64,
    name: String,
    uid: String,
    level: String,
    rules: Vec<Rule>,
}

/// The flow that a request belongs to.
#[derive(Debug)]
pub(crate) struct Flow {
    schema: Arc<Schema>,
    uids: Option<(HeaderValue, HeaderValue)>,
    exempt: bool,
}

impl Flow {
    /// Whether its requests are never limited.
    pub(crate) fn is_exempt(&self) -> bool {
        self.exempt
    }

    /// Tells the client which flow its request belonged to.
    pub(crate) fn note(&self, headers: &mut HeaderMap) {
        if let Some((schema, level)) = &self.uids {
            headers.insert("x-kubernetes-pf-flowschema-uid", schema.clone());
            headers.insert("x-kubernetes-pf-prioritylevel-uid", level.clone());
        }
    }
}

/// A priority level.
#[derive(Clone, Debug)]
struct Level {
    uid: String,
    exempt: bool,
    shares: i64,
}

/// All flows and levels.
#[derive(Debug, Default)]
pub(crate) struct Flows(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    schemas: BTreeMap<String, Arc<Schema>>,
    levels: BTreeMap<String, Level>,
    /// The schemas whose level is there, those that are asked first first.
    flows: Arc<Vec<Arc<Flow>>>,
}

impl Flows {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The flow of a user's request. `None` only before the flows of every cluster are there.
    pub(crate) fn classify(&self, user: &UserInfo, info: &RequestInfo) -> Option<Arc<Flow>> {
        let flows = Arc::clone(&self.state().flows);
        flows.iter().find(|flow| flow.schema.rules.iter().any(|rule| rule.matches(user, info))).cloned()
    }

    /// Takes in an object of either kind.
    pub(crate) fn put(&self, object: &Object) {
        let name = object.metadata.name.clone();
        let mut state = self.state();
        if object.kind() == "FlowSchema" {
            state.schemas.insert(name, Arc::new(Schema::read(object)));
        } else {
            state.levels.insert(name, Level::read(object));
        }
        state.sort();
    }

    /// Follows a change.
    pub(crate) fn apply(&self, event: &WatchEvent) {
        match event.kind {
            WatchKind::Added | WatchKind::Modified => self.put(&event.object),
            WatchKind::Deleted => {
                let mut state = self.state();
                let name = &event.object.metadata.name;
                if event.object.kind() == "FlowSchema" {
                    state.schemas.remove(name);
                } else {
                    state.levels.remove(name);
                }
                state.sort();
            }
            WatchKind::Bookmark => {}
        }
    }

    /// The seats of each level that has a limit, by its share of all.
    pub(crate) fn seats(&self) -> Vec<(String, i64)> {
        let state = self.state();
        let all: i64 = state.levels.values().map(|level| level.shares).sum();
        let seats = |shares: i64| if all == 0 { 0 } else { (SEATS * shares + all - 1) / all };
        state.levels.iter().map(|(name, level)| (name.clone(), seats(level.shares))).collect()
    }
}

impl Level {
    fn read(object: &Object) -> Self {
        let spec = &object.value()["spec"];
        let exempt = spec["type"] == "Exempt";
        let shares = &spec[if exempt { "exempt" } else { "limited" }]["nominalConcurrencyShares"];
        let shares = shares.as_i64().unwrap_or(if exempt { 0 } else { 30 });
        Self { uid: object.metadata.uid.clone(), exempt, shares }
    }
}

impl Schema {
    fn read(object: &Object) -> Self {
        let spec = &object.value()["spec"];
        Self {
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
            name: object.metadata.name.clone(),
            uid: object.metadata.uid.clone(),
            level: spec["priorityLevelConfiguration"]["name"].as_str().unwrap_or_default().to_owned(),
            rules: items(&spec["rules"]).map(Rule::read).collect(),
        }
    }

    /// What it makes; nothing while its level isn't there.
    fn flow(self: &Arc<Self>, levels: &BTreeMap<String, Level>) -> Option<Flow> {
        let level = levels.get(&self.level)?;
        let uid = |uid: &str| HeaderValue::from_str(uid).ok();
        let uids = uid(&self.uid).zip(uid(&level.uid));
        Some(Flow { schema: Arc::clone(self), uids, exempt: level.exempt })
    }
}

impl State {
    fn sort(&mut self) {
        let flow = |schema: &Arc<Schema>| schema.flow(&self.levels);
        let mut flows: Vec<Arc<Flow>> = self.schemas.values().filter_map(flow).map(Arc::new).collect();
        flows.sort_by(|one, other| {
            let order = |flow: &Flow| (flow.schema.precedence, flow.schema.name.clone());
            order(one).cmp(&order(other))
        });
        self.flows = Arc::new(flows);
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(mut object: Value) -> Object {
        object["metadata"]["uid"] = json!(format!("uid-{}", object["metadata"]["name"].as_str().expect("a name")));
        Object::from_value(&object).expect("an object")
    }

    #[test]
    fn every_request_has_a_flow() {
        let flows = Flows::default();
        for (_, _, object) in bootstrap::all() {
            flows.put(&stored(object));
        }
        let check = |user: &UserInfo, method: http::Method, uri: &str, expected: &str| {
            let info = RequestInfo::read(&method, &uri.parse().expect("a URI"));
            let flow = flows.classify(user, &info).expect("a flow");
            assert_eq!(flow.schema.name, expected, "{} {uri}", user.name);
        };
        let get = http::Method::GET;
        let node = UserInfo::new("system:node:a", &["system:nodes"]);
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/a";
        check(&UserInfo::new("admin", &["system:masters"]), get.clone(), "/api/v1/pods", "exempt");
        check(&UserInfo::anonymous(), get.clone(), "/readyz", "probes");
        check(&node, http::Method::PUT, leases, "system-node-high");
        check(&node, http::Method::PATCH, "/api/v1/nodes/a/status", "system-node-high");
        check(&node, get.clone(), "/api/v1/pods", "system-nodes");
        let controller = UserInfo::service_account("kube-system", "job-controller");
        check(&controller, http::Method::PUT, leases, "system-leader-election");
        check(&controller, get.clone(), "/api/v1/pods", "kube-system-service-accounts");
        check(&UserInfo::service_account("a", "b"), get.clone(), "/api/v1/pods", "service-accounts");
        check(&UserInfo::new("ann", &[]), get, "/version", "global-default");
        let seats: i64 = flows.seats().iter().map(|(_, seats)| seats).sum();
        assert!((SEATS..SEATS + 10).contains(&seats), "{seats}");
    }
}
