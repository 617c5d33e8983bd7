//! Which address of a subnet belongs to whom.
//!
//! An allocation is a file named after the address that holds its owner, so that a restarted program finds every
//! allocation again. Addresses are handed out in turn: one that was just released is reused last.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

/// Why no address can be had.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// Every address has an owner.
    #[error("no free address in {0}")]
    Exhausted(Subnet),
    /// The folder of allocations can't be read or written.
    #[error("keep address allocations in {path}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// An IPv4 subnet, for example `10.244.0.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    first: u32,
    length: u8,
}

impl Subnet {
    /// The subnet of this length that holds `address`. Lengths outside 8 to 30 hold no gateway and hosts: `None`.
    pub const fn new(address: Ipv4Addr, length: u8) -> Option<Self> {
        if length < 8 || length > 30 {
            return None;
        }
        Some(Self { first: address.to_bits() & (u32::MAX << (32 - length)), length })
    }

    /// The first host's address, which the bridge has.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first + 1)
    }

    /// The first address, which names the network.
    pub fn network(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first)
    }

    /// Bits of the network part.
    pub fn length(self) -> u8 {
        self.length
    }

    /// Whether `address` is in it.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        address.to_bits() >> (32 - self.length) == self.first >> (32 - self.length)
    }

    /// The addresses that may be handed out: all but the network's, the gateway's and the broadcast's.
    fn hosts(self) -> std::ops::Range<u32> {
        self.first + 2..self.first + (1 << (32 - self.length)) - 1
    }
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.first), self.length)
    }
}

impl FromStr for Subnet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (address, length) = text.split_once('/')?;
            Self::new(address.parse().ok()?, length.parse().ok()?)
        };
        parse().ok_or_else(|| format!("{text:?} is not an IPv4 subnet such as 10.244.0.0/24"))
    }
}

/// The allocations of one subnet.
#[derive(Debug)]
pub struct Addresses {
    subnet: Subnet,
    folder: PathBuf,
    owners: BTreeMap<u32, String>,
    next: u32,
}

impl Addresses {
    /// Opens the folder, which is made if it isn't there.
    pub fn open(subnet: Subnet, folder: PathBuf) -> Result<Self, AddressError> {
        let mut own = Self { subnet, folder, owners: BTreeMap::new(), next: subnet.hosts().start };
        own.read().map_err(|source| own.error(source))?;
        Ok(own)
    }

    fn read(&mut self) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let Some(address) = entry.file_name().to_str().and_then(|name| name.parse::<Ipv4Addr>().ok()) else {
                continue;
            };
            self.owners.insert(address.to_bits(), fs::read_to_string(entry.path())?);
        }
        Ok(())
    }

    fn error(&self, source: io::Error) -> AddressError {
        AddressError::Folder { path: self.folder.clone(), source }
    }

    /// The owner's address; a second call with the same owner gives the same one.
    pub fn allocate(&mut self, owner: &str) -> Result<Ipv4Addr, AddressError> {
        if let Some(address) = self.of(owner) {
            return Ok(address);
        }
        let hosts = self.subnet.hosts();
        let mut candidates = (self.next..hosts.end).chain(hosts.start..self.next);
        let free = candidates.find(|bits| !self.owners.contains_key(bits));
        let bits = free.ok_or(AddressError::Exhausted(self.subnet))?;
        let address = Ipv4Addr::from_bits(bits);
        let path = self.folder.join(address.to_string());
        fs::File::create(path)
            .and_then(|mut file| file.write_all(owner.as_bytes()))
            .map_err(|source| self.error(source))?;
        self.owners.insert(bits, owner.to_owned());
        self.next = if bits + 1 < hosts.end { bits + 1 } else { hosts.start };
        Ok(address)
    }

    /// The address that this owner has.
    pub fn of(&self, owner: &str) -> Option<Ipv4Addr> {
        self.owners.iter().find(|(_, own)| *own == owner).map(|(bits, _)| Ipv4Addr::from_bits(*bits))
    }

    /// Whether somebody has this address.
    pub(crate) fn is_owned(&self, address: Ipv4Addr) -> bool {
        self.owners.contains_key(&address.to_bits())
    }

    /// Everybody who has an address.
    pub fn owners(&self) -> impl Iterator<Item = &str> {
        self.owners.values().map(String::as_str)
    }

    /// Takes the owner's address back, if it has one.
    pub fn release(&mut self, owner: &str) -> Result<(), AddressError> {
        let Some(address) = self.of(owner) else { return Ok(()) };
        fs::remove_file(self.folder.join(address.to_string())).map_err(|source| self.error(source))?;
        self.owners.remove(&address.to_bits());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_read() {
        let subnet: Subnet = "10.244.3.7/24".parse().expect("a subnet");
        assert_eq!((subnet.to_string().as_str(), subnet.gateway()), ("10.244.3.0/24", Ipv4Addr::new(10, 244, 3, 1)));
        assert!(subnet.contains(Ipv4Addr::new(10, 244, 3, 200)) && !subnet.contains(Ipv4Addr::new(10, 244, 4, 1)));
        for text in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/31", "x/24"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_are_handed_out_in_turn_and_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let subnet: Subnet = "10.1.2.0/29".parse().expect("a subnet");
        let open = || Addresses::open(subnet, folder.path().to_owned()).expect("open");
        let mut addresses = open();
        let mut take = |owner: &str| addresses.allocate(owner).map(|address| address.octets()[3]).ok();
        assert_eq!((take("a"), take("b"), take("a")), (Some(2), Some(3), Some(2)));
        addresses.release("a").expect("release");
        let mut take = |owner: &str| addresses.allocate(owner).map(|address| address.octets()[3]).ok();
        assert_eq!((take("c"), take("d"), take("e"), take("f"), take("g")), (Some(4), Some(5), Some(6), Some(2), None));
        assert_eq!(open().of("d"), Some(Ipv4Addr::new(10, 1, 2, 5)));
    }
}
