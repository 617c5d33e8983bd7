//! Policies as packet rules: which they are, and that the kernel takes them in any order of changes. The latter needs root.

use std::collections::BTreeMap;

use meta::Object;
use net::nft::Rules;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};

use super::model::{Labels, Pod, Policy};
use super::{Settings, rules};
use crate::ruleset::{Fragment, Ruleset};
use crate::testing::{in_kernel, listed};

const TABLE: &str = "minke-0a1b2c3d-policies";

fn ruleset() -> Ruleset {
    let settings = Settings {
        table: TABLE.to_owned(),
        node: "one".to_owned(),
        resolver: "10.244.0.1:10053".parse().expect("an address"),
    };
    Ruleset::new(TABLE, |change| rules::skeleton(change, &settings))
}

fn object(value: Value) -> Object {
    Object::from_value(&value).expect("an object")
}

/// A pod `a/p1` of this node with the address 10.244.0.1, and so on; from the tenth on they are elsewhere.
fn pod(namespace: &str, number: u8, labels: &Value, phase: &str) -> (String, Option<Pod>) {
    let name = format!("p{number}");
    let value = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, "uid": name, "labels": labels},
        "spec": {
            "nodeName": if number < 10 { "one" } else { "two" },
            "containers": [{"ports": [{"name": "http", "containerPort": 8000 + u32::from(number), "protocol": "TCP"}]}],
        },
        "status": {"podIP": format!("10.244.0.{number}"), "phase": phase},
    });
    (format!("{namespace}/{name}"), Pod::read(&object(value), "one"))
}

fn policy(name: &str, namespace: &str, spec: Value) -> (String, Policy) {
    let value = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace, "uid": name}, "spec": spec});
    (format!("{namespace}/{name}"), Policy::read(&object(value)))
}

fn fragments(policies: Vec<(String, Policy)>) -> BTreeMap<String, Fragment> {
    let labels = |value: Value| -> Labels { serde_json::from_value(value).expect("labels") };
    let namespaces = BTreeMap::from([
        ("a".to_owned(), labels(json!({"team": "x"}))),
        ("b".to_owned(), labels(json!({"team": "y"}))),
    ]);
    let pods = [
        pod("a", 1, &json!({"app": "web"}), "Running"),
        pod("a", 2, &json!({"app": "db"}), "Running"),
        pod("b", 3, &json!({"app": "web"}), "Running"),
        pod("b", 4, &json!({"app": "web"}), "Succeeded"),
        pod("a", 10, &json!({"app": "web"}), "Running"),
    ];
    let pods = pods.into_iter().filter_map(|(key, pod)| Some((key, pod?))).collect();
    let cluster = rules::Cluster { policies: &policies.into_iter().collect(), pods: &pods, namespaces: &namespaces };
    rules::fragments(cluster).into_iter().collect()
}

/// The addresses in a set of a policy.
fn members(fragments: &BTreeMap<String, Fragment>, set: &str) -> Vec<u8> {
    let all = fragments.values().flat_map(|fragment| fragment.elements.keys());
    all.filter(|(name, _)| name == set).map(|(_, key)| key[3]).collect()
}

#[test]
fn peers_are_those_that_selectors_choose() {
    let check = |peers: Value, expected: &[u8]| {
        let spec = json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"], "ingress": [{"from": peers}]});
        let found = fragments(vec![policy("one", "a", spec)]);
        assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), ["pod a/p2", "policy a/one"]);
        assert_eq!(members(&found, "ingress-one-0"), expected, "{peers}");
    };
    check(json!([{"podSelector": {}}]), &[1, 2, 10]);
    check(json!([{"podSelector": {"matchLabels": {"app": "web"}}}]), &[1, 10]);
    check(json!([{"namespaceSelector": {}}]), &[1, 2, 3, 10]);
    check(json!([{"namespaceSelector": {"matchLabels": {"team": "y"}}}]), &[3]);
    check(
        json!([{"namespaceSelector": {"matchLabels": {"team": "x"}}, "podSelector": {"matchLabels": {"app": "db"}}}]),
        &[2],
    );
    check(json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}]), &[]);
}

#[test]
fn only_chosen_pods_of_this_node_are_isolated() {
    let check = |spec: Value, expected: &[&str]| {
        let found = fragments(vec![policy("one", "a", spec.clone())]);
        let chains: Vec<&str> =
            found.values().flat_map(|fragment| fragment.chains.keys()).map(String::as_str).collect();
        assert_eq!(chains, expected, "{spec}");
    };
    check(json!({"podSelector": {}, "policyTypes": ["Ingress"]}), &["ingress-10.244.0.1", "ingress-10.244.0.2"]);
    check(json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Egress"]}), &["egress-10.244.0.2"]);
    check(json!({"podSelector": {"matchLabels": {"app": "none"}}, "policyTypes": ["Ingress", "Egress"]}), &[]);
}

#[test]
fn named_ports_are_those_of_the_pod_that_is_reached() {
    let egress = json!({"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "web"}}}], "ports": [{"protocol": "TCP", "port": "http"}]}]});
    let found = fragments(vec![policy("one", "a", egress)]);
    let places = found["policy a/one"].elements.keys().filter(|(set, _)| set == "egress-one-0-port-0");
    let places: Vec<_> = places.map(|(_, key)| (key[3], key[4], u16::from_be_bytes([key[8], key[9]]))).collect();
    assert_eq!(places, [(1, 6, 8001), (10, 6, 8010)]);
}

/// A policy of a few shapes.
fn shape() -> impl Strategy<Value = (String, Policy)> {
    let peers = prop::sample::select(vec![
        json!([]),
        json!([{"podSelector": {}}]),
        json!([{"namespaceSelector": {"matchLabels": {"team": "y"}}}, {"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.8/29"]}}]),
        json!([{"ipBlock": {"cidr": "2001:db8::/64"}}]),
    ]);
    let ports = prop::sample::select(vec![
        json!([]),
        json!([{"protocol": "TCP", "port": 80}, {"protocol": "UDP"}]),
        json!([{"protocol": "TCP", "port": 8000, "endPort": 8010}]),
        json!([{"protocol": "TCP", "port": "http"}, {"protocol": "SCTP", "port": 9}]),
    ]);
    let chosen = prop::sample::select(vec![json!({}), json!({"matchLabels": {"app": "web"}})]);
    let types = prop::sample::select(vec![json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])]);
    (0..3_u8, any::<bool>(), chosen, types, peers, ports).prop_map(|(number, in_a, chosen, types, peers, ports)| {
        let spec = json!({"podSelector": chosen, "policyTypes": types,
            "ingress": [{"from": peers, "ports": ports}], "egress": [{"to": peers, "ports": ports}]});
        let namespace = if in_a { "a" } else { "b" };
        policy(&format!("{namespace}{number}"), namespace, spec)
    })
}

#[test]
fn changes_lead_to_the_rules_that_a_start_would_make() {
    // On a thread of its own, since that leaves the machine's network.
    let done = std::thread::spawn(|| {
        let Some(rules) = in_kernel() else { return };
        let config = Config { cases: 24, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..Config::default() };
        TestRunner::new(config)
            .run(&prop::collection::vec(prop::collection::vec(shape(), 0..4), 1..6), |steps| {
                let mut ruleset = ruleset();
                rules.commit(&ruleset.rebuild()).expect("the skeleton");
                let mut last = BTreeMap::new();
                for policies in steps {
                    let wanted = fragments(policies);
                    let gone = last.keys().filter(|owner| !wanted.contains_key(*owner));
                    let gone: Vec<(String, Fragment)> =
                        gone.cloned().map(|owner| (owner, Fragment::default())).collect();
                    last.clone_from(&wanted);
                    if let Some(change) = ruleset.update(wanted.into_iter().chain(gone).collect()) {
                        rules.commit(&change).expect("a change");
                    }
                }
                compare(&rules, last)
            })
            .expect("rules agree");
    });
    done.join().expect("the rules agree");
}

fn compare(rules: &Rules, last: BTreeMap<String, Fragment>) -> Result<(), TestCaseError> {
    let incremental = listed(TABLE);
    let mut scratch = ruleset();
    scratch.update(last.into_iter().collect());
    rules.commit(&scratch.rebuild()).expect("everything anew");
    prop_assert_eq!(incremental, listed(TABLE));
    Ok(())
}
