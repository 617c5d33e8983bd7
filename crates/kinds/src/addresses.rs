//! The forms of addresses and ports, in upstream's words.

use std::net::IpAddr;

use meta::field::{Error, Errors, Path};
use serde_json::Value;

/// What is wrong with an IP address.
pub(crate) fn ip(path: &Path, text: &str) -> Errors {
    match text.parse::<IpAddr>() {
        Ok(_) => Errors::new(),
        Err(_) => vec![Error::invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")],
    }
}

/// What is wrong with an address that traffic shall be sent to.
pub(crate) fn endpoint(text: &str, path: &Path) -> Errors {
    let Ok(address) = text.parse::<IpAddr>() else { return ip(path, text) };
    let (local, local_multicast) = match address {
        IpAddr::V4(address) => (address.is_link_local(), address.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(address) => (address.is_unicast_link_local(), address.segments()[0] & 0xff0f == 0xff02),
    };
    let unspecified = format!("may not be unspecified ({text})");
    let rules = [
        (address.is_unspecified(), unspecified.as_str()),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (local_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ];
    rules.iter().filter(|(broken, _)| *broken).map(|(_, rule)| Error::invalid(path, text, rule)).collect()
}

/// A subnet: its address and the bits of its network part.
pub(crate) fn parse_cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits: u8 = bits.parse().ok()?;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

/// What is wrong with a subnet.
pub(crate) fn cidr(path: &Path, text: &str) -> Errors {
    match parse_cidr(text) {
        Some(_) => Errors::new(),
        None => {
            vec![Error::invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")]
        }
    }
}

/// What is wrong with a port's number.
pub(crate) fn port(path: &Path, value: &Value) -> Option<Error> {
    let fine = value.as_i64().is_some_and(|number| (1..=65535).contains(&number));
    let shown = if value.is_null() { Value::from(0) } else { value.clone() };
    (!fine).then(|| Error::invalid(path, shown, "must be between 1 and 65535, inclusive"))
}
