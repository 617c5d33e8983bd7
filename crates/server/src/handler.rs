//! One request from its first byte to its answer.

use std::sync::Arc;
use std::time::Duration;

use auth::Impersonation;
use auth::tls::Peer;
use http::header::USER_AGENT;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use kinds::custom::Custom;
use meta::{ApiError, Call, FieldValidation, Gvk, PatchType, Reply, ResourcePath, UserInfo, Verb};

use crate::body;
use crate::door::Door;
use crate::negotiate::{self, Encoding, View};
use crate::pack;
use crate::proxy;
use crate::query::Query;
use crate::relay;
use crate::response::{self, Body};
use crate::route::{Route, route};
use crate::site;
use crate::table::{Include, TableOptions};
use crate::watch;
use crate::yaml;

/// How long a watch lasts that doesn't say.
const WATCH: Duration = Duration::from_secs(45 * 60);

/// Answers a request of a connection's peer.
pub(crate) async fn handle(door: &Arc<Door>, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
    let encoding = negotiate::form(request.headers(), true).map_or(Encoding::Json, |form| form.encoding);
    match answer(door, peer, request).await {
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(code = error.code(), %error, "refused");
            response::failure(&error, encoding)
        }
    }
}

async fn answer(door: &Arc<Door>, peer: &Peer, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let path = request.uri().path().to_owned();
    let user = user(door, peer, request.headers())?;
    match route(&path) {
        Route::Site => {
            door.authorize_path(&user, &request.method().as_str().to_ascii_lowercase(), &path)?;
            let packs = pack::is_wanted(request.headers());
            let answer = site::answer(door, &path, request.uri().query(), request.headers())?;
            Ok(if packs { pack::packed(answer).await } else { answer })
        }
        Route::Resource(resource, _) if relay::is_relayed(&resource) => {
            // Compat: a stream into a container changes something, whichever method opens it.
            let verb = if resource.subresource.as_deref() == Some("log") { Verb::Get } else { Verb::Create };
            door.authorize(&user, &resource, verb, None)?;
            if let Some(options) = relay::options(&resource, request.uri().query()) {
                door.config.registry.connect(&user, &resource, options).await?;
            }
            relay::relay(door, &resource, request).await
        }
        Route::Resource(resource, _) if proxy::is_proxied(&resource) => {
            door.authorize(&user, &resource, proxy::verb(request.method())?, None)?;
            proxy::proxy(door, &resource, request).await
        }
        Route::Resource(resource, _) => on_resource(door, &user, resource, request).await,
    }
}

fn user(door: &Door, peer: &Peer, headers: &HeaderMap) -> Result<Arc<UserInfo>, ApiError> {
    let authorization = headers.get(http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let user = door.config.authenticator.request(peer, authorization)?;
    let pairs = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    match Impersonation::from_headers(pairs)? {
        None => Ok(user),
        Some(wanted) => wanted.authorize(&user, &*door.config.authorizer).map(Arc::new),
    }
}

async fn on_resource(
    door: &Arc<Door>,
    user: &UserInfo,
    path: ResourcePath,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let resources = door.config.registry.resources();
    let row = resources.by_gvr(&path.gvr).ok_or_else(ApiError::no_such_resource)?.clone();
    let query = Query::parse(request.uri().query());
    let form = negotiate::form(request.headers(), row.custom.is_none())?;
    let table = TableOptions {
        now: door.config.clock.now().as_second(),
        include: Include::of(query.get("includeObject")),
        columns: true,
    };
    if form.view == View::Table && !row.verbs.contains(&"get") {
        return Err(not_as_table());
    }
    let watching = request.method() == Method::GET && query.flag("watch") && path.subresource.is_none();
    if watching {
        let timeout = query.number::<u64>("timeoutSeconds")?.map_or(WATCH, Duration::from_secs);
        let events = door.watch(user, &path, query.watch(path.name.clone())?)?;
        return Ok(watch::respond(events, form, row, table, timeout));
    }
    let (parts, incoming) = request.into_parts();
    let bytes = body::read(incoming).await?;
    let asked = Asked {
        parts: &parts,
        query: &query,
        bytes: &bytes,
        expected: expected(&row, &path),
        custom: custom(&row, &path),
    };
    let (call, warnings) = asked.call(&path)?;
    let mut reply = door.call(user, &path, call).await?;
    if let Reply::Object { warnings: own, .. } = &mut reply {
        own.extend(warnings);
    }
    let answer = response::reply(reply, form, &row, &table);
    let packs = parts.method == Method::GET && pack::is_wanted(&parts.headers);
    Ok(if packs { pack::packed(answer).await } else { answer })
}

fn not_as_table() -> ApiError {
    let text = "the server was unable to respond with a content type that the client supports";
    ApiError::new(meta::Reason::NotAcceptable, text)
}

/// The kind that a body should be of.
fn expected(row: &kinds::Resource, path: &ResourcePath) -> Gvk {
    let subresource = path.subresource.as_deref().and_then(|name| row.subresource(name));
    match subresource.and_then(|subresource| subresource.kind) {
        Some((group, version, kind)) => Gvk::new(group, version, kind),
        None => row.gvk(),
    }
}

/// What a definition says of the body, unless a subresource speaks another kind.
fn custom<'a>(row: &'a kinds::Resource, path: &ResourcePath) -> Option<&'a Custom> {
    let other =
        path.subresource.as_deref().and_then(|name| row.subresource(name)).is_some_and(|own| own.kind.is_some());
    row.custom.as_deref().filter(|_| !other)
}

/// A request whose body was read.
struct Asked<'a> {
    parts: &'a Parts,
    query: &'a Query,
    bytes: &'a bytes::Bytes,
    expected: Gvk,
    custom: Option<&'a Custom>,
}

impl Asked<'_> {
    /// The call that the request makes, and what its sender should be warned of.
    fn call(&self, path: &ResourcePath) -> Result<(Call, Vec<String>), ApiError> {
        let agent = self.parts.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or("unknown");
        let plain = |call| Ok((call, Vec::new()));
        match (&self.parts.method, path.name.is_some()) {
            (&Method::GET | &Method::HEAD, true) => {
                let resource_version = self.query.get("resourceVersion").unwrap_or_default().to_owned();
                plain(Call::Get { resource_version })
            }
            (&Method::GET | &Method::HEAD, false) => plain(Call::List(self.query.list()?)),
            (&Method::POST, _) => {
                let options = self.query.write(agent)?;
                let decoded = self.decode(options.field_validation)?;
                Ok((Call::Create { object: decoded.value, options }, decoded.warnings))
            }
            (&Method::PUT, true) => {
                let options = self.query.write(agent)?;
                let decoded = self.decode(options.field_validation)?;
                Ok((Call::Update { object: decoded.value, options }, decoded.warnings))
            }
            (&Method::PATCH, true) => {
                let form = body::patch_type(&self.parts.headers)?;
                let patch = match form {
                    PatchType::Apply => body::yaml_to_json(self.bytes)?.into(),
                    _ => self.bytes.clone(),
                };
                let options = self.query.write(agent)?;
                let warnings = self.duplicates(form, options.field_validation)?;
                Ok((Call::Patch { form, patch, options }, warnings))
            }
            (&Method::DELETE, true) => plain(Call::Delete(self.query.delete(&self.delete_options()?)?)),
            (&Method::DELETE, false) => {
                let options = self.query.delete(&self.delete_options()?)?;
                plain(Call::DeleteCollection(self.query.list()?, options))
            }
            (method, _) => Err(ApiError::method_not_supported(&path.gvr, &method.as_str().to_ascii_lowercase())),
        }
    }

    /// What an applied document says twice.
    fn duplicates(&self, form: PatchType, validation: FieldValidation) -> Result<Vec<String>, ApiError> {
        if form != PatchType::Apply || validation == FieldValidation::Ignore {
            return Ok(Vec::new());
        }
        match (yaml::duplicate(self.bytes), validation) {
            (Some(text), FieldValidation::Strict) => {
                let text = format!("error strict decoding YAML: error converting YAML to JSON: {text}");
                Err(ApiError::bad_request(text))
            }
            (found, _) => Ok(found.into_iter().collect()),
        }
    }

    fn decode(&self, validation: FieldValidation) -> Result<body::Decoded, ApiError> {
        body::decode(&self.parts.headers, self.bytes, &self.expected, self.custom, validation)
    }

    fn delete_options(&self) -> Result<serde_json::Value, ApiError> {
        if self.bytes.is_empty() {
            return Ok(serde_json::Value::Null);
        }
        let kind = Gvk::new("", "v1", "DeleteOptions");
        Ok(body::decode(&self.parts.headers, self.bytes, &kind, None, FieldValidation::Ignore)?.value)
    }
}
