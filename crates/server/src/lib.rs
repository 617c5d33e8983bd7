//! The API's front door: HTTP, TLS, content negotiation, discovery, watches, and relays to kubelets.
//!
//! A request becomes a [`meta::Call`] on a [`meta::ResourcePath`], is authorized, and goes to the registry; the answer is encoded
//! as the client wants it. Components in the process come through the same door by [`Local`], without an encoding. HTTP's
//! codes appear in `response` alone; nothing here knows controllers or nodes beyond a kubelet's address.

mod aggregation;
mod asked;
mod body;
mod components;
mod discovery;
mod door;
mod fairness;
mod feeds;
mod grants;
mod handler;
mod health;
mod in_flight;
mod listen;
mod local;
mod log_socket;
mod method;
mod metrics;
mod negotiate;
mod onward;
mod openapi;
mod options;
mod pack;
mod pretty;
mod proxy;
mod query;
mod relay;
mod request_info;
mod response;
mod rights;
mod route;
mod site;
mod table;
mod telemetry;
mod watch;
mod yaml;

pub use aggregation::{Availability, Registration};
pub use door::{Door, DoorConfig};
pub use fairness::Fairness;
pub use grants::Grants;
pub use listen::{Listener, ServeError};
pub use local::Local;
pub use rights::Rights;
