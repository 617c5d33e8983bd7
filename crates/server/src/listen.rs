//! Connections: TCP, TLS, HTTP/1.1 and HTTP/2.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use auth::tls::{Peer, PeerVerifier};
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::door::Door;
use crate::handler::handle;
use crate::proxy::Client;

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No more connections can be accepted.
    #[error("accept connections: {0}")]
    Accept(#[from] io::Error),
}

/// A socket that serves the API.
pub struct Listener {
    /// The door behind it.
    pub door: Arc<Door>,
    /// The server's certificate.
    pub tls: Arc<rustls::ServerConfig>,
    /// Judges clients' certificates.
    pub peers: Arc<PeerVerifier>,
}

impl Listener {
    /// Serves until `stop`; then every connection ends, watches included.
    pub async fn serve(self, socket: TcpListener, stop: CancellationToken) -> Result<(), ServeError> {
        let listener = Arc::new(self);
        let connections = TaskTracker::new();
        loop {
            let stream = tokio::select! {
                accepted = socket.accept() => accepted?.0,
                () = stop.cancelled() => break,
            };
            let (listener, stop) = (Arc::clone(&listener), stop.clone());
            connections.spawn(async move {
                tokio::select! {
                    served = listener.connection(stream) => {
                        if let Err(error) = served {
                            tracing::debug!(error, "a connection ended");
                        }
                    }
                    () = stop.cancelled() => {}
                }
            });
        }
        connections.close();
        connections.wait().await;
        Ok(())
    }

    async fn connection(&self, stream: TcpStream) -> Result<(), String> {
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let client = stream.peer_addr().map(Client).map_err(|error| error.to_string())?;
        let accepted = TlsAcceptor::from(Arc::clone(&self.tls)).accept(stream).await;
        let stream = accepted.map_err(|error| error.to_string())?;
        let now = self.door.config.clock.now();
        let peer = match stream.get_ref().1.peer_certificates() {
            Some(chain) => self.peers.peer(chain, now),
            None => Peer::Nobody,
        };
        let peer = Arc::new(peer);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(client);
            let (door, peer) = (Arc::clone(&self.door), Arc::clone(&peer));
            async move { Ok::<_, Infallible>(handle(&door, &peer, request).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // A watch must never hold up the other streams of its connection.
        builder
            .http2()
            .max_concurrent_streams(1000)
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(1 << 22);
        builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await.map_err(|error| error.to_string())
    }
}
