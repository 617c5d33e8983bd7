//! Groups with few kinds.

mod disruption_budget;
mod lease;
mod priority_class;
mod runtime_class;

use crate::plain::{STATUS, resource};
use crate::resource::Resource;

/// The groups' resources.
pub(crate) fn all() -> Vec<Resource> {
    let cluster = |resource: Resource| Resource { namespaced: false, ..resource };
    vec![
        Resource {
            columns: lease::COLUMNS,
            rules: &lease::Lease,
            ..resource("coordination.k8s.io", "Lease", "leases", "lease")
        },
        Resource {
            short_names: &["ev"],
            storage: ("", "events"),
            columns: crate::core::event::COLUMNS,
            rules: &crate::core::event::Event::NEW,
            ..resource("events.k8s.io", "Event", "events", "event")
        },
        cluster(Resource {
            columns: runtime_class::COLUMNS,
            rules: &runtime_class::RuntimeClass,
            ..resource("node.k8s.io", "RuntimeClass", "runtimeclasses", "runtimeclass")
        }),
        Resource {
            short_names: &["pdb"],
            subresources: &[STATUS],
            columns: disruption_budget::COLUMNS,
            rules: &disruption_budget::DisruptionBudget,
            ..resource("policy", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget")
        },
        cluster(Resource {
            short_names: &["pc"],
            columns: priority_class::COLUMNS,
            rules: &priority_class::PriorityClass,
            ..resource("scheduling.k8s.io", "PriorityClass", "priorityclasses", "priorityclass")
        }),
    ]
}
