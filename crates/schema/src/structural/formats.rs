//! The formats of texts that upstream checks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether a text has a format; one that isn't known is always had.
pub(crate) fn has_format(format: &str, text: &str) -> bool {
    match format.replace('-', "").to_lowercase().as_str() {
        "datetime" => {
            jiff::Timestamp::strptime("%Y-%m-%dT%H:%M:%S%.f%:z", text).is_ok()
                || text.parse::<jiff::Timestamp>().is_ok()
        }
        "date" => jiff::civil::Date::strptime("%Y-%m-%d", text).is_ok(),
        "duration" => crate::duration::parse(text).is_some(),
        "uuid" | "uuid3" | "uuid4" | "uuid5" => is_uuid(format, text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "byte" => is_base64(text),
        "uri" => is_uri(text),
        "email" => is_email(text),
        "hostname" => is_hostname(text),
        "hexcolor" => is_hex_color(text),
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "isbn" => is_isbn10(text) || is_isbn13(text),
        "isbn10" => is_isbn10(text),
        "isbn13" => is_isbn13(text),
        "k8sshortname" => is_label(text),
        "k8slongname" => text.len() <= 253 && text.split('.').all(is_label),
        _ => true,
    }
}

fn is_uuid(format: &str, text: &str) -> bool {
    let plain: String = text.chars().filter(|sign| *sign != '-').collect();
    let hyphens = text.len() == plain.len() || [8, 13, 18, 23].iter().all(|at| text.as_bytes().get(*at) == Some(&b'-'));
    let version = format.strip_prefix("uuid").and_then(|version| version.chars().next());
    let versioned = version.is_none_or(|version| plain.chars().nth(12) == Some(version));
    plain.len() == 32 && plain.bytes().all(|byte| byte.is_ascii_hexdigit()) && hyphens && versioned
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

fn is_mac(text: &str) -> bool {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    matches!(parts.len(), 6 | 8 | 20)
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_base64(text: &str) -> bool {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return text.starts_with('/') };
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let scheme = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic()) && scheme.bytes().all(letters);
    (scheme || text.starts_with('/')) && !rest.contains(' ')
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    !local.is_empty() && !local.contains([' ', '@']) && is_hostname(domain)
}

fn is_hostname(text: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 255 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

fn is_hex_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or(text);
    matches!(digits.len(), 3 | 6) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let edges = text.bytes().next().is_some_and(inner) && text.bytes().last().is_some_and(inner);
    text.len() <= 63 && edges && text.bytes().all(|byte| inner(byte) || byte == b'-')
}

fn is_isbn10(text: &str) -> bool {
    let signs: Vec<u32> = text
        .chars()
        .filter(|sign| !matches!(sign, '-' | ' '))
        .enumerate()
        .map(|(at, sign)| if at == 9 && matches!(sign, 'X' | 'x') { 10 } else { sign.to_digit(10).unwrap_or(99) })
        .collect();
    let sum: u32 = signs.iter().zip((1..=10).rev()).map(|(digit, weight)| digit * weight).sum();
    signs.len() == 10 && signs.iter().all(|digit| *digit <= 10) && sum.is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let signs: Vec<u32> =
        text.chars().filter(|sign| !matches!(sign, '-' | ' ')).map(|sign| sign.to_digit(10).unwrap_or(99)).collect();
    let sum: u32 = signs.iter().enumerate().map(|(at, digit)| digit * if at % 2 == 0 { 1 } else { 3 }).sum();
    signs.len() == 13 && signs.iter().all(|digit| *digit < 10) && sum.is_multiple_of(10)
}
