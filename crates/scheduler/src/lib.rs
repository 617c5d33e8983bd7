//! The scheduler: gives pods without a node the best one that fits.
//!
//! Decisions are pure: the cycle ([`choose`]) asks one [plugin](plugins) after another about a [`Cluster`], preemption tries what
//! would fit without less important pods, the queue says who is tried when. Only what changed in a way that could help
//! brings a pod back. Carrying out (binding, preempting, telling why not) goes through the API, as anybody's scheduler does
//! it, and bindings run side by side.

mod amounts;
mod cluster;
mod cycle;
mod node;
mod outcome;
mod plugins;
mod pod;
mod preemption;
mod queue;
mod run;
mod selectors;
mod state;
#[cfg(test)]
mod testing;

pub use run::Scheduler;
