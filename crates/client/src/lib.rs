//! The one client of the API, for every component: in process, where calls go straight to the server's front door, or
//! over a network.
//!
//! [`Client`] makes single calls, an [`Informer`] holds a collection as it changes, a [`Controller`] is driven key by key, and
//! a [`Recorder`] writes events. Which transport carries the calls is nobody's business here, nor what the server does.

mod api;
mod controller;
mod informer;
mod queue;
mod recorder;
mod tls;

pub use api::{Client, Transport, WatchStream};
pub use controller::{Controller, Driver, Mapping, Outcome, ReconcileError, Source};
pub use informer::{Index, Informer, Words};
pub use recorder::{Recorder, Subject};
pub use tls::{trusting_tls, trusting_tls_as};
