//! What is served: groups, versions, resources. Made from the registry's table, and from what aggregated servers say.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Response, StatusCode};
use kinds::Resource;
use meta::GroupVersion;
use registry::Resources;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::aggregation::{Aggregator, Priority, Remote};
use crate::metrics;
use crate::negotiate::Encoding;
use crate::response::{Body, document};

/// What is served, here and by others.
pub(crate) struct Served<'a> {
    resources: &'a Resources,
    aggregator: &'a Aggregator,
}

/// A version of a group, and who serves it.
struct Version {
    gv: GroupVersion,
    priority: Priority,
    remote: Option<Arc<Remote>>,
}

impl<'a> Served<'a> {
    /// Here from this table, elsewhere as the aggregator knows.
    pub(crate) fn new(resources: &'a Resources, aggregator: &'a Aggregator) -> Self {
        Self { resources, aggregator }
    }

    /// The answer to a discovery path, if it is one.
    pub(crate) fn answer(&self, address: &str, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let value = match parts.as_slice() {
            ["api"] if is_aggregated(headers) => return Some(self.aggregate(headers, true)),
            ["apis"] if is_aggregated(headers) => return Some(self.aggregate(headers, false)),
            ["api"] => {
                let everyone = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]);
                json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": everyone})
            }
            ["apis"] => {
                let mut groups = self.groups();
                groups.retain(|versions| !is_core(versions));
                let groups: Vec<Value> = groups.iter().map(|versions| group(versions)).collect();
                json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
            }
            ["apis", name] => {
                let groups = self.groups();
                let mut value = group(groups.iter().find(|versions| versions[0].gv.group == *name)?);
                value["kind"] = json!("APIGroup");
                value["apiVersion"] = json!("v1");
                value
            }
            ["api", version] => self.list(&GroupVersion::new("", *version))?,
            ["apis", group, version] => self.list(&GroupVersion::new(*group, *version))?,
            _ => return None,
        };
        Some(document(StatusCode::OK, Encoding::Json, &value))
    }

    /// Versions of each group; groups and versions in their order. No group is empty.
    fn groups(&self) -> Vec<Vec<Version>> {
        let mut groups: BTreeMap<String, Vec<Version>> = BTreeMap::new();
        let own = self.resources.iter().map(|row| GroupVersion::new(row.group, row.version));
        let own = own.chain([GroupVersion::new(metrics::GROUP, metrics::VERSION)]);
        let own = own.map(|gv| Version { priority: Priority::local(&gv), gv, remote: None });
        let remotes = self.aggregator.remotes();
        let others = remotes.values().map(|remote| Version {
            gv: remote.gv.clone(),
            priority: remote.priority,
            remote: Some(Arc::clone(remote)),
        });
        for version in others.chain(own) {
            let versions = groups.entry(version.gv.group.clone()).or_default();
            if !versions.iter().any(|known| known.gv == version.gv) {
                versions.push(version);
            }
        }
        let mut groups: Vec<Vec<Version>> = groups.into_values().collect();
        for versions in &mut groups {
            versions.sort_by_key(|version| std::cmp::Reverse(version.priority.version));
        }
        let first = |versions: &Vec<Version>| versions.iter().map(|version| version.priority.group).max();
        groups.sort_by_key(|versions| std::cmp::Reverse(first(versions)));
        groups
    }

    fn rows(&self, gv: &GroupVersion) -> Vec<&'a Resource> {
        self.resources.iter().filter(|row| row.group == gv.group && row.version == gv.version).collect()
    }

    fn list(&self, gv: &GroupVersion) -> Option<Value> {
        let rows = self.rows(gv);
        if rows.is_empty() && !is_metrics(gv) {
            return None;
        }
        let own = if rows.is_empty() { metrics::resources() } else { Vec::new() };
        let list: Vec<Value> = rows.into_iter().flat_map(entries).chain(own).collect();
        Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv.to_string(), "resources": list}))
    }

    fn aggregate(&self, headers: &HeaderMap, core: bool) -> Response<Body> {
        let groups = self.groups();
        let wanted = groups.iter().filter(|versions| is_core(versions) == core);
        let items: Vec<Value> = wanted.map(|versions| self.aggregate_group(versions)).collect();
        let value = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
        let body = serde_json::to_vec(&value).unwrap_or_default();
        let tag = format!("\"{}\"", hex::encode_upper(Sha256::digest(&body)));
        let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
        let (status, body) =
            if known == Some(&tag) { (StatusCode::NOT_MODIFIED, Vec::new()) } else { (StatusCode::OK, body) };
        let mut response = crate::response::whole(status, AGGREGATED, body);
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            response.headers_mut().insert(ETAG, tag);
        }
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        response
    }

    fn aggregate_group(&self, versions: &[Version]) -> Value {
        let name = &versions[0].gv.group;
        let shown: Vec<Value> = versions.iter().map(|version| self.aggregate_version(version)).collect();
        // Compat: the core group's metadata has no name.
        let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
        json!({"metadata": metadata, "versions": shown})
    }

    fn aggregate_version(&self, Version { gv, remote, .. }: &Version) -> Value {
        if let Some(remote) = remote {
            let learned = self.aggregator.learned(gv).map(|learned| learned.aggregated(remote)).unwrap_or_default();
            // Compat: of a server that doesn't answer, what it said last is shown as such.
            let freshness = if remote.available { "Current" } else { "Stale" };
            return json!({"version": gv.version, "freshness": freshness, "resources": learned});
        }
        let rows = self.rows(gv);
        let own = if rows.is_empty() && is_metrics(gv) { metrics::aggregated_resources() } else { Vec::new() };
        let list: Vec<Value> = rows.into_iter().map(aggregate_resource).chain(own).collect();
        json!({"version": gv.version, "freshness": "Current", "resources": list})
    }
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

fn is_core(versions: &[Version]) -> bool {
    versions[0].gv.group.is_empty()
}

fn group(versions: &[Version]) -> Value {
    let version = |own: &Version| json!({"groupVersion": own.gv.to_string(), "version": own.gv.version});
    let shown: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": versions[0].gv.group, "preferredVersion": shown.first(), "versions": shown})
}

fn is_metrics(gv: &GroupVersion) -> bool {
    gv.group == metrics::GROUP && gv.version == metrics::VERSION
}

/// Which form objects are stored in, as clients compare it; `None` for what isn't stored.
///
/// Compat: the first eight bytes of the SHA-256 of `group/version/kind`, in base64.
fn storage_hash(row: &Resource) -> Option<String> {
    if !["create", "get"].iter().all(|verb| row.verbs.contains(verb)) {
        return None;
    }
    let version = match &row.custom {
        Some(custom) => custom.storage_version.as_str(),
        None => row.rules().stored_version().unwrap_or(row.version),
    };
    let hash = Sha256::digest(format!("{}/{version}/{}", row.storage.0, row.kind));
    Some(STANDARD.encode(&hash[..8]))
}

fn entries(row: &Resource) -> Vec<Value> {
    let mut own = json!({
        "name": row.plural, "singularName": row.singular, "namespaced": row.namespaced, "kind": row.kind, "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        own["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        own["categories"] = json!(row.categories);
    }
    if let Some(hash) = storage_hash(row) {
        own["storageVersionHash"] = json!(hash);
    }
    let beneath = row.subresources.iter().map(|sub| {
        let mut entry = json!({
            "name": format!("{}/{}", row.plural, sub.name), "singularName": "", "namespaced": row.namespaced,
            "kind": sub.kind.map_or(row.kind, |(_, _, kind)| kind), "verbs": sub.verbs,
        });
        if let Some((group, version, _)) = sub.kind {
            entry["group"] = json!(group);
            entry["version"] = json!(version);
        }
        entry
    });
    std::iter::once(own).chain(beneath).collect()
}

/// Whether the client likes the aggregated form better than the others.
fn is_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    for one in accept.split(',') {
        let mut parts = one.split(';').map(str::trim);
        let json = matches!(parts.next(), Some("application/json" | "application/*" | "*/*"));
        let asked: BTreeMap<&str, &str> = parts.filter_map(|part| part.split_once('=')).collect();
        let is = |name: &str, value: &str| asked.get(name) == Some(&value);
        if !asked.contains_key("as") {
            return false;
        }
        if json && is("as", "APIGroupDiscoveryList") && is("g", "apidiscovery.k8s.io") && is("v", "v2") {
            return true;
        }
    }
    false
}

fn aggregate_resource(row: &Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    // Compat: only where a kind is of another group than its resource, and for custom resources, is the group told.
    let own = |name: &str| if row.custom.is_some() { kind(row.group, row.version, name) } else { kind("", "", name) };
    let mut entry = json!({
        "resource": row.plural, "responseKind": own(row.kind),
        "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular, "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        entry["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        entry["categories"] = json!(row.categories);
    }
    let beneath = |sub: &kinds::Subresource| {
        let shown = match sub.kind {
            Some((group, version, name)) if group != row.group => kind(group, version, name),
            Some((_, _, name)) => own(name),
            None => own(row.kind),
        };
        json!({"subresource": sub.name, "responseKind": shown, "verbs": sub.verbs})
    };
    if !row.subresources.is_empty() {
        entry["subresources"] = row.subresources.iter().map(beneath).collect();
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_the_one_that_is_asked_for() {
        let check = |accept: &str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().expect("a header"));
            assert_eq!(is_aggregated(&headers), expected, "{accept}");
        };
        check("application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json", true);
        check("application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList;q=0.9", true);
        let older = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        check(older, false);
        check(&format!("{older},{AGGREGATED}"), true);
        check("application/json;v=v2", false);
        check("application/json, application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", false);
    }
}
