//! nf_tables over netlink: tables, chains, sets, maps and rules, changed in transactions that happen whole or not at all.
//!
//! Only what address translation needs is here, for IPv4. What chains are for is the caller's business. The kernel's numbers are
//! those of `linux/netfilter/nf_tables.h`.

mod buffer;
mod expression;
mod objects;
mod socket;
mod transaction;

pub use expression::{Field, Rule};
pub use objects::{Base, Chain, Data, Element, Hook, Kind, Set, Value, Verdict, key};
pub use socket::{Rules, RulesError};
pub use transaction::Transaction;

pub(crate) use buffer::{Buffer, attributes, messages};
pub(crate) use socket::NETFILTER;
