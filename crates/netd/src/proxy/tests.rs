//! Rules in a real kernel, as `nft` shows them. Needs root.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};

use super::{Settings, fragment, service};
use crate::ruleset::{Fragment, Ruleset};
use crate::testing::{in_kernel, listed};

fn settings() -> Settings {
    Settings {
        table: "minke-0a1b2c3d-services".to_owned(),
        node: "one".to_owned(),
        pods: ([10, 244, 0, 0].into(), 16),
        services: ([10, 96, 0, 0].into(), 16),
        external_ips: true,
    }
}

fn empty() -> Ruleset {
    let settings = settings();
    Ruleset::new(&settings.table, |change| fragment::skeleton(change, &settings))
}

/// What varies in a service.
#[derive(Clone, Debug)]
struct Shape {
    number: u8,
    kind: usize,
    affinity: bool,
    inner_local: bool,
    outer_local: bool,
    protocols: usize,
    endpoints: Vec<(u8, bool, bool)>,
    external: Option<u8>,
}

fn shape() -> impl Strategy<Value = Shape> {
    let endpoints = prop::collection::vec((1..6_u8, any::<bool>(), any::<bool>()), 0..4);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    (1..5_u8, 0..4_usize, flags, 1..3_usize, endpoints, prop::option::of(1..3_u8)).prop_map(
        |(number, kind, (affinity, inner_local, outer_local), protocols, endpoints, external)| Shape {
            number,
            kind,
            affinity,
            inner_local,
            outer_local,
            protocols,
            endpoints,
            external,
        },
    )
}

fn policy(local: bool) -> &'static str {
    if local { "Local" } else { "Cluster" }
}

impl Shape {
    fn fragment(&self) -> (String, Fragment) {
        let number = self.number;
        let kind = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"][self.kind];
        let ports: Vec<Value> = ["TCP", "UDP"][..self.protocols]
            .iter()
            .map(|protocol| {
                let mut port = json!({"name": protocol.to_lowercase(), "port": 80, "protocol": protocol});
                if kind != "ClusterIP" {
                    port["nodePort"] = json!(30000 + u32::from(number));
                }
                port
            })
            .collect();
        let mut object = json!({
            "metadata": {"namespace": "a", "name": format!("s{number}")},
            "spec": {
                "type": kind, "clusterIP": format!("10.96.0.{number}"), "ports": ports,
                "internalTrafficPolicy": policy(self.inner_local),
                "sessionAffinity": if self.affinity { "ClientIP" } else { "None" },
            },
        });
        if let Some(external) = self.external {
            object["spec"]["externalIPs"] = json!([format!("192.0.2.{external}")]);
        }
        if kind != "ClusterIP" {
            object["spec"]["externalTrafficPolicy"] = json!(policy(self.outer_local));
        }
        if kind == "LoadBalancer" {
            object["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}});
            object["spec"]["loadBalancerSourceRanges"] = json!(["198.51.100.0/24"]);
        }
        let endpoint = |(last, local, ready): &(u8, bool, bool)| {
            json!({"addresses": [format!("10.244.0.{last}")], "nodeName": if *local { "one" } else { "two" },
                "conditions": {"ready": ready, "serving": true, "terminating": !ready}})
        };
        let ports: Vec<Value> = ["TCP", "UDP"]
            .iter()
            .map(|protocol| json!({"name": protocol.to_lowercase(), "port": 8080, "protocol": protocol}))
            .collect();
        let endpoints: Vec<Value> = self.endpoints.iter().map(endpoint).collect();
        let slice = json!({"addressType": "IPv4", "ports": ports, "endpoints": endpoints});
        let ports = service::ports(&object, &[slice], "", &settings());
        (format!("a/s{number}"), fragment::of(&ports, &settings()))
    }
}

#[test]
fn changes_lead_to_the_rules_that_a_start_would_make() {
    // On a thread of its own, since that leaves the machine's network.
    let done = std::thread::spawn(|| {
        let Some(rules) = in_kernel() else { return };
        let config = Config { cases: 24, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..Config::default() };
        let steps = prop::collection::vec(prop::collection::vec((shape(), any::<bool>()), 1..4), 1..6);
        TestRunner::new(config)
            .run(&steps, |steps| {
                let mut ruleset = empty();
                rules.commit(&ruleset.rebuild()).expect("the skeleton");
                let mut last = BTreeMap::new();
                for step in steps {
                    let mut batch = BTreeMap::new();
                    for (shape, gone) in step {
                        let (key, fragment) = shape.fragment();
                        batch.insert(key, if gone { Fragment::default() } else { fragment });
                    }
                    last.extend(batch.clone());
                    if let Some(change) = ruleset.update(batch.into_iter().collect()) {
                        rules.commit(&change).expect("a change");
                    }
                }
                let incremental = listed(&settings().table);
                let mut scratch = empty();
                scratch.update(last.into_iter().collect());
                rules.commit(&scratch.rebuild()).expect("everything anew");
                prop_assert_eq!(incremental, listed(&settings().table));
                Ok(())
            })
            .expect("rules agree");
    });
    done.join().expect("the rules agree");
}
