//! The files of a volume whose content comes from the API: paths, bytes, modes.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, KeyToPath, Secret};

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
    /// Who owns it, if not root.
    pub(super) owner: Option<u32>,
}

/// Files by their path within the volume.
pub(super) type Payload = BTreeMap<String, File>;

/// The default mode of files, where the pod says nothing.
pub(super) const DEFAULT_MODE: i32 = 0o644;

/// What an object holds, by key.
pub(super) type Keys = BTreeMap<String, Vec<u8>>;

pub(super) fn config_map_keys(object: ConfigMap) -> Keys {
    let text = object.data.unwrap_or_default().into_iter().map(|(key, text)| (key, text.into_bytes()));
    let binary = object.binary_data.unwrap_or_default().into_iter().map(|(key, ByteString(bytes))| (key, bytes));
    text.chain(binary).collect()
}

pub(super) fn secret_keys(object: Secret) -> Keys {
    object.data.unwrap_or_default().into_iter().map(|(key, ByteString(bytes))| (key, bytes)).collect()
}

/// The files that `items` ask for; all keys if there are no items. `what` is `config` or `secret`.
pub(super) fn project(
    keys: Keys,
    items: Option<&[KeyToPath]>,
    default_mode: i32,
    optional: bool,
    what: &str,
) -> Result<Payload, String> {
    let file = |bytes: Vec<u8>, mode: i32| File { bytes, mode: mode.cast_unsigned(), owner: None };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(keys.into_iter().map(|(key, bytes)| (key, file(bytes, default_mode))).collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match keys.get(&item.key) {
            Some(bytes) => {
                payload.insert(item.path.clone(), file(bytes.clone(), item.mode.unwrap_or(default_mode)));
            }
            None if optional => {}
            None => return Err(format!("references non-existent {what} key: {}", item.key)),
        }
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_choose_and_place_keys() {
        let keys: Keys = [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"2".to_vec())].into();
        let item = |key: &str, path: &str, mode| KeyToPath { key: key.into(), path: path.into(), mode };
        let check = |items: &[KeyToPath], optional, expected: Result<Vec<(&str, u32)>, &str>| {
            let payload = project(keys.clone(), Some(items), 0o644, optional, "config");
            let payload =
                payload.as_ref().map(|files| files.iter().map(|(path, file)| (path.as_str(), file.mode)).collect());
            assert_eq!(payload.map_err(String::as_str), expected);
        };
        check(&[], false, Ok(vec![("a", 0o644), ("b", 0o644)]));
        check(&[item("b", "x/y", Some(0o400))], false, Ok(vec![("x/y", 0o400)]));
        check(&[item("c", "z", None)], false, Err("references non-existent config key: c"));
        check(&[item("c", "z", None), item("a", "a", None)], true, Ok(vec![("a", 0o644)]));
    }
}
