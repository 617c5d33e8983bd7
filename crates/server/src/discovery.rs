//! What is served: groups, versions, resources. Made from the registry's table.

use std::collections::BTreeMap;

use http::{HeaderMap, Response, StatusCode};
use kinds::Resource;
use meta::GroupVersion;
use registry::Resources;
use serde_json::{Value, json};

use crate::metrics;
use crate::negotiate::Encoding;
use crate::response::{Body, document};

/// The answer to a discovery path, if it is one.
pub(crate) fn answer(resources: &Resources, address: &str, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let value = match parts.as_slice() {
        ["api"] if aggregated(headers) => return Some(aggregate(resources, |group| group.is_empty())),
        ["apis"] if aggregated(headers) => return Some(aggregate(resources, |group| !group.is_empty())),
        ["api"] => {
            let everyone = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]);
            json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": everyone})
        }
        ["apis"] => {
            let groups: Vec<Value> =
                versions(resources).iter().filter(|(name, _)| !name.is_empty()).map(group).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["apis", name] => {
            let all = versions(resources);
            let mut value = group(all.get_key_value(*name)?);
            value["kind"] = json!("APIGroup");
            value["apiVersion"] = json!("v1");
            value
        }
        ["api", version] => list(resources, &GroupVersion::new("", *version))?,
        ["apis", group, version] => list(resources, &GroupVersion::new(*group, *version))?,
        _ => return None,
    };
    Some(document(StatusCode::OK, Encoding::Json, &value))
}

/// Versions of each group, the preferred one first.
fn versions(resources: &Resources) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in resources.iter() {
        let versions = groups.entry(row.group.to_owned()).or_default();
        if !versions.iter().any(|version| version == row.version) {
            versions.push(row.version.to_owned());
        }
    }
    groups.entry(metrics::GROUP.to_owned()).or_insert_with(|| vec![metrics::VERSION.to_owned()]);
    groups
}

fn group((name, versions): (&String, &Vec<String>)) -> Value {
    let version =
        |version: &String| json!({"groupVersion": GroupVersion::new(name, version).to_string(), "version": version});
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "preferredVersion": versions.first(), "versions": versions})
}

fn rows<'a>(resources: &'a Resources, gv: &GroupVersion) -> Vec<&'a Resource> {
    resources.iter().filter(|row| row.group == gv.group && row.version == gv.version).collect()
}

fn list(resources: &Resources, gv: &GroupVersion) -> Option<Value> {
    let rows = rows(resources, gv);
    if rows.is_empty() && !is_metrics(gv) {
        return None;
    }
    let own = if rows.is_empty() { metrics::resources() } else { Vec::new() };
    let list: Vec<Value> = rows.into_iter().flat_map(entries).chain(own).collect();
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": gv.to_string(), "resources": list}))
}

fn is_metrics(gv: &GroupVersion) -> bool {
    gv.group == metrics::GROUP && gv.version == metrics::VERSION
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

fn aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(http::header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("as=APIGroupDiscoveryList") && accept.contains("v=v2;")
        || accept.contains("v=v2,")
        || accept.ends_with("v=v2")
}

fn aggregate(resources: &Resources, wanted: impl Fn(&str) -> bool) -> Response<Body> {
    let all = versions(resources);
    let items: Vec<Value> =
        all.iter().filter(|(name, _)| wanted(name)).map(|entry| aggregate_group(resources, entry)).collect();
    let value = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    let body = serde_json::to_vec(&value).unwrap_or_default();
    crate::response::whole(StatusCode::OK, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", body)
}

fn aggregate_group(resources: &Resources, (name, versions): (&String, &Vec<String>)) -> Value {
    let version = |version: &String| {
        let gv = GroupVersion::new(name, version);
        let rows = rows(resources, &gv);
        let own = if rows.is_empty() && is_metrics(&gv) { metrics::aggregated_resources() } else { Vec::new() };
        let list: Vec<Value> = rows.into_iter().map(aggregate_resource).chain(own).collect();
        json!({"version": version, "freshness": "Current", "resources": list})
    };
    let versions: Vec<Value> = versions.iter().map(version).collect();
    // Compat: the core group's metadata has no name.
    let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
    json!({"metadata": metadata, "versions": versions})
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
