//! Compares our protobuf and JSON with the golden objects that upstream ships.

use std::path::Path;

use anyhow::{Context, bail};
use schema::{Schemas, decode, proto};
use serde_json::Value;

/// The golden event has no version and kind of its own, as no event on the wire has: frames are tested where they are made.
const WITHOUT_TYPE: &str = "core.v1.WatchEvent";

pub(super) fn check(folder: &Path) -> anyhow::Result<()> {
    let mut files: Vec<_> = std::fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.retain(|path| path.file_stem().is_none_or(|name| name != WITHOUT_TYPE));
    files.sort();
    let mut found = Vec::new();
    for json in &files {
        let name = json.file_stem().unwrap_or_default().to_string_lossy();
        match differences(json) {
            Ok(differences) => found.extend(differences.into_iter().map(|difference| format!("{name}: {difference}"))),
            Err(error) => found.push(format!("{name}: {error:#}")),
        }
    }
    println!("{} golden objects, {} differences", files.len(), found.len());
    if !found.is_empty() {
        bail!("{}", found.join("\n"));
    }
    Ok(())
}

fn differences(json: &Path) -> anyhow::Result<Vec<String>> {
    let schemas = Schemas::builtin();
    let text = std::fs::read(json)?;
    let golden: Value = serde_json::from_slice(&text)?;
    let message = std::fs::read(json.with_extension("pb"))?;
    let name = |field: &str| golden[field].as_str().unwrap_or_default().to_owned();
    let version = meta::GroupVersion::parse(&name("apiVersion")).context("no version")?;
    let ty = schemas.of(&meta::Gvk::new(version.group, version.version, name("kind"))).context("an unknown kind")?;
    let mut found = Vec::new();
    let decoded = decode(schemas, ty, &text)?;
    found.extend(decoded.errors.iter().map(|error| format!("JSON: {error}")));
    compare("JSON", "", &golden, &decoded.value, &mut found);
    let encoded = proto::encode_object(schemas, &golden).context("no protobuf form")?;
    if encoded != message {
        let at = encoded.iter().zip(&message).take_while(|(one, other)| one == other).count();
        let context = String::from_utf8_lossy(&message[at.saturating_sub(40)..message.len().min(at + 20)]).into_owned();
        found.push(format!(
            "protobuf differs at byte {at} ({} and {} bytes): {context:?}",
            encoded.len(),
            message.len()
        ));
    }
    let back = proto::decode_object(schemas, &message, None)?;
    compare("protobuf", "", &golden, &back, &mut found);
    Ok(found)
}

fn compare(what: &str, path: &str, wanted: &Value, got: &Value, found: &mut Vec<String>) {
    match (wanted, got) {
        (Value::Object(one), Value::Object(other)) => {
            for (name, value) in one {
                compare(what, &format!("{path}.{name}"), value, other.get(name).unwrap_or(&Value::Null), found);
            }
            let extra = other.keys().filter(|name| !one.contains_key(*name));
            found.extend(extra.map(|name| format!("{what}{path}.{name}: should not be there")));
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                compare(what, &format!("{path}[{index}]"), one, other, found);
            }
        }
        _ if wanted != got => found.push(format!("{what}{path}: {got} instead of {wanted}")),
        _ => {}
    }
}
