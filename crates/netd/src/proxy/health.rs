//! Answers load balancers who ask whether this node has endpoints of a service: HTTP on the service's health check port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use net::Namespace;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::service::ServicePort;

/// Who asks has to ask soon.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is told of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Health {
    namespace: String,
    name: String,
    /// How many ready endpoints this node has.
    local: usize,
}

/// By port.
pub(super) type Wanted = BTreeMap<u16, Health>;

/// What there is to tell of these services.
pub(super) fn wanted<'a>(services: impl Iterator<Item = (&'a String, &'a Vec<ServicePort>)>) -> Wanted {
    let mut wanted = Wanted::new();
    for (key, ports) in services {
        let Some(number) = ports.iter().find_map(|port| port.health_port) else { continue };
        // Those that end serve as a last resort, but nobody is to be sent to them.
        let local: BTreeSet<Ipv4Addr> = ports.iter().flat_map(|port| &port.local_ready).copied().collect();
        let (namespace, name) = key.split_once('/').unwrap_or_default();
        let health = Health { namespace: namespace.to_owned(), name: name.to_owned(), local: local.len() };
        wanted.insert(number, health);
    }
    wanted
}

/// The servers. They end with it.
pub(super) struct Checks {
    namespace: Namespace,
    servers: BTreeMap<u16, (watch::Sender<Health>, JoinSet<()>)>,
}

impl Checks {
    pub(super) fn new(namespace: Namespace) -> Self {
        Self { namespace, servers: BTreeMap::new() }
    }

    /// Tells exactly this from now on.
    pub(super) async fn update(&mut self, wanted: Wanted) {
        self.servers.retain(|port, _| wanted.contains_key(port));
        for (port, health) in wanted {
            if let Some((told, _)) = self.servers.get(&port) {
                told.send_replace(health);
                continue;
            }
            let address = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
            match self.namespace.listen(address).await {
                Ok(listener) => {
                    let (told, health) = watch::channel(health);
                    let mut tasks = JoinSet::new();
                    tasks.spawn(serve(listener, health));
                    self.servers.insert(port, (told, tasks));
                }
                Err(error) => tracing::warn!(port, %error, "listen for health checks of a service"),
            }
        }
    }
}

async fn serve(listener: TcpListener, health: watch::Receiver<Health>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { continue };
        let answer = answer(&health.borrow());
        connections.spawn(async move {
            // Who went away needs no answer.
            let _ = tokio::time::timeout(PATIENCE, converse(stream, answer)).await;
        });
    }
}

async fn converse(mut stream: TcpStream, answer: String) -> std::io::Result<()> {
    let mut space = [0; 4096];
    let mut asked = Vec::new();
    while !asked.windows(4).any(|window| window == b"\r\n\r\n") && asked.len() < space.len() {
        match stream.read(&mut space).await? {
            0 => return Ok(()),
            length => asked.extend_from_slice(&space[..length]),
        }
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn answer(health: &Health) -> String {
    let Health { namespace, name, local } = health;
    let status = if *local > 0 { "200 OK" } else { "503 Service Unavailable" };
    let body = serde_json::json!({
        "service": {"namespace": namespace, "name": name}, "localEndpoints": local, "serviceProxyHealthy": true,
    });
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n\
         X-Load-Balancing-Endpoint-Weight: {local}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::proxy::{Settings, service};

    #[test]
    fn only_ready_endpoints_of_the_node_count() {
        let settings = Settings {
            table: "services".to_owned(),
            node: "one".to_owned(),
            pods: ([10, 244, 0, 0].into(), 16),
            services: ([10, 96, 0, 0].into(), 16),
            external_ips: false,
        };
        let service = json!({
            "metadata": {"namespace": "a", "name": "b"},
            "spec": {
                "type": "LoadBalancer", "clusterIP": "10.96.0.7", "externalTrafficPolicy": "Local",
                "healthCheckNodePort": 31000, "ports": [{"port": 80, "protocol": "TCP"}],
            },
        });
        let check = |endpoints: &[(&str, bool)], expected: usize| {
            let endpoint = |(last, (node, ready)): (usize, &(&str, bool))| {
                json!({"addresses": [format!("10.244.0.{}", last + 1)], "nodeName": node,
                    "conditions": {"ready": ready, "serving": true, "terminating": !ready}})
            };
            let endpoints: Vec<_> = endpoints.iter().enumerate().map(endpoint).collect();
            let ports = json!([{"port": 8080, "protocol": "TCP"}]);
            let slice = json!({"addressType": "IPv4", "ports": ports, "endpoints": endpoints});
            let ports = service::ports(&service, &[slice], "", &settings);
            let wanted = wanted(std::iter::once((&"a/b".to_owned(), &ports)));
            assert_eq!(wanted[&31000].local, expected, "{endpoints:?}");
        };
        check(&[], 0);
        check(&[("two", true)], 0);
        check(&[("one", true), ("one", false), ("two", true)], 1);
        // Traffic still goes there, and yet the node asks for no more.
        check(&[("one", false)], 0);
        check(&[("one", false), ("two", true)], 0);
    }

    #[test]
    fn a_node_without_endpoints_says_so() {
        let check = |local: usize, expected: &str| {
            let health = Health { namespace: "a".to_owned(), name: "b".to_owned(), local };
            assert!(answer(&health).starts_with(expected));
        };
        check(0, "HTTP/1.1 503 ");
        check(2, "HTTP/1.1 200 ");
    }
}
