//! Addresses and their ranges.

use std::net::IpAddr;

use super::Result;
use crate::cel::budget::Budget;
use crate::cel::eval::error;
use crate::cel::value::Value;

pub(super) fn global<'a>(name: &str, arguments: &[Value<'a>], _budget: &mut Budget) -> Option<Result<'a>> {
    let [Value::Text(text)] = arguments else { return None };
    Some(match name {
        "ip" => match ip(text) {
            Some(address) => Ok(Value::Ip(address)),
            None => error(format!(
                "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
            )),
        },
        "isIP" => Ok(Value::Bool(ip(text).is_some())),
        "ip.isCanonical" => match ip(text) {
            Some(address) => Ok(Value::Bool(address.to_string() == *text)),
            None => error(format!(
                "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
            )),
        },
        "cidr" => match cidr(text) {
            Some((address, bits)) => Ok(Value::Cidr(address, bits)),
            None => error(format!(
                "network address parse error during conversion from string: netip.ParsePrefix({text:?}): no '/'"
            )),
        },
        "isCIDR" => Ok(Value::Bool(cidr(text).is_some())),
        _ => return None,
    })
}

/// Compat: no zones, and no IPv4 in IPv6's clothes.
fn ip(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.parse().ok()?;
    match address {
        IpAddr::V6(six) if six.to_ipv4_mapped().is_some() => None,
        address => Some(address),
    }
}

fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let address = ip(address)?;
    let bits: u8 = bits.parse().ok().filter(|_| !bits.starts_with('+'))?;
    (bits <= length(&address)).then_some((address, bits))
}

fn length(address: &IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: &IpAddr) -> u128 {
    match address {
        IpAddr::V4(four) => u128::from(four.to_bits()) << 96,
        IpAddr::V6(six) => six.to_bits(),
    }
}

fn masked(address: &IpAddr, bits: u8) -> u128 {
    let mask = if bits == 0 { 0 } else { u128::MAX << (128 - u32::from(bits)) };
    number(address) & mask
}

fn network(address: &IpAddr, bits: u8) -> IpAddr {
    let number = masked(address, bits);
    match address {
        IpAddr::V4(_) => IpAddr::V4(((number >> 96) as u32).into()),
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

/// Whether a range lies in another.
fn holds(outer: (&IpAddr, u8), inner: (&IpAddr, u8)) -> bool {
    outer.0.is_ipv4() == inner.0.is_ipv4() && inner.1 >= outer.1 && masked(inner.0, outer.1) == masked(outer.0, outer.1)
}

pub(super) fn member<'a>(name: &str, arguments: &[Value<'a>], _budget: &mut Budget) -> Option<Result<'a>> {
    Some(Ok(match (name, arguments) {
        ("family", [Value::Ip(address)]) => Value::Int(if address.is_ipv4() { 4 } else { 6 }),
        ("isUnspecified", [Value::Ip(address)]) => Value::Bool(address.is_unspecified()),
        ("isLoopback", [Value::Ip(address)]) => Value::Bool(address.is_loopback()),
        ("isLinkLocalMulticast", [Value::Ip(address)]) => Value::Bool(match address {
            IpAddr::V4(four) => four.octets()[..3] == [224, 0, 0],
            IpAddr::V6(six) => six.segments()[0] & 0xff0f == 0xff02,
        }),
        ("isLinkLocalUnicast", [Value::Ip(address)]) => Value::Bool(match address {
            IpAddr::V4(four) => four.is_link_local(),
            IpAddr::V6(six) => six.segments()[0] & 0xffc0 == 0xfe80,
        }),
        ("isGlobalUnicast", [Value::Ip(address)]) => {
            let link_local = match address {
                IpAddr::V4(four) => four.is_link_local() || four.is_broadcast(),
                IpAddr::V6(six) => six.segments()[0] & 0xffc0 == 0xfe80,
            };
            Value::Bool(!address.is_unspecified() && !address.is_loopback() && !address.is_multicast() && !link_local)
        }
        ("containsIP", [Value::Cidr(own, bits), Value::Ip(address)]) => {
            Value::Bool(holds((own, *bits), (address, length(address))))
        }
        ("containsIP", [Value::Cidr(own, bits), Value::Text(text)]) => match ip(text) {
            Some(address) => Value::Bool(holds((own, *bits), (&address, length(&address)))),
            None => {
                return Some(error(format!(
                    "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
                )));
            }
        },
        ("containsCIDR", [Value::Cidr(own, bits), Value::Cidr(other, inner)]) => {
            Value::Bool(holds((own, *bits), (other, *inner)))
        }
        ("containsCIDR", [Value::Cidr(own, bits), Value::Text(text)]) => match cidr(text) {
            Some((other, inner)) => Value::Bool(holds((own, *bits), (&other, inner))),
            None => {
                return Some(error(format!(
                    "network address parse error during conversion from string: netip.ParsePrefix({text:?}): no '/'"
                )));
            }
        },
        ("ip", [Value::Cidr(own, _)]) => Value::Ip(*own),
        ("masked", [Value::Cidr(own, bits)]) => Value::Cidr(network(own, *bits), *bits),
        ("prefixLength", [Value::Cidr(_, bits)]) => Value::Int(i64::from(*bits)),
        _ => return None,
    }))
}
