//! What a YAML document says twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The first key that a map has twice, in upstream's words.
pub(crate) fn duplicate(bytes: &[u8]) -> Option<String> {
    const MARK: &str = "twice: ";
    let error = serde_yaml_ng::from_slice::<Unique>(bytes).err()?;
    let text = error.to_string();
    let rest = &text[text.find(MARK)? + MARK.len()..];
    let key = &rest[..rest.rfind(" at line").unwrap_or(rest.len())];
    let location = error.location()?;
    let line = again(bytes, key, location.line(), location.column());
    Some(format!("yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map"))
}

/// The line where a key comes for the second time in the map that begins at a line and column.
fn again(bytes: &[u8], key: &str, line: usize, column: usize) -> usize {
    let text = String::from_utf8_lossy(bytes);
    let is_key = |text: &str| {
        let name = text.split(':').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        name == key && text.contains(':')
    };
    let at_column = |text: &str| text.chars().take(column - 1).all(|sign| sign == ' ' || sign == '-');
    let lines = text.lines().enumerate().skip(line.saturating_sub(1));
    let mut found = lines.filter(|(_, text)| at_column(text) && is_key(text.get(column - 1..).unwrap_or_default()));
    found.nth(1).map_or(line, |(index, _)| index + 1)
}

/// Any document whose maps have each key once.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Check)
    }
}

struct Check;

impl<'de> Visitor<'de> for Check {
    type Value = Unique;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unique, A::Error> {
        while seq.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(A::Error::custom(format_args!("twice: {key}")));
            }
            seen.insert(key);
            map.next_value::<Unique>()?;
        }
        Ok(Unique)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_twice_is_told_with_its_line() {
        let check = |text: &str, expected: Option<&str>| {
            let expected = expected.map(|tail| format!("yaml: unmarshal errors:\n  {tail} already set in map"));
            assert_eq!(duplicate(text.as_bytes()), expected, "{text}");
        };
        check("a: 1\nb:\n  foo: 1\n  c: {foo: 1}\n  foo: 2\n", Some("line 5: key \"foo\""));
        check("a:\n- b: 1\n- b: 2\n  c: 1\n  b: 3\n", Some("line 5: key \"b\""));
        check("a: 1\nb: 1\n", None);
    }
}
