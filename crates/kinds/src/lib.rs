//! The built-in kinds: names, scope, columns, defaults, validation and update rules. Pure and synchronous.
//!
//! A kind is one file or folder beneath its group's folder, and one line in its group's list; [`all`] joins the groups.
//! Routes, discovery, tables, RBAC names and garbage collection follow from its [`Resource`].

mod addresses;
mod admissionregistration;
mod age;
mod api_services;
mod apiextensions;
mod apps;
mod autoscaling;
mod batch;
mod certificates;
mod core;
pub mod custom;
mod devices;
mod field;
mod flow_control;
mod groups;
pub mod metadata;
mod networking;
mod plain;
pub mod quota;
mod rbac;
mod resource;
mod reviews;
mod storage;
mod webhook;

use std::sync::LazyLock;

pub use age::human_duration;
pub use core::pod::qos;
pub use resource::{Column, Part, Resource, Rules, Settings, Subresource, keep_other_part};

/// The rules of objects of which nothing is known: none.
pub fn without_rules() -> &'static dyn Rules {
    &plain::Plain
}

/// Where services get their addresses, unless ServiceCIDRs say otherwise.
pub const DEFAULT_SERVICE_CIDR: &str = "10.96.0.0/16";

/// Every built-in resource.
pub fn all() -> &'static [Resource] {
    static ALL: LazyLock<Vec<Resource>> = LazyLock::new(|| {
        let groups = [
            core::all(),
            apps::all(),
            autoscaling::all(),
            batch::all(),
            storage::all(),
            rbac::all(),
            reviews::all(),
            groups::all(),
            apiextensions::all(),
            api_services::all(),
            admissionregistration::all(),
            certificates::all(),
            devices::all(),
            flow_control::all(),
            networking::all(),
        ];
        groups.concat()
    });
    &ALL
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    /// A line for each resource and subresource: group, version, resource, subresource, kind, scope, verbs, short names,
    /// categories, singular; `-` for none.
    fn lines() -> Vec<String> {
        let join = |names: &[&str]| if names.is_empty() { "-".to_owned() } else { names.join(",") };
        let sorted = |names: &[&str]| {
            let mut names = names.to_vec();
            names.sort_unstable();
            join(&names)
        };
        let group = |name: &'static str| if name.is_empty() { "-" } else { name };
        let mut lines = Vec::new();
        for row in all() {
            let head = format!("{}\t{}\t{}", group(row.group), row.version, row.plural);
            let scope = if row.namespaced { "ns" } else { "cluster" };
            let names = format!("{}\t{}\t{}", join(row.short_names), join(row.categories), row.singular);
            lines.push(format!("{head}\t-\t{}\t{scope}\t{}\t{names}", row.kind, sorted(row.verbs)));
            for sub in row.subresources {
                let kind = match sub.kind {
                    Some((group, version, kind)) if group != row.group => format!("{group}/{version}.{kind}"),
                    Some((_, _, kind)) => kind.to_owned(),
                    None => row.kind.to_owned(),
                };
                lines.push(format!("{head}\t{}\t{kind}\t-\t{}\t-\t-\t-", sub.name, sorted(sub.verbs)));
            }
        }
        lines.sort();
        lines
    }

    #[test]
    fn what_is_served_is_what_upstream_serves() {
        let upstream: BTreeSet<&str> = include_str!("served.tsv").lines().collect();
        let ours = lines();
        let ours: BTreeSet<&str> = ours.iter().map(String::as_str).collect();
        let missing: Vec<_> = upstream.difference(&ours).collect();
        let extra: Vec<_> = ours.difference(&upstream).collect();
        assert!(missing.is_empty() && extra.is_empty(), "missing: {missing:#?}\nextra: {extra:#?}");
    }

    #[test]
    fn every_resource_is_complete() {
        let mut seen = BTreeSet::new();
        for resource in all() {
            let gvr = resource.gvr();
            assert!(seen.insert(gvr.to_string()), "{gvr} is listed twice");
            assert!(!resource.verbs.is_empty() && !resource.singular.is_empty(), "{gvr}");
            let object = json!({"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"}});
            assert_eq!(resource.rules.row(&object, 0).len(), resource.columns.len(), "{gvr}");
            let names: Vec<String> = resource.rules.fields(&object).into_iter().map(|(name, _)| name).collect();
            assert!(names.iter().all(|name| resource.rules.selectable().contains(&name.as_str())), "{gvr}");
        }
    }
}
