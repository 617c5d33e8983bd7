//! Asking others.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::op::{Message, Query};
use net::Namespace;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::cache::Cache;

/// How long a server has to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often all servers are asked.
const ROUNDS: usize = 2;
const PORT: u16 = 53;

/// Asks the servers of the node's `resolv.conf`.
pub(crate) struct Forwarder {
    namespace: Namespace,
    resolv_conf: PathBuf,
    /// Where we answer ourselves: asking there would never end.
    own: SocketAddr,
    cache: Cache,
}

impl Forwarder {
    pub(crate) fn new(namespace: Namespace, resolv_conf: PathBuf, own: SocketAddr) -> Self {
        Self { namespace, resolv_conf, own, cache: Cache::default() }
    }

    /// The answer to a question, over TCP if it doesn't fit a datagram; an error if nobody gives one.
    pub(crate) async fn ask(&self, query: &Query) -> io::Result<Message> {
        if let Some(answer) = self.cache.get(query, Instant::now()) {
            return Ok(answer);
        }
        let servers = self.servers();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "there are no servers to ask");
        for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
            match self.ask_one(query, *server).await {
                Ok(answer) => {
                    self.cache.put(query, &answer, Instant::now());
                    return Ok(answer);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Read each time: the file changes with the networks that the machine is in.
    fn servers(&self) -> Vec<SocketAddr> {
        let text = std::fs::read_to_string(&self.resolv_conf).unwrap_or_default();
        let servers = text.lines().filter_map(|line| line.strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
        servers.map(|ip| SocketAddr::new(ip, PORT)).filter(|server| *server != self.own).collect()
    }

    async fn ask_one(&self, query: &Query, server: SocketAddr) -> io::Result<Message> {
        let mut message = Message::query();
        message.metadata.id = rand::random();
        message.metadata.recursion_desired = true;
        message.queries.push(query.clone());
        let mut edns = hickory_proto::op::Edns::new();
        edns.set_max_payload(1232);
        message.set_edns(edns);
        let bytes = message.to_vec().map_err(io::Error::other)?;
        let exchange = async {
            let answer = self.by_datagram(&bytes, server).await?;
            let answer = accept(&answer, &message)?;
            if !answer.metadata.truncation {
                return Ok(answer);
            }
            accept(&self.by_stream(&bytes, server).await?, &message)
        };
        tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    async fn by_datagram(&self, bytes: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
        let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        let socket = self.namespace.bind_udp(SocketAddr::new(any, 0)).await?;
        socket.connect(server).await?;
        socket.send(bytes).await?;
        let mut space = vec![0; 4096];
        let length = socket.recv(&mut space).await?;
        space.truncate(length);
        Ok(space)
    }

    async fn by_stream(&self, bytes: &[u8], server: SocketAddr) -> io::Result<Vec<u8>> {
        let mut stream = self.namespace.connect(server).await?;
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }
}

/// An answer that belongs to the question.
fn accept(bytes: &[u8], asked: &Message) -> io::Result<Message> {
    let answer = Message::from_vec(bytes).map_err(io::Error::other)?;
    let fits = answer.metadata.id == asked.metadata.id && answer.queries == asked.queries;
    if fits { Ok(answer) } else { Err(io::Error::new(io::ErrorKind::InvalidData, "an answer to another question")) }
}
