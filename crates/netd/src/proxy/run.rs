//! Following services, and carrying their rules to the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use client::Informer;
use futures::FutureExt;
use net::{Flows, Namespace, Transport};
use serde_json::Value;

use super::Settings;
use super::flows::Frontends;
use super::fragment;
use super::health::{self, Checks};
use super::service::{self, ServicePort};
use crate::netd::NetdError;
use crate::objects::{items, service_of, text};
use crate::ruleset::Ruleset;
use crate::table::Table;

const ZONE: &str = "topology.kubernetes.io/zone";

/// The proxy of a node.
pub(crate) struct Proxy {
    settings: Settings,
    table: Table,
    flows: Arc<Flows>,
    services: Informer,
    slices: Informer,
    nodes: Informer,
    checks: Checks,
    ports: BTreeMap<String, Vec<ServicePort>>,
}

impl Proxy {
    /// Opens the kernel's doors. The rules that are there stay until [`Proxy::run`] knows the services.
    pub(crate) async fn open(
        settings: Settings,
        namespace: &Namespace,
        services: Informer,
        slices: Informer,
        nodes: Informer,
    ) -> Result<Self, NetdError> {
        let ruleset = Ruleset::new(&settings.table, |change| fragment::skeleton(change, &settings));
        let table = Table::open(namespace, ruleset).await?;
        let flows = Flows::of(namespace).await;
        let flows = flows.map_err(|source| NetdError::Io { action: "open the table of flows".to_owned(), source })?;
        Ok(Self {
            settings,
            table,
            flows: Arc::new(flows),
            services,
            slices,
            nodes,
            checks: Checks::new(namespace.clone()),
            ports: BTreeMap::new(),
        })
    }

    /// Follows services until the task is ended.
    pub(crate) async fn run(mut self) {
        self.services.wait_synced().await;
        self.slices.wait_synced().await;
        self.nodes.wait_synced().await;
        let (mut services, mut slices) = (self.services.subscribe(), self.slices.subscribe());
        let mut nodes = self.nodes.subscribe();
        let mut zone = self.zone();
        let mut changed: BTreeSet<String> = self.services.list().iter().map(|own| own.metadata.key()).collect();
        loop {
            // Everything that has happened until now goes into one transaction.
            while let Some(Some(service)) = services.next().now_or_never() {
                changed.insert(service.metadata.key());
            }
            while let Some(Some(slice)) = slices.next().now_or_never() {
                changed.extend(service_of(&slice));
            }
            if self.zone() != zone {
                zone = self.zone();
                changed.extend(self.services.list().iter().map(|own| own.metadata.key()));
                changed.extend(self.ports.keys().cloned());
            }
            self.bring_in_step(std::mem::take(&mut changed), &zone).await;
            tokio::select! {
                Some(service) = services.next() => drop(changed.insert(service.metadata.key())),
                Some(slice) = slices.next() => changed.extend(service_of(&slice)),
                Some(_) = nodes.next() => {}
                () = self.table.again() => {}
            }
        }
    }

    fn zone(&self) -> String {
        let node = self.nodes.get(&self.settings.node);
        node.and_then(|node| node.metadata.labels.get(ZONE).cloned()).unwrap_or_default()
    }

    async fn bring_in_step(&mut self, changed: BTreeSet<String>, zone: &str) {
        let (mut datagrams, mut checked) = (false, false);
        let mut fragments = Vec::new();
        for key in changed {
            let ports = self.read(&key, zone);
            let before =
                if ports.is_empty() { self.ports.remove(&key) } else { self.ports.insert(key.clone(), ports.clone()) };
            let before = before.unwrap_or_default();
            let is_udp = |port: &ServicePort| port.transport == Transport::Udp;
            datagrams |= before != ports && before.iter().chain(&ports).any(is_udp);
            checked |= before != ports && before.iter().chain(&ports).any(|port| port.health_port.is_some());
            fragments.push((key, fragment::of(&ports, &self.settings)));
        }
        let in_step = self.table.take(fragments).await;
        if checked {
            self.checks.update(health::wanted(self.ports.iter())).await;
        }
        if datagrams && in_step {
            self.forget_flows().await;
        }
    }

    fn read(&self, key: &str, zone: &str) -> Vec<ServicePort> {
        let Some(service) = self.services.get(key) else { return Vec::new() };
        let slices: Vec<Value> = self.slices.with_word(key).iter().map(|slice| slice.value()).collect();
        service::ports(&service.value(), &slices, zone, &self.settings)
    }

    async fn forget_flows(&self) {
        let frontends = Frontends::of(self.ports.values().flatten());
        if frontends.is_empty() {
            return;
        }
        let own = self.own_addresses();
        let flows = Arc::clone(&self.flows);
        let forget = move || {
            for flow in flows.of_datagrams()?.iter().filter(|flow| frontends.is_stale(flow, &own)) {
                flows.forget(flow)?;
            }
            std::io::Result::Ok(())
        };
        if let Ok(Err(error)) = tokio::task::spawn_blocking(forget).await {
            tracing::warn!(%error, "forget flows of datagrams to endpoints that are gone");
        }
    }

    fn own_addresses(&self) -> BTreeSet<Ipv4Addr> {
        let node = self.nodes.get(&self.settings.node).map(|node| node.value()).unwrap_or_default();
        let addresses = items(&node, "/status/addresses").iter();
        addresses.filter_map(|address| text(address, "/address").parse().ok()).collect()
    }
}
