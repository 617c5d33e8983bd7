//! What a node's kubelet may do: what it needs for itself and for the pods bound to it, and nothing of others.

mod authorizer;
mod graph;

pub use authorizer::NodeAuthorizer;
pub use graph::Graph;
