//! ServiceCIDRs: ready when made, and gone only when no address depends on them.

use std::net::IpAddr;

use async_trait::async_trait;
use client::{Client, Controller, Informer, Outcome, ReconcileError, Source};
use meta::{Clock, ResourcePath, SystemClock, format_time};
use serde_json::{Value, json};

use super::{items, networking, text};

const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// The key that stands for all ranges.
const ALL: &str = "";

pub(crate) struct Cidrs {
    pub(crate) client: Client,
    pub(crate) cidrs: Informer,
    pub(crate) addresses: Informer,
}

fn subnets(cidr: &Value) -> Vec<(IpAddr, u32)> {
    let parse = |text: &str| {
        let (address, bits) = text.split_once('/')?;
        Some((address.parse().ok()?, bits.parse().ok()?))
    };
    items(cidr, "/spec/cidrs").iter().filter_map(Value::as_str).filter_map(parse).collect()
}

fn contains((network, bits): (IpAddr, u32), address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            (network.to_bits() ^ address.to_bits()).checked_shr(32 - bits.min(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            (network.to_bits() ^ address.to_bits()).checked_shr(128 - bits.min(128)).unwrap_or(0) == 0
        }
        (_, _) => false,
    }
}

/// What to do with a range.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    AddFinalizer,
    Condition { ready: bool },
    Release,
}

/// `others` are the further ranges that are there to stay.
fn plan(cidr: &Value, others: &[Value], addresses: &[IpAddr]) -> Option<Action> {
    let finalizers = items(cidr, "/metadata/finalizers");
    let held = finalizers.iter().any(|own| own == FINALIZER);
    let status = items(cidr, "/status/conditions").iter().find(|own| own["type"] == "Ready");
    let status = status.map_or("", |own| text(own, "/status"));
    if text(cidr, "/metadata/deletionTimestamp").is_empty() {
        return match (held, status) {
            (false, _) => Some(Action::AddFinalizer),
            (true, "True") => None,
            (true, _) => Some(Action::Condition { ready: true }),
        };
    }
    let own = subnets(cidr);
    let elsewhere: Vec<_> = others.iter().flat_map(subnets).collect();
    let depends = |address: &&IpAddr| {
        let inside = |ranges: &[(IpAddr, u32)]| ranges.iter().any(|range| contains(*range, **address));
        inside(&own) && !inside(&elsewhere)
    };
    match (held, addresses.iter().find(depends)) {
        (false, _) => None,
        (true, None) => Some(Action::Release),
        (true, Some(_)) if status == "False" => None,
        (true, Some(_)) => Some(Action::Condition { ready: false }),
    }
}

fn condition(ready: bool) -> Value {
    let now = format_time(SystemClock.now());
    let (status, reason, message) = if ready {
        ("True", "", "Kubernetes Service CIDR is ready")
    } else {
        (
            "False",
            "Terminating",
            "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
        )
    };
    json!({"type": "Ready", "status": status, "reason": reason, "message": message, "lastTransitionTime": now})
}

#[async_trait]
impl Controller for Cidrs {
    fn name(&self) -> &'static str {
        "service-cidrs"
    }

    fn sources(&self) -> Vec<Source> {
        vec![
            Source { informer: self.cidrs.clone(), keys: |_| vec![ALL.to_owned()] },
            Source { informer: self.addresses.clone(), keys: |_| vec![ALL.to_owned()] },
        ]
    }

    async fn reconcile(&self, _: &str) -> Result<Outcome, ReconcileError> {
        let cidrs: Vec<Value> = self.cidrs.list().iter().map(|cidr| cidr.value()).collect();
        let stays = |cidr: &&Value| text(cidr, "/metadata/deletionTimestamp").is_empty();
        let staying: Vec<Value> = cidrs.iter().filter(stays).cloned().collect();
        let addresses: Vec<IpAddr> =
            self.addresses.list().iter().filter_map(|address| address.metadata.name.parse().ok()).collect();
        let mut wrote = 0;
        for cidr in &cidrs {
            let Some(action) = plan(cidr, &staying, &addresses) else { continue };
            let path = ResourcePath::object(networking("servicecidrs"), "", text(cidr, "/metadata/name"));
            let others = items(cidr, "/metadata/finalizers").iter().filter(|own| *own != FINALIZER);
            let others: Vec<&Value> = others.collect();
            let written = match action {
                Action::AddFinalizer => {
                    let all: Vec<Value> = others.into_iter().cloned().chain([json!(FINALIZER)]).collect();
                    self.client.merge(&path, &json!({"metadata": {"finalizers": all}})).await?
                }
                Action::Release => self.client.merge(&path, &json!({"metadata": {"finalizers": others}})).await?,
                Action::Condition { ready } => {
                    let kept = items(cidr, "/status/conditions").iter().filter(|own| own["type"] != "Ready");
                    let all: Vec<Value> = kept.cloned().chain([condition(ready)]).collect();
                    self.client.merge(&path.subresource("status"), &json!({"status": {"conditions": all}})).await?
                }
            };
            wrote = wrote.max(written.revision);
        }
        Ok(Outcome { wrote, ..Outcome::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_stay_while_addresses_depend_on_them() {
        let range = |cidr: &str, finalizer: bool, deleted: bool, ready: Option<&str>| {
            json!({
                "metadata": {
                    "finalizers": if finalizer { json!([FINALIZER]) } else { json!([]) },
                    "deletionTimestamp": if deleted { json!("2026-01-01T00:00:00Z") } else { Value::Null },
                },
                "spec": {"cidrs": [cidr]},
                "status": {"conditions": ready.map(|status| json!({"type": "Ready", "status": status})).into_iter().collect::<Vec<_>>()},
            })
        };
        let address: IpAddr = "10.96.0.7".parse().expect("an address");
        let check = |own: Value, others: &[Value], expected: Option<Action>| {
            assert_eq!(plan(&own, others, &[address]), expected, "{own}");
        };
        let whole = "10.96.0.0/16";
        check(range(whole, false, false, None), &[], Some(Action::AddFinalizer));
        check(range(whole, true, false, None), &[], Some(Action::Condition { ready: true }));
        check(range(whole, true, false, Some("True")), &[], None);
        check(range(whole, true, true, Some("True")), &[], Some(Action::Condition { ready: false }));
        check(range(whole, true, true, Some("False")), &[], None);
        check(
            range(whole, true, true, Some("True")),
            &[range("10.96.0.0/24", true, false, None)],
            Some(Action::Release),
        );
        check(range("10.97.0.0/16", true, true, Some("True")), &[], Some(Action::Release));
    }
}
