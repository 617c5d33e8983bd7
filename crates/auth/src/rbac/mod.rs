//! Role-based access control: rules, who is bound to them, and the roles every cluster starts with.

pub mod bootstrap;
mod escalation;
mod index;
mod rule;

pub use escalation::Escalation;
pub use index::{Rbac, RoleRef};
pub use rule::Rule;
