//! Named formats of texts.

use std::sync::Arc;

use super::Result;
use crate::cel::budget::Budget;
use crate::cel::value::Value;
use crate::structural::has_format;

const FORMATS: [&str; 13] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

pub(super) fn global<'a>(name: &str, arguments: &[Value<'a>], _budget: &mut Budget) -> Option<Result<'a>> {
    let find = |wanted: &str| FORMATS.iter().find(|own| **own == wanted).copied();
    match (name, arguments) {
        ("format.named", [Value::Text(wanted)]) => {
            Some(Ok(Value::Optional(find(wanted).map(|name| Arc::new(Value::Format(name))))))
        }
        (name, []) => find(name.strip_prefix("format.")?).map(|name| Ok(Value::Format(name))),
        _ => None,
    }
}

pub(super) fn member<'a>(name: &str, arguments: &[Value<'a>], budget: &mut Budget) -> Option<Result<'a>> {
    let ("validate", [Value::Format(format), Value::Text(text)]) = (name, arguments) else { return None };
    let wrong = budget.spend_on(text.len() * 4).map(|()| broken(format, text));
    Some(wrong.map(|wrong| {
        Value::Optional(
            (!wrong.is_empty()).then(|| Arc::new(Value::list(wrong.into_iter().map(Value::text).collect()))),
        )
    }))
}

fn broken(format: &str, text: &str) -> Vec<String> {
    const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                         and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                         '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
                             and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
                             validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                              alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', \
                              regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
    const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
                         start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
                         for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    const NAME: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                        alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                        '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    // A prefix may end with a hyphen: whatever follows is a name's own matter.
    let whole = match format.strip_suffix("Prefix") {
        Some(_) => format!("{}a", text.strip_suffix('-').unwrap_or(text)),
        None => text.to_owned(),
    };
    let starts_low = whole.starts_with(|first: char| first.is_ascii_lowercase());
    let (fits, rule) = match format.strip_suffix("Prefix").unwrap_or(format) {
        "dns1123Label" => (has_format("k8s-short-name", &whole), LABEL),
        "dns1123Subdomain" => (has_format("k8s-long-name", &whole), SUBDOMAIN),
        "dns1035Label" => (has_format("k8s-short-name", &whole) && starts_low, LABEL_1035),
        "labelValue" => (text.is_empty() || is_word(text), VALUE),
        "qualifiedName" => {
            let (prefix, name) = text.rsplit_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
            (prefix.is_none_or(|prefix| has_format("k8s-long-name", prefix)) && is_word(name), NAME)
        }
        "uri" => (has_format("uri", text), "invalid URI"),
        "uuid" => (has_format("uuid", text), "does not match the UUID format"),
        "byte" => (has_format("byte", text), "invalid base64"),
        "date" => (has_format("date", text), "invalid date"),
        _ => (has_format("date-time", text), "invalid datetime"),
    };
    if fits { Vec::new() } else { vec![rule.to_owned()] }
}

fn is_word(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric();
    let edges = text.bytes().next().is_some_and(inner) && text.bytes().last().is_some_and(inner);
    text.len() <= 63 && edges && text.bytes().all(|byte| inner(byte) || matches!(byte, b'-' | b'_' | b'.'))
}
