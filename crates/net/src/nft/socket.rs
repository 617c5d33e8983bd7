//! Carrying transactions to the kernel.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, setsockopt, socket, sockopt,
};

use super::buffer::messages;
use super::transaction::Transaction;
use crate::Namespace;

/// A transaction that did not happen.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The kernel can't be spoken to.
    #[error("{action}: {source}")]
    Io {
        /// What we were doing.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// It refused.
    #[error("change packet rules: change {change} of {changes} was refused: {source}")]
    Refused {
        /// The number of the first refused change.
        change: usize,
        /// Of so many.
        changes: usize,
        /// Why.
        source: io::Error,
    },
}

/// A conversation with the kernel about the packet rules of one namespace.
#[derive(Debug)]
pub struct Rules(OwnedFd);

impl Rules {
    /// Begins it.
    pub async fn of(namespace: &Namespace) -> Result<Self, RulesError> {
        let open = || Ok(socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, NETFILTER)?);
        let made = namespace.run(open).await;
        made.map(Self).map_err(|source| RulesError::Io { action: "open a netfilter socket", source })
    }

    /// Carries a transaction out. Takes as long as the kernel does: milliseconds, or more for thousands of changes.
    pub fn commit(&self, transaction: &Transaction) -> Result<(), RulesError> {
        let io = |action| move |error: nix::Error| RulesError::Io { action, source: error.into() };
        let buffer = transaction.finish();
        // The default is too small for the rules of thousands of services, and for as many acknowledgements.
        setsockopt(&self.0, sockopt::SndBufForce, &(buffer.bytes().len() + (1 << 16))).map_err(io("grow a buffer"))?;
        let room = (1 << 18) + transaction.changes() * 1024;
        setsockopt(&self.0, sockopt::RcvBufForce, &room).map_err(io("grow a buffer"))?;
        sendto(self.0.as_raw_fd(), buffer.bytes(), &NetlinkAddr::new(0, 0), MsgFlags::empty())
            .map_err(io("send packet rules"))?;
        self.answers(transaction.changes())
    }

    /// Everything the kernel has to say is there once the transaction was sent.
    fn answers(&self, changes: usize) -> Result<(), RulesError> {
        let mut space = vec![0; 1 << 16];
        let (mut seen, mut refused) = (0, None);
        loop {
            let length = match recv(self.0.as_raw_fd(), &mut space, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => length,
                Err(nix::Error::EAGAIN) => break,
                Err(error) => return Err(RulesError::Io { action: "hear about packet rules", source: error.into() }),
            };
            for (_, body) in messages(&space[..length]) {
                let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
                seen += 1;
                if code != 0 && refused.is_none() {
                    let source = io::Error::from_raw_os_error(-code);
                    refused = Some(RulesError::Refused { change: seen, changes, source });
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }
}

pub(crate) const NETFILTER: SockProtocol = SockProtocol::NetlinkNetFilter;
