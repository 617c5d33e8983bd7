//! The cluster's names: answered from services and slices; all others by the servers that the node itself asks.

mod cache;
mod directory;
mod forward;
mod resolver;
mod server;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod zone;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use net::Namespace;
use tokio::task::JoinSet;

use crate::netd::NetdError;
use forward::Forwarder;
use server::Server;

pub(crate) use resolver::Resolver;

/// Answers at an address, over UDP and TCP.
pub(crate) async fn serve(
    tasks: &mut JoinSet<()>,
    resolver: Resolver,
    namespace: &Namespace,
    address: SocketAddr,
    resolv_conf: &Path,
) -> Result<(), NetdError> {
    let failed = |source| NetdError::Io { action: format!("listen on {address} for names"), source };
    let datagrams = namespace.bind_udp(address).await.map_err(failed)?;
    let streams = namespace.listen(address).await.map_err(failed)?;
    let forwarder = Forwarder::new(namespace.clone(), resolv_conf.to_owned(), address);
    let server = Arc::new(Server { resolver, forwarder });
    tasks.spawn(Arc::clone(&server).serve_datagrams(datagrams));
    tasks.spawn(server.serve_streams(streams));
    Ok(())
}
