//! What makes services work: who stands behind them, and the addresses they have.

mod balancer;
mod cidrs;
mod endpoints;
mod members;
mod mirror;
mod repair;
mod slice_controller;
mod slices;
mod triggers;

use std::sync::Arc;

use client::{Controller, Informer};
use meta::Gvr;

use crate::Context;

/// The controllers of services.
pub(crate) fn all(context: &Context, pods: &Informer) -> Vec<Arc<dyn Controller>> {
    let follow = |gvr: Gvr| Informer::new(context.reader.clone(), gvr);
    let services = follow(core("services"));
    let slices = follow(slices::gvr());
    let endpoints = follow(core("endpoints"));
    let nodes = follow(core("nodes"));
    let addresses = follow(networking("ipaddresses"));
    let writer = &context.client;
    vec![
        Arc::new(slice_controller::Slices {
            client: writer("endpointslice-controller"),
            services: services.clone(),
            pods: pods.clone(),
            slices: slices.clone(),
            nodes: nodes.clone(),
            members: members::Members::default(),
            triggers: triggers::Triggers::default(),
        }),
        Arc::new(endpoints::EndpointsController {
            client: writer("endpoint-controller"),
            services: services.clone(),
            pods: pods.clone(),
            endpoints: endpoints.clone(),
            members: members::Members::default(),
            triggers: triggers::Triggers::default(),
        }),
        Arc::new(mirror::Mirror {
            client: writer("endpointslicemirroring-controller"),
            services: services.clone(),
            endpoints,
            slices,
        }),
        Arc::new(balancer::Balancer { client: writer("service-controller"), services: services.clone(), nodes }),
        Arc::new(cidrs::Cidrs {
            client: writer("service-cidrs-controller"),
            cidrs: follow(networking("servicecidrs")),
            addresses: addresses.clone(),
        }),
        Arc::new(repair::Repair { client: context.api_server.clone(), services, addresses }),
    ]
}

fn core(resource: &str) -> Gvr {
    Gvr::new("", "v1", resource)
}

fn networking(resource: &str) -> Gvr {
    Gvr::new("networking.k8s.io", "v1", resource)
}

/// Whether a namespace's end refuses what was to be made in it.
fn ends_with_namespace(error: &meta::ApiError) -> bool {
    let causes = error.details.iter().flat_map(|details| &details.causes);
    causes.into_iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// The text at a pointer; empty if there is none.
fn text<'a>(value: &'a serde_json::Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default()
}

/// The items of a list; none where it is null.
fn items<'a>(value: &'a serde_json::Value, pointer: &str) -> &'a [serde_json::Value] {
    value.pointer(pointer).and_then(serde_json::Value::as_array).map_or(&[], Vec::as_slice)
}
