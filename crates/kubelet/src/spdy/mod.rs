//! SPDY/3.1, the server's side, as far as Kubernetes' clients use it: streams with headers inside one connection. It knows neither HTTP
//! nor pods.
//!
//! Compat: clients of Kubernetes neither keep to nor announce windows, so there is no flow control beyond the connection's own: a
//! stream that nobody reads holds up the others of its connection.

mod connection;
mod frame;

pub(crate) use connection::{Reader, Stream, Writer, open};
