//! The forms of names, in upstream's words.

/// The rule of DNS labels.
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                     and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";

/// The rule of DNS labels that begin with a letter.
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
                          alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', \
                          regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";

/// The rule of DNS subdomains.
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
                         must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation \
                         is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// The rule of the name part of qualified names, without its subject.
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                         alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                         '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// The rule of label values.
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
                           must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', \
                           regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

/// Compat: upstream counts bytes for keys and values of labels, and says characters of names.
fn too_many(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let edges = text.bytes().next().is_some_and(inner) && text.bytes().last().is_some_and(inner);
    edges && text.bytes().all(|byte| inner(byte) || byte == b'-')
}

/// What is wrong with a DNS label.
pub fn label(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.len() > 63 {
        found.push(too_many(63));
    }
    if !is_label(text) {
        let dotted = text.split('.').all(is_label);
        found.push(if dotted { "must not contain dots".to_owned() } else { LABEL.to_owned() });
    }
    found
}

/// What is wrong with a DNS label that begins with a letter.
pub fn label_1035(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.len() > 63 {
        found.push(too_many(63));
    }
    if !is_label(text) || !text.starts_with(|first: char| first.is_ascii_lowercase()) {
        found.push(LABEL_1035.to_owned());
    }
    found
}

/// What is wrong with a DNS subdomain.
pub fn subdomain(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.len() > 253 {
        found.push(too_many(253));
    }
    if !text.split('.').all(is_label) {
        found.push(SUBDOMAIN.to_owned());
    }
    found
}

/// What is wrong with a name that only has to fit into a path.
pub fn path_segment(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if matches!(text, "." | "..") {
        found.push(format!("may not be '{text}'"));
    }
    for sign in ["/", "%"] {
        if text.contains(sign) {
            found.push(format!("may not contain '{sign}'"));
        }
    }
    found
}

/// What is wrong with the key of a label or an annotation.
pub fn qualified(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let name = match text.split_once('/') {
        None => text,
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a valid label key {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some(("", name)) => {
            found.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            found.extend(subdomain(prefix).into_iter().map(|rule| format!("prefix part {rule}")));
            name
        }
    };
    if name.is_empty() {
        found.push("name part must be non-empty".to_owned());
    } else if name.len() > 63 {
        found.push(format!("name part {}", too_long(63)));
    }
    if !is_word(name) {
        found.push(format!("name part {QUALIFIED}"));
    }
    found
}

fn is_word(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric();
    let edges = text.bytes().next().is_some_and(inner) && text.bytes().last().is_some_and(inner);
    edges && text.bytes().all(|byte| inner(byte) || matches!(byte, b'-' | b'_' | b'.'))
}

/// What is wrong with a label's value.
pub fn label_value(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.len() > 63 {
        found.push(too_long(63));
    }
    if !text.is_empty() && !is_word(text) {
        found.push(LABEL_VALUE.to_owned());
    }
    found
}

/// What is wrong with a key of a config map or secret.
pub fn data_key(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    if text.len() > 253 {
        found.push(too_many(253));
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || !text.bytes().all(allowed) {
        let rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
                    'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
        found.push(rule.to_owned());
    }
    if text == "." || text == ".." {
        found.push(format!("must not be '{text}'"));
    } else if text.starts_with("..") {
        found.push("must not start with '..'".to_owned());
    }
    found
}

/// What is wrong with the name of a port, as IANA has it.
pub fn port_name(text: &str) -> Vec<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let rules = [
        (text.len() > 15, "must be no more than 15 characters"),
        (
            text.is_empty() || !text.bytes().all(allowed),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
        ),
        (!text.bytes().any(|byte| byte.is_ascii_lowercase()), "must contain at least one letter (a-z)"),
        (text.contains("--"), "must not contain consecutive hyphens"),
        (text.starts_with('-') || text.ends_with('-'), "must not begin or end with a hyphen"),
    ];
    rules.iter().filter(|(broken, _)| *broken).map(|(_, rule)| (*rule).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let long = "a".repeat(64);
        for (text, as_label, as_subdomain, as_key) in [
            ("a", true, true, true),
            ("a-1", true, true, true),
            ("a.b", false, true, true),
            ("A", false, false, true),
            ("-a", false, false, false),
            ("", false, false, false),
            (long.as_str(), false, true, false),
            ("example.com/a", false, false, true),
            ("a/b/c", false, false, false),
        ] {
            assert_eq!(label(text).is_empty(), as_label, "{text}");
            assert_eq!(subdomain(text).is_empty(), as_subdomain, "{text}");
            assert_eq!(qualified(text).is_empty(), as_key, "{text}");
        }
        assert_eq!(data_key("..a"), ["must not start with '..'"]);
        assert!(qualified("a/b/c").concat().ends_with("and '/' (e.g. 'example.com/MyName')"));
        assert!(label_value("").is_empty() && !label_value("a b").is_empty());
    }
}
