//! One request from its first byte to its answer.

use std::sync::Arc;
use std::time::Duration;

use auth::Impersonation;
use auth::tls::Peer;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use meta::{ApiError, Reason, Reply, ResourcePath, UserInfo, Verb};

use crate::aggregation::{self, Remote};
use crate::asked::{self, Asked};
use crate::body;
use crate::door::Door;
use crate::in_flight;
use crate::method;
use crate::metrics;
use crate::negotiate::{self, Encoding, Offer, View};
use crate::onward;
use crate::pack;
use crate::pretty;
use crate::proxy;
use crate::query::Query;
use crate::relay;
use crate::request_info::RequestInfo;
use crate::response::{self, Body};
use crate::route::Route;
use crate::site;
use crate::table::{Include, TableOptions};
use crate::watch;

/// How long a watch lasts that doesn't say.
const WATCH: Duration = Duration::from_secs(45 * 60);

/// How long a request may take that doesn't last by its nature. Compat: upstream's default.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers a request of a connection's peer.
pub(crate) async fn handle(door: &Arc<Door>, peer: &Peer, request: Request<Incoming>) -> Response<Body> {
    let started = door.config.clock.instant();
    let encoding = negotiate::form(request.headers(), Offer::Object).map_or(Encoding::Json, |form| form.encoding);
    let for_people = pretty::is_wanted(request.uri().query(), request.headers());
    let info = RequestInfo::read(request.method(), request.uri());
    let mut flow = None;
    let answered = match user(door, peer, request.headers()) {
        Ok(user) => {
            flow = door.flows.classify(&user, &info);
            let exempt = flow.as_ref().is_some_and(|flow| flow.is_exempt());
            limited(door, &info, exempt, answer(door, &user, &info, request)).await
        }
        Err(error) => Err(error),
    };
    let mut response = answered.unwrap_or_else(|error| {
        tracing::debug!(code = error.code(), %error, "refused");
        response::failure(&error, encoding)
    });
    if let Some(flow) = flow {
        flow.note(response.headers_mut());
    }
    let took = door.config.clock.instant().saturating_duration_since(started);
    let served = info.resource().is_some_and(|path| door.config.registry.resources().by_gvr(&path.gvr).is_some());
    door.telemetry.count(&info, served, response.status(), took);
    let relayed = response.extensions().get::<onward::Relayed>().is_some();
    if for_people && !relayed { pretty::indented(response).await } else { response }
}

/// Answers within the limits of how many requests run at once, and of how long each may take.
async fn limited(
    door: &Door,
    info: &RequestInfo,
    exempt: bool,
    answer: impl Future<Output = Result<Response<Body>, ApiError>>,
) -> Result<Response<Body>, ApiError> {
    if info.is_lasting() {
        return answer.await;
    }
    let Some(_seat) = door.in_flight.take(info.sort(), exempt) else { return Ok(in_flight::too_many()) };
    let late = |_| ApiError::new(Reason::Timeout, "request did not complete within the allotted timeout");
    tokio::time::timeout(PATIENCE, answer).await.map_err(late)?
}

async fn answer(
    door: &Arc<Door>,
    user: &UserInfo,
    info: &RequestInfo,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let path = info.path();
    if let Some(remote) = door.aggregator.remote_of(path.strip_prefix("/openapi/v3").unwrap_or(path)) {
        return elsewhere(door, user, &remote, (info, request)).await;
    }
    match info.route().clone() {
        Route::Site => {
            door.authorize_path(user, info.verb(), path)?;
            if request.method() != Method::GET && site::is_read_only(path) {
                let text = "the server does not allow this method on the requested resource";
                return Err(ApiError::new(Reason::MethodNotAllowed, text));
            }
            let packs = pack::is_wanted(request.headers());
            let answer = site::answer(door, path, request.uri().query(), request.headers())?;
            Ok(if packs { pack::packed(answer).await } else { answer })
        }
        Route::Resource(resource, _) if relay::is_relayed(&resource) => {
            let verb = method::verb(request.method(), &resource, false).unwrap_or(Verb::Create);
            door.authorize(user, &resource, verb, None)?;
            // Compat: a stream into a container changes something, whichever method opens it.
            if resource.subresource.as_deref() != Some("log") && verb != Verb::Create {
                door.authorize(user, &resource, Verb::Create, None)?;
            }
            if let Some(options) = relay::options(&resource, request.uri().query()) {
                door.config.registry.connect(user, &resource, options).await?;
            }
            relay::relay(door, &resource, request).await
        }
        Route::Resource(resource, _) if metrics::is_metrics(&resource) => {
            door.authorize(user, &resource, metrics::verb(request.method(), &resource)?, None)?;
            metrics::answer(door, &resource, &request).await
        }
        Route::Resource(resource, _) if proxy::is_proxied(&resource) => {
            door.authorize(user, &resource, proxy::verb(request.method())?, None)?;
            proxy::proxy(door, &resource, request).await
        }
        Route::Resource(resource, rest) => {
            let target = Target::new(resource, &request, false);
            target.authorize(door, user, request.method())?;
            if rest.is_empty() {
                on_resource(door, target, (user, request)).await
            } else {
                Ok(response::page_not_found())
            }
        }
        Route::Watch(resource) => {
            let target = Target::new(resource, &request, true);
            target.authorize(door, user, request.method())?;
            on_resource(door, target, (user, request)).await
        }
    }
}

/// What an aggregated server answers; what its user may do is ours to say first.
async fn elsewhere(
    door: &Door,
    user: &UserInfo,
    remote: &Remote,
    (info, request): (&RequestInfo, Request<Incoming>),
) -> Result<Response<Body>, ApiError> {
    match info.route().clone() {
        Route::Site => door.authorize_path(user, info.verb(), info.path())?,
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
    ApiError::new(Reason::NotAcceptable, text)
}
