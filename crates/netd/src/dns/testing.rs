//! Services for tests of names.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::directory::Directory;

/// A few services of the namespace `shop`.
pub(super) struct Fixed;

impl Directory for Fixed {
    fn service(&self, namespace: &str, name: &str) -> Option<Value> {
        let spec = match (namespace, name) {
            ("shop", "web") => {
                json!({"clusterIP": "10.96.0.7", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]})
            }
            ("shop", "db") => {
                json!({"clusterIP": "None", "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}]})
            }
            ("shop", "many") => json!({"clusterIP": "None"}),
            ("shop", "empty") => json!({"clusterIP": "None"}),
            ("shop", "out") => json!({"type": "ExternalName", "externalName": "Example.com."}),
            _ => return None,
        };
        Some(json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec}))
    }

    fn slices(&self, _: &str, name: &str) -> Vec<Value> {
        if name == "many" {
            let endpoints: Vec<Value> =
                (1..60).map(|last| json!({"addresses": [format!("10.244.1.{last}")]})).collect();
            return vec![json!({"metadata": {"namespace": "shop"}, "endpoints": endpoints})];
        }
        if name != "db" {
            return Vec::new();
        }
        vec![json!({
            "metadata": {"namespace": "shop", "labels": {"kubernetes.io/service-name": "db", "service.kubernetes.io/headless": ""}},
            "ports": [{"name": "sql", "port": 5432, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.244.0.2"], "hostname": "db-0", "conditions": {"ready": true}},
                {"addresses": ["10.244.0.3"], "conditions": {"ready": true}},
                {"addresses": ["10.244.0.4"], "conditions": {"ready": false}},
            ],
        })]
    }

    fn has_services(&self, namespace: &str) -> bool {
        namespace == "shop"
    }

    fn service_at(&self, address: IpAddr) -> Option<Value> {
        (address.to_string() == "10.96.0.7").then(|| self.service("shop", "web"))?
    }

    fn slices_with(&self, _: IpAddr) -> Vec<Value> {
        self.slices("shop", "db")
    }
}
