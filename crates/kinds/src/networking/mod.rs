//! networking.k8s.io and discovery.k8s.io.

mod endpoint_slice;
mod ingress;
mod ip_address;
mod network_policy;
mod service_cidr;

use crate::plain::{STATUS, resource};
use crate::resource::Resource;

/// The groups' resources.
pub(crate) fn all() -> Vec<Resource> {
    let own = |kind, plural, singular| resource("networking.k8s.io", kind, plural, singular);
    let cluster = |resource: Resource| Resource { namespaced: false, ..resource };
    vec![
        Resource {
            columns: endpoint_slice::COLUMNS,
            rules: &endpoint_slice::EndpointSlice,
            ..resource("discovery.k8s.io", "EndpointSlice", "endpointslices", "endpointslice")
        },
        Resource {
            short_names: &["ing"],
            subresources: &[STATUS],
            columns: ingress::COLUMNS,
            rules: &ingress::Ingress,
            ..own("Ingress", "ingresses", "ingress")
        },
        cluster(Resource {
            columns: ingress::CLASS_COLUMNS,
            rules: &ingress::IngressClass,
            ..own("IngressClass", "ingressclasses", "ingressclass")
        }),
        cluster(Resource {
            short_names: &["ip"],
            columns: ip_address::COLUMNS,
            rules: &ip_address::IpAddress,
            ..own("IPAddress", "ipaddresses", "ipaddress")
        }),
        Resource {
            short_names: &["netpol"],
            columns: network_policy::COLUMNS,
            rules: &network_policy::NetworkPolicy,
            ..own("NetworkPolicy", "networkpolicies", "networkpolicy")
        },
        cluster(Resource {
            columns: service_cidr::COLUMNS,
            subresources: &[STATUS],
            rules: &service_cidr::ServiceCidr,
            ..own("ServiceCIDR", "servicecidrs", "servicecidr")
        }),
    ]
}
