//! Ports of the node that lead to what is attached, and the way out for what is attached.
//!
//! One table of packet rules, made anew from the folder of allocations when the node's network is opened, and changed an owner
//! at a time from then on. The ports of an owner are kept beside its address.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::addresses::Addresses;
use crate::network::{NetworkConfig, NetworkError, bridge_name};
use crate::nft::{Base, Chain, Data, Element, Field, Hook, Kind, Rule, Rules, Set, Transaction, Value, Verdict};

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the protocols'")]
pub enum Transport {
    Tcp,
    Udp,
    Sctp,
}

impl Transport {
    /// Its number in IP headers.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol of a name such as `TCP`.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// Its name, as [`Transport::named`] reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        }
    }
}

/// A port of the node that leads to a port of something attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedPort {
    /// On this address of the node; `None` for every one.
    pub host: Option<Ipv4Addr>,
    /// The protocol.
    pub transport: Transport,
    /// The port of the node.
    pub port: u16,
    /// The port it leads to.
    pub target: u16,
}

/// Ports by the address they lead to.
type Ports = BTreeMap<Ipv4Addr, Vec<PublishedPort>>;

/// The table.
#[derive(Debug)]
pub(crate) struct Published {
    rules: Rules,
    table: String,
    folder: PathBuf,
    ports: Mutex<Ports>,
}

/// Published on every address of the node.
const ANYWHERE: &str = "ports";
/// Published on one address of the node.
const SOMEWHERE: &str = "ports-of-addresses";
/// Addresses with published ports, each twice.
const SELF: &str = "selves";
const SOURCE_NAT: i32 = 100;
const DESTINATION_NAT: i32 = -100;
/// Before connections are looked up.
const RAW: i32 = -300;
const LOOPBACK: (Ipv4Addr, u8) = (Ipv4Addr::new(127, 0, 0, 0), 8);

impl Published {
    /// Makes the table as the folder of allocations says, in place of one that is there.
    pub(crate) async fn open(config: &NetworkConfig, addresses: &Addresses) -> Result<Self, NetworkError> {
        let rules = Rules::of(&config.namespace).await?;
        let folder = config.folder.with_extension("ports");
        let ports = read(&folder, addresses).map_err(|source| failure(&folder, source))?;
        let table = format!("minke-{}-pods", config.cluster);
        let mut change = Transaction::new(&table);
        change.add_table();
        change.remove_table();
        change.add_table();
        skeleton(&mut change, config);
        for (address, ports) in &ports {
            add(&mut change, *address, ports);
        }
        rules.commit(&change)?;
        Ok(Self { rules, table, folder, ports: Mutex::new(ports) })
    }

    /// Lets exactly these ports lead to the address.
    pub(crate) async fn set(&self, address: Ipv4Addr, ports: Vec<PublishedPort>) -> Result<(), NetworkError> {
        let mut all = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let old = all.get(&address).cloned().unwrap_or_default();
        if old == ports {
            return Ok(());
        }
        write(&self.folder, address, &ports).map_err(|source| failure(&self.folder, source))?;
        let mut change = Transaction::new(&self.table);
        for (set, element) in elements(address, &old) {
            change.remove_elements(set, &[element]);
        }
        add(&mut change, address, &ports);
        self.rules.commit(&change)?;
        if ports.is_empty() {
            all.remove(&address)
        } else {
            all.insert(address, ports)
        };
        Ok(())
    }

    /// Removes the table. The ports of what is still attached are known again once it is opened.
    pub(crate) fn remove(&self) -> Result<(), NetworkError> {
        let mut change = Transaction::new(&self.table);
        change.add_table();
        change.remove_table();
        Ok(self.rules.commit(&change)?)
    }
}

fn failure(folder: &std::path::Path, source: io::Error) -> NetworkError {
    NetworkError::Io { action: format!("keep published ports in {}", folder.display()), source }
}

fn add(change: &mut Transaction, address: Ipv4Addr, ports: &[PublishedPort]) {
    for (set, element) in elements(address, ports) {
        change.add_elements(set, &[element]);
    }
}

fn elements(address: Ipv4Addr, ports: &[PublishedPort]) -> Vec<(&'static str, Element)> {
    let mut elements: Vec<_> = ports.iter().map(|port| element(address, port)).collect();
    if !ports.is_empty() {
        elements.push((SELF, Element::new(&[Value::Address(address), Value::Address(address)])));
    }
    elements
}

fn element(address: Ipv4Addr, port: &PublishedPort) -> (&'static str, Element) {
    let target = [Value::Address(address), Value::Port(port.target)];
    let (transport, number) = (Value::Protocol(port.transport.number()), Value::Port(port.port));
    match port.host {
        None => (ANYWHERE, Element::fields(&[transport, number], &target)),
        Some(host) => (SOMEWHERE, Element::fields(&[Value::Address(host), transport, number], &target)),
    }
}

fn skeleton(change: &mut Transaction, config: &NetworkConfig) {
    let target = Some(Data::Fields(vec![Kind::Address, Kind::Port]));
    let anywhere = vec![Kind::Protocol, Kind::Port];
    let somewhere = vec![Kind::Address, Kind::Protocol, Kind::Port];
    for (name, key) in [(ANYWHERE, anywhere), (SOMEWHERE, somewhere)] {
        change.add_set(&Set { name: name.to_owned(), key, data: target.clone(), timeout: None });
    }
    let pair = vec![Kind::Address, Kind::Address];
    change.add_set(&Set { name: SELF.to_owned(), key: pair, data: None, timeout: None });
    let bridge = bridge_name(&config.cluster, config.node);
    let all = (config.cluster_subnet.network(), config.cluster_subnet.length());
    let translate = |fields: &[Field], map: &str| Rule::new().to_own_address().translate_by(fields, map);
    let ports = vec![
        translate(&[Field::Destination, Field::Protocol, Field::Port], SOMEWHERE),
        translate(&[Field::Protocol, Field::Port], ANYWHERE),
    ];
    let chains = [
        ("prerouting", "nat", Hook::Prerouting, DESTINATION_NAT, ports.clone()),
        ("output", "nat", Hook::Output, DESTINATION_NAT, ports),
        (
            "postrouting",
            "nat",
            Hook::Postrouting,
            SOURCE_NAT,
            vec![
                Rule::new()
                    .inside(Field::Source, all)
                    .outside(Field::Destination, all)
                    .other_link(Field::OutputLink, &bridge)
                    .masquerade(),
                // What comes from the loopback address, or from the very one it goes to, would not find its way back.
                Rule::new().inside(Field::Source, LOOPBACK).link(Field::OutputLink, &bridge).masquerade(),
                Rule::new().within(&[Field::Source, Field::Destination], SELF).masquerade(),
            ],
        ),
        (
            "loopback",
            "filter",
            Hook::Prerouting,
            RAW,
            // The bridge routes loopback addresses for published ports only, not for those who send to them.
            vec![Rule::new().link(Field::InputLink, &bridge).inside(Field::Destination, LOOPBACK).then(Verdict::Drop)],
        ),
    ];
    for (name, kind, hook, priority, rules) in chains {
        let base = Some(Base { kind, hook, priority });
        change.add_chain(&Chain { name: name.to_owned(), base });
        rules.iter().for_each(|rule| change.add_rule(name, rule));
    }
}

/// A file an address, a port a line: `host transport port target`.
fn write(folder: &std::path::Path, address: Ipv4Addr, ports: &[PublishedPort]) -> io::Result<()> {
    let path = folder.join(address.to_string());
    if ports.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
    }
    let line = |port: &PublishedPort| {
        let host = port.host.unwrap_or(Ipv4Addr::UNSPECIFIED);
        format!("{host} {} {} {}\n", port.transport.name(), port.port, port.target)
    };
    fs::write(path, ports.iter().map(line).collect::<String>())
}

fn read(folder: &std::path::Path, addresses: &Addresses) -> io::Result<Ports> {
    fs::create_dir_all(folder)?;
    let mut all = Ports::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(address) = name.to_str().and_then(|name| name.parse::<Ipv4Addr>().ok()) else { continue };
        if addresses.is_owned(address) {
            all.insert(address, fs::read_to_string(entry.path())?.lines().filter_map(parse).collect());
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(all)
}

fn parse(line: &str) -> Option<PublishedPort> {
    let mut words = line.split(' ');
    let host: Ipv4Addr = words.next()?.parse().ok()?;
    let transport = Transport::named(words.next()?)?;
    let (port, target) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(PublishedPort { host: (!host.is_unspecified()).then_some(host), transport, port, target })
}
