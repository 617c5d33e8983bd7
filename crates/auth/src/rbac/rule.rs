//! One rule of a role: what it allows, and whether rules cover other rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::attributes::{Attributes, Target};

/// Stands for every verb, group, resource or path.
const ALL: &str = "*";

/// A `PolicyRule`: verbs on resources, or on paths that are no resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Rule {
    /// For example `get`, or `*`.
    #[serde(deserialize_with = "list")]
    pub verbs: Vec<String>,
    /// For example `""` and `apps`, or `*`.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// For example `pods`, `pods/log`, `*/scale`, or `*`.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Only these objects; empty for all.
    #[serde(deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// For example `/healthz/*`.
    #[serde(rename = "nonResourceURLs", deserialize_with = "list", skip_serializing_if = "Vec::is_empty")]
    pub non_resource_urls: Vec<String>,
}

/// Lists may be null.
fn list<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

fn has(set: &[String], wanted: &str) -> bool {
    set.iter().any(|own| own == wanted)
}

fn has_or_all(set: &[String], wanted: &str) -> bool {
    set.iter().any(|own| own == ALL || own == wanted)
}

fn covers_url(owner: &str, url: &str) -> bool {
    owner == url || (owner.ends_with('*') && url.starts_with(owner.trim_end_matches('*')))
}

impl Rule {
    /// The two rules that allow everything.
    pub fn everything() -> [Self; 2] {
        let all = || vec![ALL.to_owned()];
        [
            Self { verbs: all(), api_groups: all(), resources: all(), ..Self::default() },
            Self { verbs: all(), non_resource_urls: all(), ..Self::default() },
        ]
    }

    /// Whether it allows a request.
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has_or_all(&self.verbs, attributes.verb) {
            return false;
        }
        match &attributes.target {
            Target::Path(path) => self.non_resource_urls.iter().any(|own| own == ALL || covers_url(own, path)),
            Target::Resource { group, resource, subresource, name, .. } => {
                has_or_all(&self.api_groups, group)
                    && self.names_resource(resource, subresource)
                    && (self.resource_names.is_empty() || has(&self.resource_names, name))
            }
        }
    }

    fn names_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|own| match own.split_once('/') {
            _ if own == ALL => true,
            None => own == resource && subresource.is_empty(),
            Some(_) if subresource.is_empty() => false,
            Some((of, sub)) => (of == ALL || of == resource) && sub == subresource,
        })
    }

    /// Rules of at most one verb, resource and name, or verb and path, that together allow the same.
    fn break_down(&self) -> Vec<Self> {
        let mut parts = Vec::new();
        let one = |text: &String| vec![text.clone()];
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let part =
                        Self { verbs: one(verb), api_groups: one(group), resources: one(resource), ..Self::default() };
                    if self.resource_names.is_empty() {
                        parts.push(part);
                        continue;
                    }
                    let named = |name| Self { resource_names: one(name), ..part.clone() };
                    parts.extend(self.resource_names.iter().map(named));
                }
            }
        }
        for url in &self.non_resource_urls {
            let part = |verb| Self { verbs: one(verb), non_resource_urls: one(url), ..Self::default() };
            parts.extend(self.verbs.iter().map(part));
        }
        parts
    }

    /// Whether it allows everything that `part`, of [`Self::break_down`], does.
    fn covers(&self, part: &Self) -> bool {
        let all_in = |own: &[String], wanted: &[String]| has(own, ALL) || wanted.iter().all(|wanted| has(own, wanted));
        let covers_resource = |wanted: &String| {
            has_or_all(&self.resources, wanted)
                || wanted.split_once('/').is_some_and(|(_, sub)| has(&self.resources, &format!("*/{sub}")))
        };
        let covers_names = match part.resource_names.as_slice() {
            _ if self.resource_names.is_empty() => true,
            [] => false,
            names => names.iter().all(|name| has(&self.resource_names, name)),
        };
        all_in(&self.verbs, &part.verbs)
            && all_in(&self.api_groups, &part.api_groups)
            && part.resources.iter().all(covers_resource)
            && covers_names
            && part.non_resource_urls.iter().all(|url| self.non_resource_urls.iter().any(|own| covers_url(own, url)))
    }

    /// The parts of `wanted` that `owned` does not allow.
    pub fn missing(owned: &[Self], wanted: &[Self]) -> Vec<Self> {
        let parts = wanted.iter().flat_map(Self::break_down);
        parts.filter(|part| !owned.iter().any(|own| own.covers(part))).collect()
    }

    /// Joins parts that differ only in their verb, and describes each as upstream does, in order.
    pub(crate) fn describe(parts: &[Self]) -> BTreeSet<String> {
        let mut joined: BTreeMap<Self, Vec<String>> = BTreeMap::new();
        let mut texts = BTreeSet::new();
        for part in parts {
            if part.non_resource_urls.is_empty() {
                let key = Self { verbs: Vec::new(), ..part.clone() };
                joined.entry(key).or_default().extend(part.verbs.iter().cloned());
            } else {
                texts.insert(part.compact_text());
            }
        }
        texts.extend(joined.into_iter().map(|(part, verbs)| Self { verbs, ..part }.compact_text()));
        texts
    }

    fn compact_text(&self) -> String {
        let parts = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let mut text = String::from("{");
        for (name, values) in parts.iter().filter(|(_, values)| !values.is_empty()) {
            let comma = if text.len() > 1 { ", " } else { "" };
            let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            write!(text, "{comma}{name}:[{}]", quoted.join(" ")).expect("writing to a string cannot fail");
        }
        text + "}"
    }
}

#[cfg(test)]
mod tests {
    use meta::UserInfo;

    use super::*;

    fn rule(json: &str) -> Rule {
        serde_json::from_str(json).expect(json)
    }

    #[test]
    fn rules_allow_what_upstreams_do() {
        let user = UserInfo::new("x", &[]);
        let check = |json: &str, attributes: Attributes<'_>, expected: bool| {
            assert_eq!(rule(json).allows(&attributes), expected, "{json} {attributes:?}");
        };
        let on = |verb, group, resource| Attributes::resource(&user, verb, group, resource);
        let pods = r#"{"verbs":["get","list"],"apiGroups":[""],"resources":["pods"],"nonResourceURLs":null}"#;
        check(pods, on("get", "", "pods"), true);
        check(pods, on("get", "", "pods").at("a", "b"), true);
        check(pods, on("watch", "", "pods"), false);
        check(pods, on("get", "apps", "pods"), false);
        check(pods, on("get", "", "pods").subresource("log"), false);
        check(pods, Attributes::path(&user, "get", "pods"), false);
        let log = r#"{"verbs":["*"],"apiGroups":["*"],"resources":["pods/log","*/scale"],"resourceNames":["a"]}"#;
        check(log, on("get", "", "pods").subresource("log").at("n", "a"), true);
        check(log, on("get", "", "pods").subresource("log").at("n", "b"), false);
        check(log, on("get", "", "pods").subresource("log"), false);
        check(log, on("update", "apps", "deployments").subresource("scale").at("n", "a"), true);
        check(log, on("get", "", "pods").at("n", "a"), false);
        let all = r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}"#;
        check(all, on("update", "apps", "deployments").subresource("scale"), true);
        check(all, Attributes::path(&user, "get", "/x"), false);
        let urls = r#"{"verbs":["get"],"nonResourceURLs":["/healthz","/livez/*"]}"#;
        for (path, expected) in
            [("/healthz", true), ("/healthz/x", false), ("/livez/x", true), ("/livez", false), ("/", false)]
        {
            check(urls, Attributes::path(&user, "get", path), expected);
        }
        check(urls, Attributes::path(&user, "post", "/healthz"), false);
        check(r#"{"verbs":["get"],"nonResourceURLs":["*"]}"#, Attributes::path(&user, "get", "/x"), true);
    }

    #[test]
    fn what_is_missing_is_told() {
        let check = |owned: &[&str], wanted: &str, expected: &[&str]| {
            let owned: Vec<Rule> = owned.iter().map(|json| rule(json)).collect();
            let missing = Rule::describe(&Rule::missing(&owned, &[rule(wanted)]));
            assert_eq!(missing.into_iter().collect::<Vec<_>>(), expected, "{wanted}");
        };
        let edit = r#"{"verbs":["get","delete"],"apiGroups":["","apps"],"resources":["pods"]}"#;
        check(&[edit], edit, &[]);
        check(&[r#"{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}"#], edit, &[]);
        check(
            &[r#"{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}"#],
            edit,
            &[
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}"#,
                r#"{APIGroups:["apps"], Resources:["pods"], Verbs:["get" "delete"]}"#,
            ],
        );
        let named = r#"{"verbs":["get"],"apiGroups":[""],"resources":["pods"],"resourceNames":["a"]}"#;
        check(
            &[named],
            r#"{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}"#,
            &[r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#],
        );
        check(&[r#"{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}"#], named, &[]);
        let scale = r#"{"verbs":["get"],"apiGroups":["apps"],"resources":["deployments/scale"]}"#;
        check(&[r#"{"verbs":["get"],"apiGroups":["apps"],"resources":["*/scale"]}"#], scale, &[]);
        let urls = r#"{"verbs":["get"],"nonResourceURLs":["/a/b","/c"]}"#;
        check(
            &[r#"{"verbs":["get"],"nonResourceURLs":["/a/*"]}"#],
            urls,
            &[r#"{NonResourceURLs:["/c"], Verbs:["get"]}"#],
        );
    }
}
