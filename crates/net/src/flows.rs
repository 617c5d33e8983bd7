//! Connections that the kernel tracks: which are there, and forgetting some.
//!
//! A flow of datagrams keeps its translation as long as it goes on, also when what it leads to is gone. Only forgetting it lets the
//! next datagram find its way anew.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockType, recv, sendto, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::nft::{Buffer, NETFILTER, attributes, messages};
use crate::{Namespace, Transport};

const SUBSYSTEM: u16 = 1;
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;
const DUMP: u16 = 0x300;
const DONE: u16 = 3;
const ERROR: u16 = 2;
const IPV4: u8 = 2;
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;

/// An address and a port.
pub type Endpoint = (Ipv4Addr, u16);

/// A flow of datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Whom its first datagram was sent to.
    pub destination: Endpoint,
    /// Who answers it: what the destination was translated to, or the destination itself.
    pub answerer: Endpoint,
    /// The kernel's own description.
    tuple: Vec<u8>,
}

/// A conversation with the kernel about the flows of one namespace.
#[derive(Debug)]
pub struct Flows(OwnedFd);

impl Flows {
    /// Begins it.
    pub async fn of(namespace: &Namespace) -> io::Result<Self> {
        let open = || {
            let made = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, NETFILTER)?;
            // The kernel answers at once; this only bounds the harm if it doesn't.
            setsockopt(&made, sockopt::ReceiveTimeout, &TimeVal::seconds(5))?;
            Ok(made)
        };
        namespace.run(open).await.map(Self)
    }

    /// The flows of datagrams that go on, or ended only just now.
    pub fn of_datagrams(&self) -> io::Result<Vec<Flow>> {
        let mut request = Buffer::default();
        request.message(GET, REQUEST | DUMP, (IPV4, 0), |_| {});
        self.send(&request)?;
        let mut space = vec![0; 1 << 16];
        let mut flows = Vec::new();
        loop {
            let length = recv(self.0.as_raw_fd(), &mut space, MsgFlags::empty())?;
            for (kind, body) in messages(&space[..length]) {
                match kind {
                    DONE => return Ok(flows),
                    ERROR => return Err(refusal(body).unwrap_or(io::ErrorKind::InvalidData.into())),
                    _ => flows.extend(body.get(4..).and_then(flow)),
                }
            }
        }
    }

    /// Forgets a flow; one that is gone already is no failure.
    pub fn forget(&self, flow: &Flow) -> io::Result<()> {
        let mut request = Buffer::default();
        request.message(DELETE, REQUEST | ACKNOWLEDGE, (IPV4, 0), |message| {
            message.nested(ORIGINAL, |tuple| tuple.raw(&flow.tuple));
        });
        self.send(&request)?;
        let mut space = vec![0; 4096];
        let length = recv(self.0.as_raw_fd(), &mut space, MsgFlags::empty())?;
        match messages(&space[..length]).find_map(|(_, body)| refusal(body)) {
            Some(error) if error.raw_os_error() != Some(libc::ENOENT) => Err(error),
            Some(_) | None => Ok(()),
        }
    }

    fn send(&self, request: &Buffer) -> io::Result<()> {
        sendto(self.0.as_raw_fd(), request.bytes(), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        Ok(())
    }
}

fn refusal(body: &[u8]) -> Option<io::Error> {
    let code = i32::from_ne_bytes(body.get(..4)?.try_into().ok()?);
    (code != 0).then(|| io::Error::from_raw_os_error(-code))
}

/// Reads a flow; `None` for what isn't one of datagrams.
fn flow(body: &[u8]) -> Option<Flow> {
    let find = |kind: u16| attributes(body).find(|(own, _)| *own == kind).map(|(_, value)| value);
    let tuple = find(ORIGINAL)?;
    let (_, destination) = ends(tuple)?;
    let (answerer, _) = ends(find(REPLY)?)?;
    Some(Flow { destination, answerer, tuple: tuple.to_vec() })
}

/// Source and destination of a tuple of datagrams.
fn ends(tuple: &[u8]) -> Option<(Endpoint, Endpoint)> {
    let find =
        |bytes: &[u8], kind: u16| attributes(bytes).find(|(own, _)| *own == kind).map(|(_, value)| value.to_vec());
    let (ip, transport) = (find(tuple, 1)?, find(tuple, 2)?);
    if find(&transport, 1)? != [Transport::Udp.number()] {
        return None;
    }
    let address = |kind: u16| Some(Ipv4Addr::from(<[u8; 4]>::try_from(find(&ip, kind)?).ok()?));
    let port = |kind: u16| Some(u16::from_be_bytes(find(&transport, kind)?.try_into().ok()?));
    Some(((address(1)?, port(2)?), (address(2)?, port(3)?)))
}
