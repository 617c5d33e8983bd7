//! URLs.

use std::sync::Arc;

use super::Result;
use crate::cel::budget::Budget;
use crate::cel::eval::error;
use crate::cel::value::Value;

/// A URL in its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Link {
    fn parse(text: &str) -> Option<Self> {
        if text.chars().any(|sign| sign.is_control() || sign == ' ') {
            return None;
        }
        let (text, query) = text.split_once('?').unwrap_or((text, ""));
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme, rest),
            None if text.starts_with('/') => {
                return Some(Self {
                    scheme: String::new(),
                    host: String::new(),
                    path: text.to_owned(),
                    query: query.to_owned(),
                });
            }
            None => return None,
        };
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
        if scheme.is_empty()
            || !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            || !scheme.bytes().all(letters)
        {
            return None;
        }
        let end = rest.find('/').unwrap_or(rest.len());
        let host = rest[..end].rsplit('@').next().unwrap_or_default();
        let brackets = host.matches('[').count() == host.matches(']').count();
        let port = host
            .rsplit(']')
            .next()
            .unwrap_or_default()
            .split_once(':')
            .is_none_or(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
        (brackets && port).then(|| Self {
            scheme: scheme.to_lowercase(),
            host: host.to_owned(),
            path: rest[end..].to_owned(),
            query: query.to_owned(),
        })
    }

    fn hostname(&self) -> &str {
        if let Some(inner) = self.host.strip_prefix('[') {
            return inner.split(']').next().unwrap_or_default();
        }
        self.host.split(':').next().unwrap_or_default()
    }

    fn port(&self) -> &str {
        self.host.rsplit(']').next().unwrap_or_default().split_once(':').map_or("", |(_, port)| port)
    }
}

pub(super) fn global<'a>(name: &str, arguments: &[Value<'a>], _budget: &mut Budget) -> Option<Result<'a>> {
    let [Value::Text(text)] = arguments else { return None };
    Some(match (name, Link::parse(text)) {
        ("url", Some(link)) => Ok(Value::Url(Arc::new(link))),
        ("url", None) => {
            error(format!("URL parse error during conversion from string: parse {text:?}: invalid URI for request"))
        }
        ("isURL", link) => Ok(Value::Bool(link.is_some())),
        _ => return None,
    })
}

pub(super) fn member<'a>(name: &str, arguments: &[Value<'a>], _budget: &mut Budget) -> Option<Result<'a>> {
    let [Value::Url(link)] = arguments else { return None };
    Some(Ok(match name {
        "getScheme" => Value::text(link.scheme.as_str()),
        "getHost" => Value::text(link.host.as_str()),
        "getHostname" => Value::text(link.hostname()),
        "getPort" => Value::text(link.port()),
        "getEscapedPath" => Value::text(link.path.as_str()),
        "getQuery" => Value::Map(Arc::new(query(&link.query))),
        _ => return None,
    }))
}

fn query<'a>(text: &str) -> Vec<(Value<'a>, Value<'a>)> {
    let mut entries: Vec<(String, Vec<Value<'a>>)> = Vec::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name), Value::text(decode(value)));
        match entries.iter_mut().find(|(own, _)| *own == name) {
            Some((_, values)) => values.push(value),
            None => entries.push((name, vec![value])),
        }
    }
    entries.into_iter().map(|(name, values)| (Value::text(name), Value::list(values))).collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 2;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}
