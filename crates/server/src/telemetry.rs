//! What the server counts about itself, as `/metrics` shows it. Compat: names, labels and buckets are upstream's.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{Response, StatusCode};
use meta::ResourcePath;

use crate::door::Door;
use crate::in_flight::Sort;
use crate::request_info::RequestInfo;
use crate::response::{Body, whole};

/// Upper bounds of the buckets of durations, in seconds.
const BUCKETS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// Paths without a resource that are counted by their own name; others together.
const PATHS: [&str; 7] = ["/api", "/apis", "/healthz", "/livez", "/metrics", "/readyz", "/version"];

/// What requests are counted by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    verb: &'static str,
    component: &'static str,
}

#[derive(Clone, Debug, Default)]
struct Figures {
    codes: BTreeMap<u16, u64>,
    /// How many took no longer than each bound, and longer than the one before.
    durations: [u64; BUCKETS.len()],
    seconds: f64,
    timed: u64,
}

/// Counts requests.
#[derive(Debug, Default)]
pub(crate) struct Telemetry(Mutex<BTreeMap<Labels, Figures>>);

impl Telemetry {
    /// Counts an answered request. Resources that aren't served are counted as none, or clients could fill the memory.
    pub(crate) fn count(&self, info: &RequestInfo, served: bool, status: StatusCode, took: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = all.entry(labels(info, served)).or_default();
        *figures.codes.entry(status.as_u16()).or_default() += 1;
        if info.is_lasting() {
            return;
        }
        let seconds = took.as_secs_f64();
        if let Some(bucket) = BUCKETS.iter().position(|most| seconds <= *most) {
            figures.durations[bucket] += 1;
        }
        figures.seconds += seconds;
        figures.timed += 1;
    }

    fn requests(&self, text: &mut Text) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        text.family("apiserver_request_total", "counter", "Requests by verb, resource, scope and the answer's code.");
        for (labels, figures) in &all {
            for (code, count) in &figures.codes {
                text.sample("apiserver_request_total", &format!("code=\"{code}\",{labels}"), *count);
            }
        }
        let name = "apiserver_request_duration_seconds";
        text.family(name, "histogram", "How long requests took, by verb, resource and scope.");
        for (labels, figures) in all.iter().filter(|(_, figures)| figures.timed > 0) {
            let mut up_to = 0;
            for (most, count) in BUCKETS.iter().zip(figures.durations) {
                up_to += count;
                text.sample(&format!("{name}_bucket"), &format!("{labels},le=\"{most}\""), up_to);
            }
            text.sample(&format!("{name}_bucket"), &format!("{labels},le=\"+Inf\""), figures.timed);
            text.sample(&format!("{name}_sum"), &labels.to_string(), figures.seconds);
            text.sample(&format!("{name}_count"), &labels.to_string(), figures.timed);
        }
    }
}

impl std::fmt::Display for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { group, version, resource, subresource, scope, verb, component } = self;
        write!(
            f,
            "component=\"{component}\",dry_run=\"\",group=\"{group}\",resource=\"{resource}\",scope=\"{scope}\","
        )?;
        write!(f, "subresource=\"{subresource}\",verb=\"{verb}\",version=\"{version}\"")
    }
}

fn labels(info: &RequestInfo, served: bool) -> Labels {
    let verb = match info.verb() {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        _ => "other",
    };
    match info.resource().filter(|_| served) {
        Some(path) => Labels {
            group: path.gvr.group.clone(),
            version: path.gvr.version.clone(),
            resource: path.gvr.resource.clone(),
            subresource: path.subresource.clone().unwrap_or_default(),
            scope: scope(path),
            verb,
            component: "apiserver",
        },
        None => {
            let known = PATHS.iter().find(|own| **own == info.path());
            let nothing = String::new;
            Labels {
                group: nothing(),
                version: nothing(),
                resource: nothing(),
                subresource: known.map(|own| (*own).to_owned()).unwrap_or_default(),
                scope: "",
                verb,
                component: "",
            }
        }
    }
}

fn scope(path: &ResourcePath) -> &'static str {
    match (&path.name, &path.namespace) {
        (Some(_), _) => "resource",
        (None, Some(_)) => "namespace",
        (None, None) => "cluster",
    }
}

/// A document in the text format of Prometheus.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("writing to a string cannot fail");
    }

    fn sample(&mut self, name: &str, labels: &str, value: impl std::fmt::Display) {
        writeln!(self.0, "{name}{{{labels}}} {value}").expect("writing to a string cannot fail");
    }
}

/// Everything that is counted.
pub(crate) fn answer(door: &Door) -> Response<Body> {
    let mut text = Text::default();
    door.telemetry.requests(&mut text);
    let name = "apiserver_current_inflight_requests";
    text.family(name, "gauge", "Requests that run now, by what they do.");
    for (kind, sort) in [("mutating", Sort::Write), ("readOnly", Sort::Read)] {
        text.sample(name, &format!("request_kind=\"{kind}\""), door.in_flight.running(sort));
    }
    let name = "apiserver_flowcontrol_nominal_limit_seats";
    text.family(name, "gauge", "Nominal number of execution seats of each priority level.");
    for (level, seats) in door.flows.seats() {
        text.sample(name, &format!("priority_level=\"{level}\""), seats);
    }
    let name = "aggregator_unavailable_apiservice";
    text.family(name, "gauge", "Whether an APIService is unavailable.");
    for remote in door.aggregator.remotes().values() {
        text.sample(name, &format!("name=\"{}\"", remote.name()), u8::from(!remote.available));
    }
    objects(door, &mut text);
    text.family("kubernetes_build_info", "gauge", "The version, as labels of a constant.");
    text.sample(
        "kubernetes_build_info",
        "git_version=\"v1.36.3\",major=\"1\",minor=\"36\",platform=\"linux/amd64\"",
        1,
    );
    whole(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", text.0)
}

fn objects(door: &Door, text: &mut Text) {
    let resources = door.config.registry.resources();
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for row in resources.iter().filter(|row| row.storage == (row.group, row.plural)) {
        if let Some(snapshot) = door.config.registry.snapshot(&row.gvr()) {
            counts.insert(row.storage, snapshot.len());
        }
    }
    let (older, newer) = ("apiserver_storage_objects", "apiserver_resource_objects");
    text.family(older, "gauge", "Stored objects by resource.");
    for ((group, resource), count) in &counts {
        let dot = if group.is_empty() { "" } else { "." };
        text.sample(older, &format!("resource=\"{resource}{dot}{group}\""), count);
    }
    text.family(newer, "gauge", "Stored objects by resource.");
    for ((group, resource), count) in &counts {
        text.sample(newer, &format!("group=\"{group}\",resource=\"{resource}\""), count);
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn requests_are_counted_by_what_they_ask() {
        let telemetry = Telemetry::default();
        for (uri, served, millis) in [
            ("/api/v1/namespaces/a/pods", true, 3),
            ("/api/v1/namespaces/a/pods", true, 30),
            ("/apis/x/v1/y", false, 1),
        ] {
            let info = RequestInfo::read(&Method::GET, &uri.parse().expect("a URI"));
            telemetry.count(&info, served, StatusCode::OK, Duration::from_millis(millis));
        }
        let mut text = Text::default();
        telemetry.requests(&mut text);
        let pods = "component=\"apiserver\",dry_run=\"\",group=\"\",resource=\"pods\",scope=\"namespace\",\
                    subresource=\"\",verb=\"LIST\",version=\"v1\"";
        for line in [
            format!("apiserver_request_total{{code=\"200\",{pods}}} 2\n"),
            format!("apiserver_request_duration_seconds_bucket{{{pods},le=\"0.005\"}} 1\n"),
            format!("apiserver_request_duration_seconds_bucket{{{pods},le=\"0.05\"}} 2\n"),
            format!("apiserver_request_duration_seconds_bucket{{{pods},le=\"+Inf\"}} 2\n"),
        ] {
            assert!(text.0.contains(&line), "{line} in {}", text.0);
        }
        assert!(!text.0.contains("\"y\""), "{}", text.0);
    }
}
