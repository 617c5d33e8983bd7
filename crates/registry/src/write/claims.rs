//! What an object takes in its own commit: a Service its cluster IPs, each as an IPAddress object, and its node ports; every object
//! what it costs the quotas of its namespace.
//!
//! A claim is a key that must be absent and is put together with the service, so two services never have the same address or port,
//! whatever happens in between. There is nothing to repair.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use meta::field::{Error, Path};
use meta::{ApiError, format_time};
use serde_json::{Value, json};
use store::{Commit, Expect, Key, Op, Revision};

use super::fields::text;
use super::{Failure, Writer};
use crate::cache::encode;

/// The ports of nodes that services may have, as upstream has it by default.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;
/// Where node ports are kept: beside the objects, since they are none.
const PORT_PREFIX: &str = "/minke/node-ports/";
/// So often a random choice is made before all that are free are looked at.
const GUESSES: usize = 64;

/// What a write takes and gives back besides its object.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// The object's name, for what is said of it.
    name: String,
    /// Keys that must be absent, with what they shall hold.
    take: BTreeMap<Key, Bytes>,
    /// Keys that are free from then on.
    release: Vec<Key>,
    /// What to say if a key that the user asked for is taken.
    refusals: BTreeMap<Key, Error>,
    /// What becomes of quotas, if they are still at these revisions.
    pub(super) charges: BTreeMap<Key, (Revision, Bytes)>,
}

impl Claims {
    /// Adds them to the commit of the object.
    pub(super) fn extend(&self, commit: &mut Commit) {
        for (key, value) in &self.take {
            commit.expects.push((key.clone(), Expect::Absent));
            commit.ops.push(Op::Put { key: key.clone(), value: value.clone(), ttl: None });
        }
        commit.ops.extend(self.release.iter().map(|key| Op::Delete { key: key.clone() }));
        for (key, (revision, quota)) in &self.charges {
            commit.expects.push((key.clone(), Expect::Revision(*revision)));
            commit.ops.push(Op::Put { key: key.clone(), value: quota.clone(), ttl: None });
        }
    }

    /// The claim that failed, if the key is one's: the user's wish that can't be fulfilled, or `None` to choose anew.
    pub(super) fn failed(&self, key: &str) -> Option<Option<&Error>> {
        let own = self.take.contains_key(key) || self.charges.contains_key(key);
        own.then(|| self.refusals.get(key))
    }
}

impl Writer<'_> {
    /// Whether objects of this kind take something.
    pub(super) fn claims_something(&self) -> bool {
        self.row.storage == ("", "services")
    }

    /// Chooses what the object has not yet, and tells what it takes and gives back. Nothing is taken before the commit.
    pub(super) async fn claim(&self, object: &mut Value, old: Option<&Value>) -> Result<Claims, ApiError> {
        let mut claims = Claims { name: text(object, "/metadata/name").to_owned(), ..Claims::default() };
        if !self.claims_something() || !self.subresource.is_empty() {
            return Ok(claims);
        }
        let had = old.map(|old| self.keys(old)).unwrap_or_default();
        self.claim_addresses(object, &had, &mut claims)?;
        self.claim_ports(object, &had, &mut claims).await?;
        let has = self.keys(object);
        claims.release = had.into_iter().filter(|key| !has.contains(key)).collect();
        Ok(claims)
    }

    /// What goes with the object when it goes.
    pub(super) fn released(&self, object: &Value) -> Claims {
        if !self.claims_something() {
            return Claims::default();
        }
        Claims { release: self.keys(object), ..Claims::default() }
    }

    /// The keys of everything a service has.
    fn keys(&self, service: &Value) -> Vec<Key> {
        let addresses = list(service, "/spec/clusterIPs").iter().filter_map(Value::as_str).filter(|ip| *ip != "None");
        let mut keys: Vec<Key> = addresses.map(|ip| self.address_key(ip)).collect();
        let ports = list(service, "/spec/ports").iter().filter_map(|port| port["nodePort"].as_u64());
        let health = service.pointer("/spec/healthCheckNodePort").and_then(Value::as_u64);
        keys.extend(ports.chain(health).filter(|number| *number != 0).map(port_key));
        keys.sort();
        keys.dedup();
        keys
    }

    fn address_key(&self, ip: &str) -> Key {
        let storage = self.registry.cache.storage("networking.k8s.io", "ipaddresses");
        let storage = storage.expect("IPAddress is built in");
        storage.key("", ip)
    }

    fn claim_addresses(&self, object: &mut Value, had: &[Key], claims: &mut Claims) -> Result<(), ApiError> {
        let headless = list(object, "/spec/clusterIPs").first().is_some_and(|ip| ip == "None");
        if text(object, "/spec/type") == "ExternalName" || headless {
            return Ok(());
        }
        let path = Path::new("spec").child("clusterIPs");
        let asked = text(object, "/spec/clusterIP").to_owned();
        let ranges = self.ranges();
        let chosen = match asked.parse() {
            Ok(IpAddr::V4(address)) => {
                let key = self.address_key(&asked);
                if had.contains(&key) {
                    return Ok(());
                }
                let refuse = |why: &str| {
                    let detail = format!("failed to allocate IP {asked}: {why}");
                    Error::invalid(&path, object["spec"]["clusterIPs"].clone(), &detail)
                };
                if !ranges.iter().any(|range| range.contains(address)) {
                    return Err(self.refused(claims, refuse("the provided network does not match the current range")));
                }
                let taken = refuse("provided IP is already allocated");
                if self.address_is_taken(address) {
                    return Err(self.refused(claims, taken));
                }
                claims.refusals.insert(key, taken);
                address
            }
            // Validation has the word.
            _ if !asked.is_empty() => return Ok(()),
            _ => self.free_address(&ranges).ok_or_else(|| {
                let name = text(object, "/metadata/name");
                ApiError::internal(format!("failed to allocate a serviceIP for Service {name:?}: range is full"))
            })?,
        };
        object["spec"]["clusterIP"] = json!(chosen);
        object["spec"]["clusterIPs"] = json!([chosen]);
        claims
            .take
            .insert(self.address_key(&chosen.to_string()), Bytes::from(encode(&self.ip_address(object, chosen))));
        Ok(())
    }

    fn address_is_taken(&self, address: Ipv4Addr) -> bool {
        let (address, cache) = (address.to_string(), &self.registry.cache);
        let storage = cache.storage("networking.k8s.io", "ipaddresses");
        if storage.is_some_and(|storage| storage.get(&self.address_key(&address)).is_some()) {
            return true;
        }
        // Anyone may remove an IPAddress; the service that has the address keeps it all the same.
        self.storage
            .newest()
            .0
            .beneath(&self.storage.prefix)
            .any(|(_, service)| service.field("spec.clusterIP") == Some(&address))
    }

    /// Compat: like upstream, the first part of a range is left to those who ask for an address, while there are others.
    fn free_address(&self, ranges: &[Range]) -> Option<Ipv4Addr> {
        for range in ranges {
            let guesses = std::iter::repeat_with(|| range.nth(rand::random_range(range.offset()..range.size())));
            if let Some(free) = guesses.take(GUESSES).find(|address| !self.address_is_taken(*address)) {
                return Some(free);
            }
        }
        let all = ranges.iter().flat_map(|range| (0..range.size()).map(|index| range.nth(index)));
        all.into_iter().find(|address| !self.address_is_taken(*address))
    }

    /// The ranges of the ServiceCIDRs, but of those that are not ready; the default one before there are any.
    fn ranges(&self) -> Vec<Range> {
        let Some(storage) = self.registry.cache.storage("networking.k8s.io", "servicecidrs") else { return Vec::new() };
        let (map, _) = storage.newest();
        let mut ranges = Vec::new();
        let mut any = false;
        for (_, object) in map.beneath(&storage.prefix) {
            any = true;
            let value = object.value();
            let is_unready = |condition: &Value| condition["type"] == "Ready" && condition["status"] != "True";
            if !object.metadata.is_terminating() && !list(&value, "/status/conditions").iter().any(is_unready) {
                ranges.extend(list(&value, "/spec/cidrs").iter().filter_map(Value::as_str).filter_map(Range::parse));
            }
        }
        if !any {
            ranges.extend(Range::parse(kinds::DEFAULT_SERVICE_CIDR));
        }
        ranges
    }

    fn ip_address(&self, service: &Value, address: Ipv4Addr) -> Value {
        json!({
            "kind": "IPAddress", "apiVersion": "networking.k8s.io/v1",
            "metadata": {
                "name": address, "uid": uuid::Uuid::new_v4().to_string(), "generation": 1,
                "creationTimestamp": format_time(self.registry.clock.now()),
                "labels": {
                    "ipaddress.kubernetes.io/ip-family": "IPv4",
                    "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                },
            },
            "spec": {"parentRef": {
                "group": "", "resource": "services", "namespace": self.namespace, "name": text(service, "/metadata/name"),
            }},
        })
    }

    async fn claim_ports(&self, object: &mut Value, had: &[Key], claims: &mut Claims) -> Result<(), ApiError> {
        let owner = Bytes::from(format!("{}/{}", self.namespace, text(object, "/metadata/name")));
        let path = Path::new("spec");
        let kind = text(object, "/spec/type").to_owned();
        let wanted =
            kind == "NodePort" || (kind == "LoadBalancer" && object["spec"]["allocateLoadBalancerNodePorts"] != false);
        let ports = list(object, "/spec/ports").to_vec();
        for (index, port) in ports.iter().enumerate() {
            let path = path.child("ports").index(index).child("nodePort");
            match port["nodePort"].as_u64().unwrap_or(0) {
                0 if wanted => {
                    // Compat: a port that two protocols share has one node port.
                    let shared = ports[..index].iter().zip(list(object, "/spec/ports")).find_map(|(before, now)| {
                        let same = before["port"] == port["port"] && before["protocol"] != port["protocol"];
                        same.then(|| now["nodePort"].as_u64()).flatten()
                    });
                    let number = match shared {
                        Some(number) => number,
                        None => self.free_port(claims).await?,
                    };
                    object["spec"]["ports"][index]["nodePort"] = json!(number);
                    if !had.contains(&port_key(number)) {
                        claims.take.insert(port_key(number), owner.clone());
                    }
                }
                0 => {}
                number => self.claim_port(number, &path, had, &owner, claims).await?,
            }
        }
        if kind == "LoadBalancer" && text(object, "/spec/externalTrafficPolicy") == "Local" {
            match object["spec"]["healthCheckNodePort"].as_u64().unwrap_or(0) {
                0 => {
                    let number = self.free_port(claims).await?;
                    object["spec"]["healthCheckNodePort"] = json!(number);
                    claims.take.insert(port_key(number), owner.clone());
                }
                number => self.claim_port(number, &path.child("healthCheckNodePort"), had, &owner, claims).await?,
            }
        }
        Ok(())
    }

    async fn claim_port(
        &self,
        number: u64,
        path: &Path,
        had: &[Key],
        owner: &Bytes,
        claims: &mut Claims,
    ) -> Result<(), ApiError> {
        let key = port_key(number);
        if had.contains(&key) || claims.take.contains_key(&key) {
            return Ok(());
        }
        if !u16::try_from(number).is_ok_and(|number| NODE_PORTS.contains(&number)) {
            let (first, last) = (NODE_PORTS.start(), NODE_PORTS.end());
            let detail = format!("provided port is not in the valid range. The range of valid ports is {first}-{last}");
            return Err(self.refused(claims, Error::invalid(path, number, &detail)));
        }
        let taken = Error::invalid(path, number, "provided port is already allocated");
        if self.stored(&key).await? {
            return Err(self.refused(claims, taken));
        }
        claims.refusals.insert(key.clone(), taken);
        claims.take.insert(key, owner.clone());
        Ok(())
    }

    async fn free_port(&self, claims: &Claims) -> Result<u64, ApiError> {
        for _ in 0..GUESSES {
            let number = u64::from(rand::random_range(NODE_PORTS));
            if !claims.take.contains_key(&port_key(number)) && !self.stored(&port_key(number)).await? {
                return Ok(number);
            }
        }
        let taken = self.registry.store.range(PORT_PREFIX).await.map_err(ApiError::internal)?;
        let taken: Vec<&str> = taken.entries.iter().map(|entry| &*entry.key).collect();
        let mut all = NODE_PORTS.map(u64::from);
        let is_free = |number: &u64| {
            let key = port_key(*number);
            !claims.take.contains_key(&key) && !taken.contains(&&*key)
        };
        all.find(is_free).ok_or_else(|| ApiError::internal("failed to allocate a nodePort: range is full"))
    }

    async fn stored(&self, key: &Key) -> Result<bool, ApiError> {
        let found = self.registry.store.range(key).await.map_err(ApiError::internal)?;
        Ok(found.entries.iter().any(|entry| entry.key == *key))
    }

    fn refused(&self, claims: &Claims, error: Error) -> ApiError {
        ApiError::invalid(&self.row.told_kind(), &claims.name, &[error])
    }

    /// What became of a commit that a claim stood against.
    pub(super) fn taken(&self, claims: &Claims, key: &str) -> Option<Failure> {
        let refusal = claims.failed(key)?;
        Some(refusal.map_or(Failure::Taken, |error| Failure::Api(self.refused(claims, error.clone()))))
    }
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn port_key(number: u64) -> Key {
    format!("{PORT_PREFIX}{number}").into()
}

/// Addresses that services may have: all of a subnet but its first and its last.
struct Range {
    first: u32,
    last: u32,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let (address, bits) = (address.parse::<Ipv4Addr>().ok()?, bits.parse::<u32>().ok()?);
        let hosts = u32::MAX.checked_shr(bits).unwrap_or(0);
        let network = address.to_bits() & !hosts;
        (bits <= 30).then(|| Self { first: network + 1, last: network + hosts - 1 })
    }

    fn contains(&self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address.to_bits())
    }

    fn size(&self) -> u32 {
        self.last - self.first + 1
    }

    /// Where the part begins that addresses are chosen from.
    fn offset(&self) -> u32 {
        let size = self.size() + 2;
        if size <= 16 { 0 } else { (size / 16).clamp(16, 256).min(self.size() - 1) }
    }

    fn nth(&self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first + index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_leave_the_edges_out() {
        let check = |text: &str, size: u32, offset: u32, first: &str| {
            let range = Range::parse(text).expect("a range");
            assert_eq!(
                (range.size(), range.offset(), range.nth(0).to_string().as_str()),
                (size, offset, first),
                "{text}"
            );
        };
        check("10.96.0.0/16", 65534, 256, "10.96.0.1");
        check("10.96.0.0/24", 254, 16, "10.96.0.1");
        check("10.96.0.7/28", 14, 0, "10.96.0.1");
        assert!(Range::parse("2001:db8::/64").is_none() && Range::parse("10.0.0.0/31").is_none());
    }
}
