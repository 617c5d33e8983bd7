//! Watches on the wire: an event a frame, sent as it happens.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::Response;
use meta::{Object, WatchEvent};
use registry::WatchStream;
use schema::{Schemas, proto};
use serde_json::{Value, json};

use crate::negotiate::{Encoding, Form, View};
use crate::response::{self, Body};
use crate::table::{self, TableOptions};

/// The answer to a watch; it ends after `timeout`.
pub(crate) fn respond(
    events: WatchStream,
    form: Form,
    row: kinds::Resource,
    mut table: TableOptions,
    timeout: Duration,
) -> Response<Body> {
    let end = tokio::time::sleep(timeout);
    let frames = events.take_until(end).scan(false, move |failed, event| {
        let frame = match event {
            _ if *failed => None,
            Ok(event) => Some(frame(&event, form, &row, &table)),
            Err(error) => {
                *failed = true;
                Some(encode("ERROR", &error.to_status().to_value(), form.encoding))
            }
        };
        table.columns = false;
        std::future::ready(frame.map(Ok))
    });
    // What is there at once goes in one piece; nothing waits for more.
    let media_type = match form.encoding {
        Encoding::Json | Encoding::Yaml => "application/json",
        Encoding::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
    };
    response::stream(media_type, stream::once(async { Ok(Bytes::new()) }).chain(frames))
}

fn frame(event: &WatchEvent, form: Form, row: &kinds::Resource, table: &TableOptions) -> Bytes {
    let (kind, object) = (event.kind.as_str(), event.object.as_ref());
    match (form.view, form.encoding) {
        (View::Whole, Encoding::Protobuf) => match response::protobuf(object) {
            Some(envelope) => proto::watch_frame(kind, &envelope).into(),
            None => json_frame(kind, object.json()),
        },
        (View::Whole, Encoding::Json | Encoding::Yaml) => json_frame(kind, object.json()),
        (View::Table, encoding) => encode(kind, &event_table(event, row, form.meta_version, table), encoding),
        (View::Metadata, encoding) => encode(kind, &table::metadata_of(object, form.meta_version), encoding),
    }
}

fn event_table(event: &WatchEvent, row: &kinds::Resource, version: &str, options: &TableOptions) -> Value {
    let object: &Object = &event.object;
    let metadata = json!({"resourceVersion": object.resource_version()});
    if event.kind == meta::WatchKind::Bookmark {
        let row = json!({"cells": [], "object": table::metadata_of(object, version)});
        return json!({"kind": "Table", "apiVersion": version, "metadata": metadata, "columnDefinitions": [], "rows": [row]});
    }
    table::table(row, std::iter::once(object), &metadata, version, options)
}

fn encode(kind: &str, value: &Value, encoding: Encoding) -> Bytes {
    if encoding == Encoding::Protobuf
        && let Some(envelope) = proto::encode_object(Schemas::builtin(), value)
    {
        return proto::watch_frame(kind, &envelope).into();
    }
    json_frame(kind, value.to_string().as_bytes())
}

fn json_frame(kind: &str, object: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(object.len() + 40);
    frame.extend_from_slice(b"{\"type\":\"");
    frame.extend_from_slice(kind.as_bytes());
    frame.extend_from_slice(b"\",\"object\":");
    frame.extend_from_slice(object);
    frame.extend_from_slice(b"}\n");
    frame.into()
}
