//! Admission policies: expressions in CEL that refuse or change writes.

mod merge;
mod mutating;
mod params;
mod read;
mod validating;
mod variables;

pub(crate) use mutating::MutatingPolicies;
pub(crate) use validating::ValidatingPolicies;
