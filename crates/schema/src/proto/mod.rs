//! The protobuf form of objects, as Go clients send and expect it, driven by the table of types.

mod decode;
mod encode;
mod wire;

use meta::{GroupVersion, Gvk};
use serde_json::{Map, Value};

use self::wire::{Part, Reader, Writer, malformed};
use crate::types::{Schemas, Struct};

/// What every envelope begins with.
const MAGIC: [u8; 4] = *b"k8s\0";

/// Why bytes are not an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// The bytes are not a message of the type.
    #[error("{0}")]
    Malformed(String),
    /// Nothing is known of the kind.
    #[error("no kind {0:?} is registered")]
    UnknownKind(String),
}

/// What a list says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListMeta {
    /// The revision of the snapshot.
    pub resource_version: String,
    /// Where the next page starts; empty on the last one.
    pub continue_token: String,
    /// How many items are left after this page, if that is known.
    pub remaining_item_count: Option<i64>,
}

/// An object in its envelope (`k8s\0` and a `runtime.Unknown`); `None` when its kind has no protobuf form.
pub fn encode_object(schemas: &Schemas, object: &Value) -> Option<Vec<u8>> {
    let object = object.as_object()?;
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let gvk = gvk(api_version, kind)?;
    let structure = message(schemas, &gvk)?;
    let mut writer = Writer::default();
    after_raw(&mut writer);
    let mark = writer.mark();
    encode::structure(&mut writer, schemas, structure, object);
    writer.close(2, mark);
    before_raw(&mut writer, api_version, kind);
    Some(writer.finish())
}

/// The object in an envelope. A body without type information is taken as `expected`.
pub fn decode_object(schemas: &Schemas, bytes: &[u8], expected: Option<&Gvk>) -> Result<Value, ProtoError> {
    let envelope = envelope(bytes)?;
    let gvk = match (gvk(&envelope.api_version, &envelope.kind), expected) {
        (Some(gvk), _) if !gvk.kind.is_empty() => gvk,
        (_, Some(expected)) => expected.clone(),
        (_, None) => return Err(ProtoError::UnknownKind(envelope.kind)),
    };
    if envelope.content_type == "application/json" {
        return serde_json::from_slice(envelope.raw).map_err(|error| malformed(&error.to_string()));
    }
    let structure = message(schemas, &gvk).ok_or_else(|| ProtoError::UnknownKind(gvk.kind.clone()))?;
    let object = decode::structure(schemas, structure, envelope.raw)?;
    // A map with the type first would need another order than serde_json's: whoever writes the document orders it.
    let mut typed = Map::new();
    typed.insert("kind".to_owned(), Value::from(gvk.kind.as_str()));
    typed.insert("apiVersion".to_owned(), Value::from(gvk.api_version()));
    typed.extend(object);
    Ok(Value::Object(typed))
}

/// A list in its envelope, from the bare messages of its items (see [`raw_of_envelope`]).
pub fn encode_list<'a, I>(list: &Gvk, meta: &ListMeta, items: I) -> Vec<u8>
where
    I: DoubleEndedIterator<Item = &'a [u8]>,
{
    let mut writer = Writer::default();
    after_raw(&mut writer);
    let mark = writer.mark();
    for item in items.rev() {
        writer.bytes(2, item);
    }
    let meta_mark = writer.mark();
    if let Some(count) = meta.remaining_item_count {
        writer.int(4, count);
    }
    writer.bytes(3, meta.continue_token.as_bytes());
    writer.bytes(2, meta.resource_version.as_bytes());
    writer.bytes(1, &[]);
    writer.close(1, meta_mark);
    writer.close(2, mark);
    before_raw(&mut writer, &list.api_version(), &list.kind);
    writer.finish()
}

/// The bare message in an object's envelope.
pub fn raw_of_envelope(bytes: &[u8]) -> Option<&[u8]> {
    envelope(bytes).ok().map(|envelope| envelope.raw)
}

/// One event of a watch stream with its length before it; `object` is an envelope.
pub fn watch_frame(event: &str, object: &[u8]) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.bytes(1, object);
    writer.close(2, 0);
    writer.bytes(1, event.as_bytes());
    // Compat: a frame's length is four bytes, the most significant first.
    let length = u32::try_from(writer.mark()).expect("objects are far smaller than four gigabytes");
    writer.raw(&length.to_be_bytes());
    writer.finish()
}

struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
    content_type: &'a str,
}

fn envelope(bytes: &[u8]) -> Result<Envelope<'_>, ProtoError> {
    let Some(unknown) = bytes.strip_prefix(&MAGIC) else {
        return Err(malformed(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]",
        ));
    };
    let mut found = Envelope { api_version: String::new(), kind: String::new(), raw: &[], content_type: "" };
    let mut reader = Reader::new(unknown);
    while let Some((number, part)) = reader.next()? {
        let Part::Bytes(bytes) = part else { return Err(malformed("wrong wireType")) };
        match number {
            1 => {
                let mut reader = Reader::new(bytes);
                while let Some((number, part)) = reader.next()? {
                    match (number, part) {
                        (1, Part::Bytes(text)) => found.api_version = String::from_utf8_lossy(text).into_owned(),
                        (2, Part::Bytes(text)) => found.kind = String::from_utf8_lossy(text).into_owned(),
                        _ => {}
                    }
                }
            }
            2 => found.raw = bytes,
            4 => found.content_type = std::str::from_utf8(bytes).unwrap_or_default(),
            _ => {}
        }
    }
    Ok(found)
}

fn gvk(api_version: &str, kind: &str) -> Option<Gvk> {
    let GroupVersion { group, version } = GroupVersion::parse(api_version)?;
    Some(Gvk { group, version, kind: kind.to_owned() })
}

fn message<'s>(schemas: &'s Schemas, gvk: &Gvk) -> Option<&'s Struct> {
    let structure = schemas.structure(schemas.of(gvk)?)?;
    (!structure.wire.is_empty()).then_some(structure)
}

/// What follows the object in an envelope: no encoding and no content type.
fn after_raw(writer: &mut Writer) {
    writer.bytes(4, &[]);
    writer.bytes(3, &[]);
}

fn before_raw(writer: &mut Writer, api_version: &str, kind: &str) {
    let mark = writer.mark();
    writer.bytes(2, kind.as_bytes());
    writer.bytes(1, api_version.as_bytes());
    writer.close(1, mark);
    writer.raw(&MAGIC);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(object: &Value) {
        let envelope = encode_object(Schemas::builtin(), object).expect("the kind has a protobuf form");
        assert_eq!(&decode_object(Schemas::builtin(), &envelope, None).expect("our own bytes can be read"), object);
    }

    fn config_map(name: &str) -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "1"}})
    }

    #[test]
    fn objects_round_trip() {
        check(&config_map("a"));
        check(
            &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "creationTimestamp": "2026-01-02T03:04:05Z",
            "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {}}}]},
            "spec": {"volumes": [{"name": "v", "hostPath": {"path": "/", "type": ""}}, {"name": "e", "emptyDir": {}}],
                "containers": [{"name": "c", "image": "i", "resources": {"limits": {"cpu": "500m"}},
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "livenessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 10},
                    "readinessProbe": {"tcpSocket": {"port": 80}}}],
                "terminationGracePeriodSeconds": 0, "priority": -1},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True",
                "lastProbeTime": null, "lastTransitionTime": null}]}}),
        );
        check(&json!({"apiVersion": "v1", "kind": "Status", "metadata": {"resourceVersion": "7"}, "status": "Failure",
            "reason": "NotFound", "message": "no", "code": 404, "details": {"name": "a", "kind": "pods"}}));
        check(&json!({"apiVersion": "apps/v1", "kind": "DeleteOptions", "preconditions": {"uid": "u"}}));
        check(
            &json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a.b"},
            "spec": {"group": "b", "names": {"plural": "a", "kind": "A"}, "scope": "Namespaced", "versions": [{"name": "v1",
                "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object",
                    "x-kubernetes-preserve-unknown-fields": true, "default": {"a": [null, 1.5]}, "properties": {"x": {
                    "type": "array", "maximum": 3, "items": {"type": "string"}, "additionalProperties": false}}}}}]},
            "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": null}}),
        );
    }

    #[test]
    fn a_body_without_a_type_takes_the_expected_one() {
        let mut envelope = encode_object(Schemas::builtin(), &config_map("a")).expect("the kind has a protobuf form");
        let raw = raw_of_envelope(&envelope).expect("an envelope").to_vec();
        envelope = MAGIC.to_vec();
        envelope.extend([0x12, u8::try_from(raw.len()).expect("a short message")]);
        envelope.extend(raw);
        let expected = Gvk::new("", "v1", "ConfigMap");
        assert_eq!(decode_object(Schemas::builtin(), &envelope, Some(&expected)), Ok(config_map("a")));
        assert!(decode_object(Schemas::builtin(), &envelope, None).is_err());
        assert!(decode_object(Schemas::builtin(), b"{}", Some(&expected)).is_err());
    }

    #[test]
    fn lists_are_made_of_bare_messages() {
        let envelopes = ["a", "b"].map(|name| encode_object(Schemas::builtin(), &config_map(name)).expect("a kind"));
        let items = envelopes.iter().map(|envelope| raw_of_envelope(envelope).expect("an envelope"));
        let meta = ListMeta {
            resource_version: "5".to_owned(),
            continue_token: "next".to_owned(),
            remaining_item_count: Some(3),
        };
        let list = encode_list(&Gvk::new("", "v1", "ConfigMapList"), &meta, items);
        let wanted = json!({"apiVersion": "v1", "kind": "ConfigMapList",
            "metadata": {"resourceVersion": "5", "continue": "next", "remainingItemCount": 3},
            "items": [{"metadata": {"name": "a"}, "data": {"a": "1"}}, {"metadata": {"name": "b"}, "data": {"a": "1"}}]});
        assert_eq!(decode_object(Schemas::builtin(), &list, None), Ok(wanted.clone()));
        assert_eq!(encode_object(Schemas::builtin(), &wanted), Some(list));
    }

    #[test]
    fn a_watch_frame_has_its_length_first() {
        assert_eq!(watch_frame("ADDED", b"xyz"), b"\0\0\0\x0e\x0a\x05ADDED\x12\x05\x0a\x03xyz");
    }

    #[test]
    fn broken_messages_are_refused() {
        let envelope = encode_object(Schemas::builtin(), &config_map("a")).expect("the kind has a protobuf form");
        for length in 0..envelope.len() - 5 {
            // Whatever the outcome: no panic.
            let _ = decode_object(Schemas::builtin(), &envelope[..length], None);
        }
        assert!(decode_object(Schemas::builtin(), b"k8s\0\x0a\xff", None).is_err());
    }
}
