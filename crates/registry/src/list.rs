//! Lists: pages of a snapshot at a revision.

use std::time::Duration;

use meta::field::{Error, Path};
use meta::{ApiError, Cause, ListOptions, ObjectList, Reason, ResourceVersionMatch, StatusDetails};

use crate::cache::{Cache, Map, Storage};
use crate::continuation::Continuation;
use crate::selection::Selection;

const EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new \
    list without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
    results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, \
    or deleted between the time the first chunk was returned and now may show up in the list.";

/// Upstream waits so long for a revision that is not there yet.
const FUTURE: Duration = Duration::from_secs(3);

/// Which state of the cache a read wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Newest,
    AtLeast(u64),
    Exact(u64),
}

/// Reads a list.
pub(crate) async fn list(
    cache: &Cache,
    storage: &Storage,
    selection: &Selection,
    options: &ListOptions,
) -> Result<ObjectList, ApiError> {
    let token = match options.continue_token.as_str() {
        "" => None,
        token => Some(Continuation::decode(token)?),
    };
    let state = state(options, token.as_ref())?;
    let (map, revision) = snapshot(cache, storage, state, token.as_ref()).await?;
    let start = token.map(|token| selection.prefix.clone() + &token.start);
    Ok(page(&map, revision, selection, start.as_deref(), options.limit))
}

/// Waits until the cache has reached what a client asks for; it may be a revision from elsewhere, which never comes.
pub(crate) async fn wait_for(cache: &Cache, revision: u64) -> Result<(), ApiError> {
    if cache.revision() >= revision {
        return Ok(());
    }
    if tokio::time::timeout(FUTURE, cache.wait(revision)).await.is_ok() {
        return Ok(());
    }
    let current = cache.revision();
    let text = format!("Timeout: Too large resource version: {revision}, current: {current}");
    let mut error = ApiError::new(Reason::Timeout, text);
    let cause = Cause {
        reason: "ResourceVersionTooLarge".to_owned(),
        message: "Too large resource version".to_owned(),
        field: String::new(),
    };
    let details = StatusDetails { retry_after_seconds: 1, causes: vec![cause], ..StatusDetails::default() };
    error.details = Some(Box::new(details));
    Err(error)
}

/// Reads a resource version; empty is `None`.
///
/// Compat: upstream calls what isn't a number a failure of its own, except in lists.
pub(crate) fn parse_revision(text: &str) -> Result<Option<u64>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let what = if digits { "value out of range" } else { "invalid syntax" };
        let why = format!("strconv.ParseUint: parsing {text:?}: {what}");
        let error = Error::invalid(&Path::new("resourceVersion"), text, &why);
        ApiError { code: Some(500), ..ApiError::new(Reason::Unknown, error.to_string()) }
    })
}

fn state(options: &ListOptions, token: Option<&Continuation>) -> Result<State, ApiError> {
    let revision = parse_revision(&options.resource_version)
        .map_err(|error| ApiError::bad_request(format!("invalid resource version: {error}")))?;
    if let Some(token) = token {
        if revision.is_some_and(|revision| revision != 0) {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        return Ok(token.revision.map_or(State::Newest, State::Exact));
    }
    Ok(match (revision, options.resource_version_match) {
        (None | Some(0), _) => State::Newest,
        (Some(revision), Some(ResourceVersionMatch::Exact)) => State::Exact(revision),
        // Compat: with a limit and no word on how it is meant, upstream takes the revision exactly.
        (Some(revision), None) if options.limit > 0 => State::Exact(revision),
        (Some(revision), Some(ResourceVersionMatch::NotOlderThan) | None) => State::AtLeast(revision),
    })
}

async fn snapshot(
    cache: &Cache,
    storage: &Storage,
    state: State,
    token: Option<&Continuation>,
) -> Result<(Map, u64), ApiError> {
    if let State::AtLeast(revision) | State::Exact(revision) = state {
        wait_for(cache, revision).await?;
    }
    let State::Exact(revision) = state else { return Ok(newest(cache, storage)) };
    let expired = || match token {
        Some(token) => {
            let next = Continuation { revision: None, start: token.start.clone() };
            ApiError::expired(EXPIRED, Some(next.encode()))
        }
        None => ApiError::expired("The resourceVersion for the provided list is too old.", None),
    };
    if cache.has_forgotten(revision) {
        return Err(expired());
    }
    storage.at(revision).map(|map| (map, revision)).ok_or_else(expired)
}

/// Everything as it is now, with a revision that all of it has reached and nothing of it has passed.
pub(crate) fn newest(cache: &Cache, storage: &Storage) -> (Map, u64) {
    // A commit on its way may have changed this resource before the cache as a whole has reached its revision.
    let reached = cache.revision();
    let (map, changed) = storage.newest();
    (map, reached.max(changed))
}

fn page(map: &Map, revision: u64, selection: &Selection, start: Option<&str>, limit: u64) -> ObjectList {
    if selection.single {
        let object = map.get(&selection.prefix).filter(|object| selection.matches_object(object));
        return ObjectList { revision, items: object.cloned().into_iter().collect(), ..ObjectList::default() };
    }
    let from = start.unwrap_or(&selection.prefix);
    let mut matching = map
        .from(from)
        .take_while(|(key, _)| key.starts_with(&selection.prefix))
        .filter(|(_, object)| selection.matches_object(object));
    let mut items = Vec::new();
    if limit == 0 {
        items.extend(matching.map(|(_, object)| object.clone()));
        return ObjectList { revision, items, ..ObjectList::default() };
    }
    let mut last = None;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    for (key, object) in matching.by_ref().take(limit) {
        items.push(object.clone());
        last = Some(key);
    }
    let rest = if selection.is_everything() { matching.count() } else { usize::from(matching.next().is_some()) };
    let Some(last) = last.filter(|_| rest > 0) else {
        return ObjectList { revision, items, ..ObjectList::default() };
    };
    // The key after the last one: its own with a byte that no key has.
    let start = format!("{}\0", &last[selection.prefix.len()..]);
    let token = Continuation { revision: Some(revision), start };
    let remaining = selection.is_everything().then_some(rest as u64);
    ObjectList { revision, items, continue_token: token.encode(), remaining }
}
