//! Rules in a real kernel, as `nft` shows them. Needs root.

use std::collections::BTreeMap;
use std::process::Command;

use net::Namespace;
use net::nft::Rules;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};

use super::ruleset::Ruleset;
use super::{Settings, fragment, service};

fn settings() -> Settings {
    Settings {
        table: "minke-0a1b2c3d-services".to_owned(),
        node: "one".to_owned(),
        pods: ([10, 244, 0, 0].into(), 16),
        services: ([10, 96, 0, 0].into(), 16),
        external_ips: true,
    }
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
    fn fragment(&self) -> (String, fragment::Fragment) {
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

/// The kernel's table, its chains and sets in order, without the numbers of anonymous maps.
fn listed() -> String {
    let output = Command::new("nft").args(["-s", "list", "ruleset"]).output().expect("run nft");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut blocks: Vec<&str> = text.split("\n\n").map(|block| block.trim_end_matches(['}', '\n'])).collect();
    if let Some((head, first)) = blocks[0].split_once('\n') {
        assert!(head.starts_with("table ip minke-0a1b2c3d-services"), "{head}");
        blocks[0] = first;
    }
    blocks.sort_unstable();
    blocks.join("\n\n")
}

fn in_kernel() -> Option<Rules> {
    let has_nft = Command::new("nft").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_nft || !is_root() {
        eprintln!("SKIPPED: packet rules need root and nft");
        return None;
    }
    Some(
        tokio::runtime::Runtime::new()
            .expect("a runtime")
            .block_on(async { Rules::of(&Namespace::own()).await.expect("open a socket") }),
    )
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[test]
fn changes_lead_to_the_rules_that_a_start_would_make() {
    // On a thread with a network of its own: nothing else in the process sees it.
    let done = std::thread::spawn(|| {
        let Some(rules) = in_kernel() else { return };
        let config = Config { cases: 24, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..Config::default() };
        let steps = prop::collection::vec(prop::collection::vec((shape(), any::<bool>()), 1..4), 1..6);
        TestRunner::new(config)
            .run(&steps, |steps| {
                let mut ruleset = Ruleset::default();
                rules.commit(&ruleset.rebuild(&settings())).expect("the skeleton");
                let mut last = BTreeMap::new();
                for step in steps {
                    let mut batch = BTreeMap::new();
                    for (shape, gone) in step {
                        let (key, fragment) = shape.fragment();
                        batch.insert(key, if gone { fragment::Fragment::default() } else { fragment });
                    }
                    last.extend(batch.clone());
                    if let Some(change) = ruleset.update(&settings(), batch.into_iter().collect()) {
                        rules.commit(&change).expect("a change");
                    }
                }
                let incremental = listed();
                let mut scratch = Ruleset::default();
                scratch.update(&settings(), last.into_iter().collect());
                rules.commit(&scratch.rebuild(&settings())).expect("everything anew");
                prop_assert_eq!(incremental, listed());
                Ok(())
            })
            .expect("rules agree");
    });
    done.join().expect("the rules agree");
}
