//! Role-based access control: rules, who is bound to them, and the roles every cluster starts with.

pub mod bootstrap;
mod ensure;
mod escalation;
mod index;
mod rule;

pub use ensure::ensure;
pub use escalation::Escalation;
pub use index::{Rbac, RoleRef};
pub use rule::Rule;
