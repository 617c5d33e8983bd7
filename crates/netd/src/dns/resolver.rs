//! From a question on the wire to an answer, for the names that are the cluster's.

use std::net::{IpAddr, Ipv4Addr};

use client::Informer;
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::directory::{Cluster, Directory};
use super::zone::{Data, Found, Question, Zone};

/// Seconds that answers hold: as short as CoreDNS has them, since endpoints come and go.
const TTL: u32 = 5;
/// So many aliases are followed.
const ALIASES: usize = 8;

/// Answers questions about the cluster's names.
pub(crate) struct Resolver {
    directory: Box<dyn Directory>,
    domain: String,
    services: (Ipv4Addr, u8),
}

/// What became of a question.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// This is the answer.
    Answer(Box<Message>),
    /// The answer lacks what another name has, which others know.
    Alias(Box<Message>, Name),
    /// Others know.
    Foreign,
}

impl Resolver {
    pub(crate) fn new(services: Informer, slices: Informer, domain: &str, own: (Ipv4Addr, u8)) -> Self {
        Self::from(Box::new(Cluster { services, slices }), domain, own)
    }

    pub(super) fn from(directory: Box<dyn Directory>, domain: &str, services: (Ipv4Addr, u8)) -> Self {
        Self { directory, domain: domain.to_owned(), services }
    }

    /// Answers a question; `response` is empty and becomes the answer.
    pub(crate) fn answer(&self, query: &Query, mut response: Message) -> Outcome {
        let name = query.name().to_lowercase().to_ascii();
        let name = name.trim_end_matches('.');
        if let Some(address) = reversed(name) {
            return self.names_of(address, query, response);
        }
        response.metadata.authoritative = true;
        let mut name = name.to_owned();
        for _ in 0..ALIASES {
            let Some(labels) = self.own_labels(&name) else {
                return match to_name(&name) {
                    Some(target) if !response.answers.is_empty() => Outcome::Alias(Box::new(response), target),
                    _ => Outcome::Foreign,
                };
            };
            if labels.is_empty() && query.query_type() == RecordType::SOA {
                response.answers.extend(self.authority());
                break;
            }
            let zone = Zone { domain: &self.domain, directory: &*self.directory };
            let Some(found) = zone.look_up(&labels, question(query.query_type())) else {
                response.metadata.response_code = ResponseCode::NXDomain;
                break;
            };
            match self.add(&name, found, query.query_type(), &mut response) {
                Some(target) => name = target,
                None => break,
            }
        }
        if response.answers.is_empty() {
            response.authorities.extend(self.authority());
        }
        Outcome::Answer(Box::new(response))
    }

    /// Adds records; the name to go on with if this one is an alias that was not asked for itself.
    fn add(&self, name: &str, found: Found, kind: RecordType, response: &mut Message) -> Option<String> {
        let owner = to_name(name)?;
        let mut alias = None;
        for data in found.answers {
            let data = match data {
                Data::Address(address) => RData::A(A(address)),
                Data::Alias(target) => {
                    let data = RData::CNAME(CNAME(to_name(&target)?));
                    alias = Some(target).filter(|_| !matches!(kind, RecordType::CNAME | RecordType::ANY));
                    data
                }
                Data::Service { port, target } => RData::SRV(SRV::new(0, 100, port, to_name(&target)?)),
                Data::Text(text) => RData::TXT(TXT::new(vec![text])),
            };
            response.answers.push(Record::from_rdata(owner.clone(), TTL, data));
        }
        for (name, address) in found.additional {
            response.additionals.push(Record::from_rdata(to_name(&name)?, TTL, RData::A(A(address))));
        }
        alias
    }

    fn names_of(&self, address: IpAddr, query: &Query, mut response: Message) -> Outcome {
        let names = Zone { domain: &self.domain, directory: &*self.directory }.names_of(address);
        let (network, bits) = self.services;
        let own = matches!(address, IpAddr::V4(address)
            if (address.to_bits() ^ network.to_bits()).checked_shr(32 - u32::from(bits)).unwrap_or(0) == 0);
        if names.is_empty() && !own {
            return Outcome::Foreign;
        }
        response.metadata.authoritative = true;
        if names.is_empty() {
            response.metadata.response_code = ResponseCode::NXDomain;
            response.authorities.extend(self.authority());
        } else if matches!(query.query_type(), RecordType::PTR | RecordType::ANY) {
            let names = names.iter().filter_map(|name| to_name(name));
            let records = names.map(|name| Record::from_rdata(query.name().clone(), TTL, RData::PTR(PTR(name))));
            response.answers.extend(records);
        }
        Outcome::Answer(Box::new(response))
    }

    /// The labels of a name beneath the cluster's domain; `None` for a name that isn't there.
    fn own_labels<'a>(&self, name: &'a str) -> Option<Vec<&'a str>> {
        let rest = name.strip_suffix(&self.domain)?;
        if rest.is_empty() {
            return Some(Vec::new());
        }
        Some(rest.strip_suffix('.')?.split('.').collect())
    }

    /// Says how long it holds that there is nothing.
    fn authority(&self) -> Option<Record> {
        let (server, person) = (format!("ns.dns.{}", self.domain), format!("hostmaster.{}", self.domain));
        let soa = SOA::new(to_name(&server)?, to_name(&person)?, 1, 7200, 1800, 86400, TTL);
        Some(Record::from_rdata(to_name(&self.domain)?, TTL, RData::SOA(soa)))
    }
}

fn question(kind: RecordType) -> Question {
    match kind {
        RecordType::A => Question::Address,
        RecordType::SRV => Question::Service,
        RecordType::TXT => Question::Text,
        // The alias of a name holds for whatever is asked.
        RecordType::CNAME | RecordType::AAAA => Question::Alias,
        RecordType::ANY => Question::Everything,
        _ => Question::Other,
    }
}

fn to_name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}

/// The address in a name such as `7.0.96.10.in-addr.arpa`.
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<&str> = digits.split('.').rev().collect();
        return parts.join(".").parse().ok().map(IpAddr::V4);
    }
    let digits: String = name.strip_suffix(".ip6.arpa")?.split('.').rev().collect();
    let number = (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok())??;
    Some(IpAddr::V6(number.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_names_are_read() {
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(reversed(name), expected.map(|text| text.parse().expect("an address")), "{name}");
        };
        check("7.0.96.10.in-addr.arpa", Some("10.96.0.7"));
        check("0.96.10.in-addr.arpa", None);
        check("web.shop.svc.cluster.local", None);
        let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        check(six, Some("2001:db8::1"));
    }
}
