//! One request from its first byte to its answer.

use std::sync::Arc;
use std::time::Duration;

use auth::Impersonation;
use auth::tls::Peer;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use meta::{ApiError, Reply, ResourcePath, UserInfo, Verb};

use crate::aggregation::{self, Remote};
use crate::asked::{self, Asked};
use crate::body;
use crate::door::Door;
use crate::method;
use crate::metrics;
use crate::negotiate::{self, Encoding, Offer, View};
use crate::onward;
use crate::pack;
use crate::pretty;
use crate::proxy;
use crate::query::Query;
use crate::relay;
use crate::response::{self, Body};
use crate::route::{Route, route};
use crate::site;
use crate::table::{Include, TableOptions};
use crate::watch;

/// How long a watch lasts that doesn't say.
const WATCH: Duration = Duration::from_secs(45 * 60);

/// Answers a request of a connection's peer.
pub(crate) async fn handle(door: &Arc<Door>, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
    let encoding = negotiate::form(request.headers(), Offer::Object).map_or(Encoding::Json, |form| form.encoding);
    let for_people = pretty::is_wanted(request.uri().query(), request.headers());
    let response = match answer(door, peer, request).await {
        Ok(response) if response.extensions().get::<onward::Relayed>().is_some() => return response,
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(code = error.code(), %error, "refused");
            response::failure(&error, encoding)
        }
    };
    if for_people { pretty::indented(response).await } else { response }
}

async fn answer(door: &Arc<Door>, peer: &Peer, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let path = request.uri().path().to_owned();
    let user = user(door, peer, request.headers())?;
    if let Some(remote) = door.aggregator.remote_of(path.strip_prefix("/openapi/v3").unwrap_or(&path)) {
        return elsewhere(door, &user, &remote, request).await;
    }
    match route(&path) {
        Route::Site => {
            door.authorize_path(&user, &request.method().as_str().to_ascii_lowercase(), &path)?;
            if request.method() != Method::GET && site::is_read_only(&path) {
                let text = "the server does not allow this method on the requested resource";
                return Err(ApiError::new(meta::Reason::MethodNotAllowed, text));
            }
            let packs = pack::is_wanted(request.headers());
            let answer = site::answer(door, &path, request.uri().query(), request.headers())?;
            Ok(if packs { pack::packed(answer).await } else { answer })
        }
        Route::Resource(resource, _) if relay::is_relayed(&resource) => {
            let verb = method::verb(request.method(), &resource, false).unwrap_or(Verb::Create);
            door.authorize(&user, &resource, verb, None)?;
            // Compat: a stream into a container changes something, whichever method opens it.
            if resource.subresource.as_deref() != Some("log") && verb != Verb::Create {
                door.authorize(&user, &resource, Verb::Create, None)?;
            }
            if let Some(options) = relay::options(&resource, request.uri().query()) {
                door.config.registry.connect(&user, &resource, options).await?;
            }
            relay::relay(door, &resource, request).await
        }
        Route::Resource(resource, _) if metrics::is_metrics(&resource) => {
            door.authorize(&user, &resource, metrics::verb(request.method(), &resource)?, None)?;
            metrics::answer(door, &resource, &request).await
        }
        Route::Resource(resource, _) if proxy::is_proxied(&resource) => {
            door.authorize(&user, &resource, proxy::verb(request.method())?, None)?;
            proxy::proxy(door, &resource, request).await
        }
        Route::Resource(resource, rest) => {
            let target = Target::new(resource, &request, false);
            target.authorize(door, &user, request.method())?;
            if rest.is_empty() {
                on_resource(door, target, (&user, request)).await
            } else {
                Ok(response::page_not_found())
            }
        }
        Route::Watch(resource) => {
            let target = Target::new(resource, &request, true);
            target.authorize(door, &user, request.method())?;
            on_resource(door, target, (&user, request)).await
        }
    }
}

/// What an aggregated server answers; what its user may do is ours to say first.
async fn elsewhere(
    door: &Door,
    user: &UserInfo,
    remote: &Remote,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    match route(request.uri().path()) {
        Route::Site => {
            let verb = request.method().as_str().to_ascii_lowercase();
            door.authorize_path(user, &verb, request.uri().path())?;
        }
        Route::Resource(path, _) => Target::new(path, &request, false).authorize(door, user, request.method())?,
        Route::Watch(path) => Target::new(path, &request, true).authorize(door, user, request.method())?,
    }
    Ok(aggregation::forward(door, remote, user, request).await)
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

/// What a request asks of a resource, as its path and query tell.
struct Target {
    path: ResourcePath,
    query: Query,
    watching: bool,
}

impl Target {
    fn new(path: ResourcePath, request: &Request<Incoming>, older_watch: bool) -> Self {
        let query = Query::parse(request.uri().query());
        // Compat: a name's own path gives the object, whatever the query says of watching.
        let watching = older_watch || (query.flag("watch") && path.name.is_none());
        Self { path, query, watching: watching && path_is_read(request.method()) }
    }

    /// Compat: what the user may not do is refused before anything is said of what is there.
    fn authorize(&self, door: &Door, user: &UserInfo, method: &Method) -> Result<(), ApiError> {
        match method::verb(method, &self.path, self.watching) {
            Some(verb) => door.authorize(user, &self.path, verb, self.query.fields().as_ref()),
            None => door.authorize_named(user, &self.path, "", (self.path.name.as_deref().unwrap_or_default(), None)),
        }
    }
}

fn path_is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

async fn on_resource(
    door: &Arc<Door>,
    target: Target,
    (user, request): (&UserInfo, Request<Incoming>),
) -> Result<Response<Body>, ApiError> {
    let Target { path, query, watching } = target;
    let resources = door.config.registry.resources();
    let Some(row) = resources.by_gvr(&path.gvr).cloned() else {
        let of_group = site::is_of_group(&resources, request.uri().path());
        return if of_group { Err(ApiError::no_such_resource()) } else { Ok(response::page_not_found()) };
    };
    method::check(&row, &path, request.method(), watching)?;
    if request.method() == Method::PATCH {
        body::patch_type(request.headers(), row.custom.is_some())?;
    }
    let form = negotiate::form(request.headers(), offer(&row, &path, request.method()))?;
    let table = TableOptions {
        now: door.config.clock.now().as_second(),
        include: Include::of(query.get("includeObject")),
        columns: true,
    };
    if form.view == View::Table && !row.verbs.contains(&"get") {
        return Err(not_as_table());
    }
    let deprecation: Vec<String> = row.rules().deprecation().map(str::to_owned).into_iter().collect();
    if watching {
        let timeout = query.number::<u64>("timeoutSeconds")?.map_or(WATCH, Duration::from_secs);
        let events = door.config.registry.watch(&path, query.watch(path.name.clone())?)?;
        let mut answer = watch::respond(events, form, row, table, timeout);
        response::warn(&mut answer, &deprecation);
        return Ok(answer);
    }
    let (parts, incoming) = request.into_parts();
    let bytes = body::read(incoming).await?;
    let (expected, custom) = (asked::expected(&row, &path), asked::custom(&row, &path));
    let asked = Asked { parts: &parts, query: &query, bytes: &bytes, expected, custom };
    let (call, warnings) = asked.call(&path)?;
    let mut answer = match door.answer(user, &path, call).await {
        Ok(mut reply) => {
            if let Reply::Object { warnings: own, .. } = &mut reply {
                own.extend(warnings);
            }
            response::reply(reply, form, &row, &table)
        }
        Err(error) => {
            let mut answer = response::failure(&error, form.encoding);
            response::warn(&mut answer, &warnings);
            answer
        }
    };
    response::warn(&mut answer, &deprecation);
    let packs = parts.method == Method::GET && pack::is_wanted(&parts.headers);
    Ok(if packs { pack::packed(answer).await } else { answer })
}

fn offer(row: &kinds::Resource, path: &ResourcePath, method: &Method) -> Offer {
    match (row.custom.is_some(), path.name.is_none() && *method == Method::GET) {
        (true, _) => Offer::Custom,
        (false, true) => Offer::Collection,
        (false, false) => Offer::Object,
    }
}

fn not_as_table() -> ApiError {
    let text = "the server was unable to respond with a content type that the client supports";
    ApiError::new(meta::Reason::NotAcceptable, text)
}
