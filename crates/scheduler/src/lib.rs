//! The scheduler: gives pods without a node the best one that fits.
//!
//! The cycle ([`choose`]) is pure. Pods are looked at when they appear and again when something changed that could make
//! room; nothing is tried on a timer. Binding goes through the API, as anybody's scheduler would do it.

mod cycle;
mod fit;
mod run;

pub use cycle::{Choice, choose};
pub use run::Scheduler;
