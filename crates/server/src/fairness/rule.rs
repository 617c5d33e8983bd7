//! One rule of a FlowSchema: whose requests, and which.

use meta::UserInfo;
use serde_json::Value;

use super::items;
use crate::request_info::RequestInfo;

/// Stands for everything.
const ALL: &str = "*";

/// A rule.
#[derive(Debug)]
pub(super) struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<Resources>,
    paths: Vec<Paths>,
}

#[derive(Debug)]
enum Subject {
    User(String),
    Group(String),
    Account { namespace: String, name: String },
    Nobody,
}

#[derive(Debug)]
struct Resources {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    namespaces: Vec<String>,
    cluster_scope: bool,
}

#[derive(Debug)]
struct Paths {
    verbs: Vec<String>,
    paths: Vec<String>,
}

fn texts(list: &Value) -> Vec<String> {
    items(list).filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

impl Rule {
    /// Reads a rule of a schema that was validated.
    pub(super) fn read(rule: &Value) -> Self {
        Self {
            subjects: items(&rule["subjects"]).map(Subject::read).collect(),
            resources: items(&rule["resourceRules"]).map(Resources::read).collect(),
            paths: items(&rule["nonResourceRules"]).map(Paths::read).collect(),
        }
    }

    /// Whether a user's request is one of those it is about.
    pub(super) fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        if !self.subjects.iter().any(|subject| subject.is(user)) {
            return false;
        }
        match info.resource() {
            Some(path) => self.resources.iter().any(|rule| rule.matches(path, info.verb())),
            None => self.paths.iter().any(|rule| rule.matches(info.path(), info.verb())),
        }
    }
}

impl Subject {
    fn read(subject: &Value) -> Self {
        let text = |pointer: &str| subject.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        match text("/kind").as_str() {
            "User" => Self::User(text("/user/name")),
            "Group" => Self::Group(text("/group/name")),
            "ServiceAccount" => {
                Self::Account { namespace: text("/serviceAccount/namespace"), name: text("/serviceAccount/name") }
            }
            _ => Self::Nobody,
        }
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::User(name) => name == ALL || *name == user.name,
            Self::Group(name) => name == ALL || user.in_group(name),
            Self::Account { namespace, name } => {
                let own = user.name.strip_prefix("system:serviceaccount:").and_then(|own| own.split_once(':'));
                own.is_some_and(|(own, account)| own == namespace && (name == ALL || name == account))
            }
            Self::Nobody => false,
        }
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|own| own == ALL || own == wanted)
}

impl Resources {
    fn read(rule: &Value) -> Self {
        Self {
            verbs: texts(&rule["verbs"]),
            groups: texts(&rule["apiGroups"]),
            resources: texts(&rule["resources"]),
            namespaces: texts(&rule["namespaces"]),
            cluster_scope: rule["clusterScope"] == true,
        }
    }

    fn matches(&self, path: &meta::ResourcePath, verb: &str) -> bool {
        let resource = match &path.subresource {
            Some(subresource) => format!("{}/{subresource}", path.gvr.resource),
            None => path.gvr.resource.clone(),
        };
        let here = match &path.namespace {
            Some(namespace) => has(&self.namespaces, namespace),
            None => self.cluster_scope,
        };
        here && has(&self.verbs, verb) && has(&self.groups, &path.gvr.group) && has(&self.resources, &resource)
    }
}

impl Paths {
    fn read(rule: &Value) -> Self {
        Self { verbs: texts(&rule["verbs"]), paths: texts(&rule["nonResourceURLs"]) }
    }

    fn matches(&self, path: &str, verb: &str) -> bool {
        let fits = |own: &String| match own.strip_suffix(ALL) {
            Some(lead) => path.starts_with(lead),
            None => own == path,
        };
        has(&self.verbs, verb) && self.paths.iter().any(fits)
    }
}
