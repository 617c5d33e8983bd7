//! Whether each server that answers in our place can do so: the condition `Available` of APIServices.

use std::sync::Arc;
use std::time::Duration;

use admission::ServicePort;
use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use futures::FutureExt;
use futures::future::select_ok;
use meta::{Gvr, Object, Reason};
use registry::Reader;
use serde_json::{Value, json};

use super::fetch::{self, Learned};
use super::{Remote, api_services};
use crate::door::Door;

/// How often a server that answers is asked again: nothing else tells when it stops.
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// How soon one is asked again that doesn't answer.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// So many questions at once, of which one must be answered.
const ATTEMPTS: usize = 5;

/// The controller of the condition `Available`.
pub struct Availability {
    door: Arc<Door>,
    client: Client,
    api_services: Informer,
    services: Informer,
    slices: Informer,
}

/// What the condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Verdict {
    available: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    fn no(reason: &'static str, message: String) -> Self {
        Self { available: false, reason, message }
    }

    fn yes(reason: &'static str, message: &str) -> Self {
        Self { available: true, reason, message: message.to_owned() }
    }
}

impl Availability {
    /// Looks and writes as this client.
    pub fn new(door: &Arc<Door>, client: &Client) -> Self {
        let informer = |group, version, resource| Informer::new(client.clone(), Gvr::new(group, version, resource));
        Self {
            door: Arc::clone(door),
            client: client.clone(),
            api_services: Informer::new(client.clone(), api_services()),
            services: informer("", "v1", "services"),
            slices: informer("discovery.k8s.io", "v1", "endpointslices"),
        }
    }

    /// Names of the APIServices that lead to a service.
    fn leading_to(&self, namespace: &str, name: &str) -> Vec<String> {
        let remotes = self.door.aggregator.remotes();
        let leading = |remote: &&Arc<Remote>| remote.service.namespace == namespace && remote.service.name == name;
        remotes.values().filter(leading).map(|remote| remote.name()).collect()
    }

    async fn judge(&self, service: &Value) -> Verdict {
        let reference = &service["spec"]["service"];
        if !reference.is_object() {
            return Verdict::yes("Local", "Local APIServices are always available");
        }
        let port = ServicePort::read(reference);
        let reader: &dyn Reader = &*self.door.config.registry;
        let behind = reader.get("", "services", &port.namespace, &port.name).map(|service| service.value());
        if let Some(verdict) = lacking(&port, behind.as_ref(), &port.slices(reader)) {
            return verdict;
        }
        self.ask(&super::served(service)).await
    }

    /// Asks the server itself, and keeps what it says that it serves.
    async fn ask(&self, gv: &meta::GroupVersion) -> Verdict {
        let aggregator = &self.door.aggregator;
        let Some(remote) = aggregator.remotes().get(gv).cloned() else {
            return Verdict::no("FailedDiscoveryCheck", "the APIService is not known yet".to_owned());
        };
        let attempts = (0..ATTEMPTS).map(|_| fetch::resources(&self.door, &remote).boxed());
        match select_ok(attempts).await {
            Ok((resources, _)) => {
                let (openapi, openapi_index) = fetch::documents(&self.door, &remote).await;
                aggregator.learn(gv, Learned { resources, openapi, openapi_index });
                Verdict::yes("Passed", "all checks passed")
            }
            Err(why) => Verdict::no("FailedDiscoveryCheck", why),
        }
    }
}

/// What is missing before a server can be asked.
fn lacking(port: &ServicePort, service: Option<&Value>, slices: &[Value]) -> Option<Verdict> {
    let shown = format!("service/{} in {:?}", port.name, port.namespace);
    let Some(service) = service else {
        return Some(Verdict::no("ServiceNotFound", format!("{shown} is not present")));
    };
    if service["spec"]["type"].as_str().is_some_and(|own| own != "ClusterIP") {
        return None;
    }
    let Some(wanted) = items(&service["spec"]["ports"]).find(|own| own["port"] == port.port) else {
        let why = format!("{shown} is not listening on port {}", port.port);
        return Some(Verdict::no("ServicePortError", why));
    };
    let name = wanted["name"].as_str().unwrap_or_default();
    if slices.is_empty() {
        return Some(Verdict::no("EndpointsNotFound", format!("cannot find endpointslices for {shown}")));
    }
    let serves = |slice: &Value| {
        let ready = items(&slice["endpoints"]).any(|endpoint| endpoint["conditions"]["ready"] != false);
        let mut ports = items(&slice["ports"]);
        ready && ports.any(|own| own["name"].as_str().unwrap_or_default() == name && !own["port"].is_null())
    };
    let why = || format!("endpointslices for {shown} have no addresses with port name {name:?}");
    (!slices.iter().any(serves)).then(|| Verdict::no("MissingEndpoints", why()))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// The APIService with the verdict in its status; `None` where it is there already.
fn told(service: &Value, verdict: &Verdict, now: &str) -> Option<Value> {
    let status = if verdict.available { "True" } else { "False" };
    let mut conditions: Vec<Value> = items(&service["status"]["conditions"]).cloned().collect();
    let mut condition = json!({
        "type": "Available", "status": status, "lastTransitionTime": now, "reason": verdict.reason, "message": verdict.message,
    });
    match conditions.iter_mut().find(|own| own["type"] == "Available") {
        Some(own) => {
            if own["status"] == status && own["lastTransitionTime"].is_string() {
                condition["lastTransitionTime"] = own["lastTransitionTime"].clone();
            }
            if *own == condition {
                return None;
            }
            *own = condition;
        }
        None => conditions.push(condition),
    }
    let mut told = service.clone();
    told["status"]["conditions"] = conditions.into();
    Some(told)
}

#[async_trait]
impl Controller for Availability {
    fn name(&self) -> &'static str {
        "api-service-availability"
    }

    fn sources(&self) -> Vec<Source> {
        let source = |informer: &Informer| Source { informer: informer.clone(), keys: |own| vec![own.metadata.key()] };
        [&self.api_services, &self.services, &self.slices].map(source).to_vec()
    }

    fn keys(&self, source: &Source, object: &Object) -> Vec<String> {
        let metadata = &object.metadata;
        match source.informer.gvr().resource.as_str() {
            "services" => self.leading_to(&metadata.namespace, &metadata.name),
            "endpointslices" => {
                let service = metadata.labels.get("kubernetes.io/service-name");
                service.map(|name| self.leading_to(&metadata.namespace, name)).unwrap_or_default()
            }
            _ => vec![metadata.name.clone()],
        }
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let Some(object) = self.door.config.registry.get_cached(&api_services(), "", key) else {
            return Ok(Outcome::default());
        };
        let service = object.value();
        let verdict = self.judge(&service).await;
        let again_after = match verdict.reason {
            "Local" => None,
            _ if verdict.available => Some(ASK_AGAIN),
            _ => Some(TRY_AGAIN),
        };
        let now = self.door.config.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let Some(told) = told(&service, &verdict, &now) else {
            return Ok(Outcome { again_after, wrote: 0 });
        };
        if service["spec"]["service"].is_object() {
            tracing::info!(name = key, reason = verdict.reason, why = verdict.message, "an API service changed");
        }
        match self.client.update_status(&api_services(), told).await {
            Ok(object) => Ok(Outcome { again_after, wrote: object.revision }),
            Err(error) if error.reason == Reason::NotFound => Ok(Outcome::default()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told() {
        let port = ServicePort { namespace: "ns".into(), name: "api".into(), port: 443 };
        let service = json!({"spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": 443}]}});
        let slice = |name: &str, ready: bool| {
            let endpoints = json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": ready}}]);
            json!({"ports": [{"name": name, "port": 8443}], "endpoints": endpoints})
        };
        let check = |service: Option<&Value>, slices: &[Value], expected: Option<(&str, &str)>| {
            let found = lacking(&port, service, slices);
            let found = found.as_ref().map(|verdict| (verdict.reason, verdict.message.as_str()));
            assert_eq!(found, expected);
        };
        check(None, &[], Some(("ServiceNotFound", "service/api in \"ns\" is not present")));
        let other = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
        check(Some(&other), &[], Some(("ServicePortError", "service/api in \"ns\" is not listening on port 443")));
        let none = "cannot find endpointslices for service/api in \"ns\"";
        check(Some(&service), &[], Some(("EndpointsNotFound", none)));
        let missing = "endpointslices for service/api in \"ns\" have no addresses with port name \"https\"";
        check(Some(&service), &[slice("https", false), slice("x", true)], Some(("MissingEndpoints", missing)));
        check(Some(&service), &[slice("https", true)], None);
        check(Some(&json!({"spec": {"type": "ExternalName"}})), &[], None);
    }

    #[test]
    fn only_changes_are_told() {
        let yes = Verdict::yes("Passed", "all checks passed");
        let first = told(&json!({"metadata": {}}), &yes, "1").expect("it is new");
        assert_eq!(told(&first, &yes, "2"), None);
        let timeless =
            json!({"status": {"conditions": [{"type": "Available", "status": "True", "lastTransitionTime": null}]}});
        let timed = told(&timeless, &yes, "1").expect("it has no time");
        assert_eq!(timed["status"]["conditions"][0]["lastTransitionTime"], "1");
        let no = Verdict::no("MissingEndpoints", String::new());
        let second = told(&first, &no, "3").expect("it changed");
        assert_eq!(second["status"]["conditions"][0]["lastTransitionTime"], "3");
        let why = told(&second, &Verdict::no("ServiceNotFound", String::new()), "4").expect("it changed");
        assert_eq!(why["status"]["conditions"][0]["lastTransitionTime"], "3");
    }
}
