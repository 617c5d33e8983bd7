//! Who is asking, and may they? Certificates, tokens, RBAC and the Node authorizer, all without a transport.
//!
//! Everything here decides on what is in memory: certificates and keys that [`pki::Pki`] made, and indexes ([`rbac::Rbac`],
//! [`node::Graph`]) that the wiring feeds with objects as the watch cache sees them. Nothing here waits, reads the store or
//! knows HTTP: the server hands over what it took from a connection and gets a [`meta::UserInfo`], a [`Decision`] or an
//! [`meta::ApiError`].

mod attributes;
mod authenticate;
mod authorizer;
mod bootstrap_token;
mod certificate;
mod impersonate;
pub mod node;
mod objects;
pub mod pki;
pub mod rbac;
mod review;
pub mod tls;
pub mod token;

pub use attributes::{Attributes, Target};
pub use authenticate::{Authenticator, bearer};
pub use authorizer::{Authorizer, Chain, Decision, MASTERS, Masters, RuleSet, Verdict};
pub use bootstrap_token::BootstrapTokens;
pub use impersonate::Impersonation;
pub use objects::Objects;
pub use review::{Review, Reviews};
