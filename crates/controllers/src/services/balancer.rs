//! Load balancers: the nodes themselves take what comes for a service of that type.

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::ResourcePath;
use serde_json::{Value, json};

use super::{core, items, text};

pub(crate) struct Balancer {
    pub(crate) client: Client,
    pub(crate) services: Informer,
    pub(crate) nodes: Informer,
}

/// The key that stands for all services.
const ALL: &str = "";

/// The ingress that a service should have; `None` if that is not ours to say.
fn plan(service: &Value, nodes: &[Value]) -> Option<Value> {
    if text(service, "/spec/type") != "LoadBalancer" || !text(service, "/spec/loadBalancerClass").is_empty() {
        return None;
    }
    let ready = |node: &&Value| {
        let conditions = items(node, "/status/conditions").iter();
        let fine = conditions.clone().any(|own| own["type"] == "Ready" && own["status"] == "True");
        let left_out = node["metadata"]["labels"].get("node.kubernetes.io/exclude-from-external-load-balancers");
        fine && left_out.is_none()
    };
    let address = |node: &Value, kind: &str| {
        let mut own = items(node, "/status/addresses").iter();
        own.find(|own| own["type"] == kind).map(|own| text(own, "/address").to_owned())
    };
    let mut addresses: Vec<String> = nodes
        .iter()
        .filter(ready)
        .filter_map(|node| address(node, "ExternalIP").or_else(|| address(node, "InternalIP")))
        .collect();
    addresses.sort();
    Some(addresses.into_iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect())
}

#[async_trait]
impl Controller for Balancer {
    fn name(&self) -> &'static str {
        "service-load-balancer"
    }

    fn sources(&self) -> Vec<Source> {
        vec![
            Source { informer: self.services.clone(), keys: |object| vec![object.metadata.key()] },
            Source { informer: self.nodes.clone(), keys: |_| vec![ALL.to_owned()] },
        ]
    }

    async fn reconcile(&self, key: &str) -> Result<Outcome, ReconcileError> {
        let services = if key == ALL { self.services.list() } else { self.services.get(key).into_iter().collect() };
        let nodes: Vec<Value> = self.nodes.list().iter().map(|node| node.value()).collect();
        for service in services.iter().filter(|service| !service.metadata.is_terminating()) {
            let value = service.value();
            let Some(ingress) = plan(&value, &nodes) else { continue };
            // Compat: what somebody else has put there stays; a balancer of one's own writes it too.
            if !items(&value, "/status/loadBalancer/ingress").is_empty() && key != ALL {
                continue;
            }
            if Value::Array(items(&value, "/status/loadBalancer/ingress").to_vec()) == ingress {
                continue;
            }
            let metadata = &service.metadata;
            let path =
                ResourcePath::object(core("services"), &metadata.namespace, &metadata.name).subresource("status");
            self.client.merge(&path, &json!({"status": {"loadBalancer": {"ingress": ingress}}})).await?;
        }
        Ok(Outcome::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_nodes_take_the_traffic() {
        let node = |ip: &str, ready: &str| {
            json!({"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": ready}],
                "addresses": [{"type": "InternalIP", "address": ip}]}})
        };
        let nodes = [node("192.0.2.2", "True"), node("192.0.2.3", "False"), node("192.0.2.1", "True")];
        let check = |spec: Value, expected: Option<Value>| assert_eq!(plan(&json!({"spec": spec}), &nodes), expected);
        let both = json!([{"ip": "192.0.2.1", "ipMode": "VIP"}, {"ip": "192.0.2.2", "ipMode": "VIP"}]);
        check(json!({"type": "LoadBalancer"}), Some(both));
        check(json!({"type": "LoadBalancer", "loadBalancerClass": "a/b"}), None);
        check(json!({"type": "NodePort"}), None);
    }
}
