//! What probes and hooks have in common: a container to reach, ports by name, GET requests.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::requests::Get;

/// The container that is spoken to.
#[derive(Clone)]
pub(crate) struct Target {
    /// Its id in the runtime.
    pub(crate) id: String,
    pub(crate) container: Container,
    pub(crate) ip: Option<IpAddr>,
    /// Its pod as messages name it.
    pub(crate) pod: String,
}

impl Target {
    /// A port's number; a name is looked up in the container's ports.
    pub(crate) fn port(&self, port: &IntOrString) -> Result<u16, String> {
        let number = match port {
            IntOrString::Int(number) => u16::try_from(*number).ok(),
            IntOrString::String(name) => {
                let named =
                    self.container.ports.iter().flatten().find(|port| port.name.as_deref() == Some(name.as_str()));
                match named {
                    Some(named) => u16::try_from(named.container_port).ok(),
                    None => {
                        let numeric = name.parse().ok();
                        numeric.or(None)
                    }
                }
            }
        };
        number.filter(|number| *number > 0).ok_or_else(|| match port {
            IntOrString::Int(number) => format!("invalid port number: {number}"),
            IntOrString::String(name) => {
                format!("couldn't find port: {name:?} in container {:?}", self.container.name)
            }
        })
    }

    /// Where to connect to.
    pub(crate) fn address(&self, host: Option<&str>, port: u16) -> Result<SocketAddr, String> {
        let ip = match host.filter(|host| !host.is_empty()) {
            Some("localhost") => Some(IpAddr::from([127, 0, 0, 1])),
            Some(host) => Some(host.parse().map_err(|_| format!("lookup {host}: no such host"))?),
            None => self.ip,
        };
        ip.map(|ip| SocketAddr::new(ip, port)).ok_or_else(|| "the pod has no address".to_owned())
    }

    /// The request of an `httpGet`. `purpose` is `probe` or `lifecycle`.
    pub(crate) fn get(&self, action: &HTTPGetAction, purpose: &str) -> Result<Get, String> {
        let address = self.address(action.host.as_deref(), self.port(&action.port)?)?;
        let headers: Vec<_> =
            action.http_headers.iter().flatten().map(|header| (header.name.clone(), header.value.clone())).collect();
        let own_host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let path = action.path.clone().unwrap_or_default();
        Ok(Get {
            address,
            tls: action.scheme.as_deref() == Some("HTTPS"),
            host: own_host.map(|(_, host)| host.clone()).unwrap_or_else(|| address.to_string()),
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            headers,
            agent: format!("kube-{purpose}/1.36"),
        })
    }
}
