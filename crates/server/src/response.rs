//! Answers as HTTP: the one place that knows codes and headers.

use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use meta::{ApiError, Object, ObjectList, Reply};
use schema::{Schemas, proto};
use serde::ser::SerializeMap;
use serde_json::{Value, json};

use crate::negotiate::{Encoding, Form, View};
use crate::table::{self, TableOptions};

/// The body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// An answer with a body that is there.
pub(crate) fn whole(status: StatusCode, media_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    if let Ok(value) = HeaderValue::from_str(media_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

/// The answer to a path that nothing is known of.
pub(crate) fn page_not_found() -> Response<Body> {
    page(StatusCode::NOT_FOUND, "404 page not found")
}

/// An answer in plain text, for what has no Status.
pub(crate) fn page(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = whole(status, "text/plain; charset=utf-8", format!("{text}\n"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Tells the client of what it should know besides the answer.
pub(crate) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let text = format!("299 - {:?}", warning.replace(['\n', '\r'], " "));
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// An answer that goes on for a while.
pub(crate) fn stream(
    media_type: &str,
    parts: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
) -> Response<Body> {
    let body = StreamBody::new(parts.map(|part| part.map(Frame::data)));
    let mut response = Response::new(body.boxed_unsync());
    if let Ok(value) = HeaderValue::from_str(media_type) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

/// A document.
pub(crate) fn document(status: StatusCode, encoding: Encoding, value: &Value) -> Response<Body> {
    let bytes = match encoding {
        Encoding::Json => None,
        Encoding::Yaml => serde_yaml_ng::to_string(value).ok().map(String::into_bytes),
        Encoding::Protobuf => proto::encode_object(Schemas::builtin(), value),
    };
    match bytes {
        Some(bytes) => whole(status, encoding.media_type(), bytes),
        None => whole(status, "application/json", json(value)),
    }
}

/// Compat: upstream's documents begin with these fields, and every one ends its line.
const FIRST: [&str; 12] = [
    "kind",
    "apiVersion",
    "metadata",
    "status",
    "message",
    "reason",
    "details",
    "code",
    "name",
    "versions",
    "groupVersion",
    "preferredVersion",
];

/// The same within `details` of a failure.
const DETAILS: [&str; 4] = ["name", "group", "kind", "uid"];

/// A map whose first fields have an order.
struct InOrder<'a>(&'a serde_json::Map<String, Value>, &'static [&'static str]);

impl serde::Serialize for InOrder<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(fields, order) = self;
        let first = order.iter().filter_map(|name| fields.get_key_value(*name));
        let rest = fields.iter().filter(|(name, _)| !order.contains(&name.as_str()));
        let mut map = serializer.serialize_map(Some(fields.len()))?;
        for (name, value) in first.chain(rest) {
            match value {
                Value::Object(fields) if name == "details" => map.serialize_entry(name, &InOrder(fields, &DETAILS))?,
                value => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}

/// A document as upstream writes it.
fn json(value: &Value) -> Vec<u8> {
    let bytes = match value {
        Value::Object(fields) => serde_json::to_vec(&InOrder(fields, &FIRST)),
        other => serde_json::to_vec(other),
    };
    line(&bytes.unwrap_or_default())
}

/// Bytes and the end of their line.
fn line(bytes: &[u8]) -> Vec<u8> {
    [bytes, b"\n"].concat()
}

/// A failure.
pub(crate) fn failure(error: &ApiError, encoding: Encoding) -> Response<Body> {
    let status = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = document(status, encoding, &error.to_status().to_value());
    let seconds = error.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if seconds > 0 {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// The registry's answer in the client's form.
pub(crate) fn reply(reply: Reply, form: Form, row: &kinds::Resource, table: &TableOptions) -> Response<Body> {
    match reply {
        Reply::Object { object, created, warnings } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            let mut response = self::object(status, &object, form, row, table);
            warn(&mut response, &warnings);
            response
        }
        Reply::List(items) => list(&items, form, row, table),
        Reply::Status(status) => document(StatusCode::OK, form.encoding, &status.to_value()),
    }
}

fn object(
    status: StatusCode,
    object: &Object,
    form: Form,
    row: &kinds::Resource,
    table: &TableOptions,
) -> Response<Body> {
    match (form.view, form.encoding) {
        (View::Whole, Encoding::Json) => whole(status, "application/json", line(object.json())),
        (View::Whole, Encoding::Protobuf) => match protobuf(object) {
            Some(bytes) => whole(status, form.encoding.media_type(), bytes),
            None => whole(status, "application/json", line(object.json())),
        },
        (View::Whole, Encoding::Yaml) => document(status, Encoding::Yaml, &object.value()),
        (View::Table, encoding) => {
            let metadata = json!({"resourceVersion": object.resource_version()});
            let one = std::iter::once(object);
            document(status, encoding, &table::table(row, one, &metadata, form.meta_version, table))
        }
        (View::Metadata, encoding) => document(status, encoding, &table::metadata_of(object, form.meta_version)),
    }
}

/// The object's protobuf, encoded once a revision; `None` for kinds without one.
pub(crate) fn protobuf(object: &Object) -> Option<Bytes> {
    let encode =
        |object: &Object| Bytes::from(proto::encode_object(Schemas::builtin(), &object.value()).unwrap_or_default());
    let bytes = object.protobuf(encode);
    (!bytes.is_empty()).then(|| bytes.clone())
}

fn list_metadata(list: &ObjectList) -> Value {
    let mut metadata = json!({"resourceVersion": list.revision.to_string()});
    if !list.continue_token.is_empty() {
        metadata["continue"] = json!(list.continue_token);
    }
    if let Some(remaining) = list.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    metadata
}

fn list(list: &ObjectList, form: Form, row: &kinds::Resource, table: &TableOptions) -> Response<Body> {
    let metadata = list_metadata(list);
    let objects = list.items.iter().map(AsRef::as_ref);
    match (form.view, form.encoding) {
        (View::Whole, Encoding::Json) => whole(StatusCode::OK, "application/json", json_list(list, row, &metadata)),
        (View::Whole, Encoding::Protobuf) => match proto_list(list, row) {
            Some(bytes) => whole(StatusCode::OK, form.encoding.media_type(), bytes),
            None => whole(StatusCode::OK, "application/json", json_list(list, row, &metadata)),
        },
        (View::Whole, Encoding::Yaml) => {
            let items: Vec<Value> = objects.map(Object::value).collect();
            let value = json!({"kind": format!("{}List", row.kind), "apiVersion": row.gvk().api_version(), "metadata": metadata, "items": items});
            document(StatusCode::OK, Encoding::Yaml, &value)
        }
        (View::Table, encoding) => {
            document(StatusCode::OK, encoding, &table::table(row, objects, &metadata, form.meta_version, table))
        }
        (View::Metadata, encoding) => {
            let items: Vec<Value> = objects.map(|object| table::metadata_of(object, form.meta_version)).collect();
            let value = json!({"kind": "PartialObjectMetadataList", "apiVersion": form.meta_version, "metadata": metadata, "items": items});
            document(StatusCode::OK, encoding, &value)
        }
    }
}

/// Joins the objects' own bytes: no object is decoded for a list.
fn json_list(list: &ObjectList, row: &kinds::Resource, metadata: &Value) -> Vec<u8> {
    let head = format!(
        "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{metadata},\"items\":[",
        row.kind,
        row.gvk().api_version()
    );
    let size = list.items.iter().map(|item| item.json().len() + 1).sum::<usize>() + head.len() + 3;
    let mut bytes = Vec::with_capacity(size);
    bytes.extend_from_slice(head.as_bytes());
    for (index, item) in list.items.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(item.json());
    }
    bytes.extend_from_slice(b"]}\n");
    bytes
}

fn proto_list(list: &ObjectList, row: &kinds::Resource) -> Option<Vec<u8>> {
    let envelopes: Vec<Bytes> = list.items.iter().map(|item| protobuf(item)).collect::<Option<_>>()?;
    let items: Vec<&[u8]> = envelopes.iter().map(|envelope| proto::raw_of_envelope(envelope)).collect::<Option<_>>()?;
    let metadata = proto::ListMeta {
        resource_version: list.revision.to_string(),
        continue_token: list.continue_token.clone(),
        remaining_item_count: list.remaining.map(u64::cast_signed),
    };
    let mut kind = row.gvk();
    kind.kind.push_str("List");
    Some(proto::encode_list(&kind, &metadata, items.into_iter()))
}
