//! Admission plugins: what upstream's API server checks and fills in beyond a kind's own rules.
//!
//! A plugin is one file and one line in [`all`]. It looks at one write and at what the cache shows, and writes nothing.

mod expressions;
mod fields;
mod limit_ranger;
mod matching;
mod namespace_lifecycle;
mod node_restriction;
mod pod_security;
mod policy;
mod priority;
mod reach;
mod rights;
mod runtime_class;
mod service_account;
mod storage;
mod taint_nodes;
#[cfg(test)]
mod testing;
mod toleration_seconds;
mod webhook;

use std::sync::Arc;

use registry::Admission;

pub use reach::{Dial, ServicePort, trusting};
pub use rights::{Question, Rights};
pub use webhook::{Caller, WebhookConverter};

/// All plugins, in upstream's order; those that are programs elsewhere are called by `caller`, and expressions ask for users' `rights`.
pub fn all(caller: &Caller, rights: &Arc<dyn Rights>) -> Vec<Arc<dyn Admission>> {
    vec![
        Arc::new(namespace_lifecycle::NamespaceLifecycle),
        Arc::new(limit_ranger::LimitRanger),
        Arc::new(service_account::ServiceAccount),
        Arc::new(node_restriction::NodeRestriction),
        Arc::new(taint_nodes::TaintNodesByCondition),
        Arc::new(pod_security::PodSecurity),
        Arc::new(priority::Priority),
        Arc::new(toleration_seconds::DefaultTolerationSeconds),
        Arc::new(storage::DefaultStorageClass),
        Arc::new(storage::ObjectInUseProtection),
        Arc::new(runtime_class::RuntimeClass),
        Arc::new(policy::MutatingPolicies::new(rights)),
        Arc::new(webhook::MutatingWebhooks::new(caller.clone(), rights)),
        Arc::new(policy::ValidatingPolicies::new(rights)),
        Arc::new(webhook::ValidatingWebhooks::new(caller.clone(), rights)),
    ]
}
