//! Operations on resources.

use kinds::Resource;
use meta::{GroupVersion, Gvk};
use serde_json::{Map, Value, json};

use super::dialect::Dialect;
use super::types::Definitions;

const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
const DELETE: [&str; 4] = ["dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"];
const LIST: [&str; 10] = [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
    "watch",
];

/// What is done at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    List,
    Post,
    DeleteCollection,
    Get,
    Put,
    Patch,
    Delete,
}

impl Action {
    /// (verb in discovery, method, upstream's name of the action, what an operation's id begins with)
    fn facts(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::List => ("list", "get", "list", "list"),
            Self::Post => ("create", "post", "post", "create"),
            Self::DeleteCollection => ("deletecollection", "delete", "deletecollection", "delete"),
            Self::Get => ("get", "get", "get", "read"),
            Self::Put => ("update", "put", "put", "replace"),
            Self::Patch => ("patch", "patch", "patch", "patch"),
            Self::Delete => ("delete", "delete", "delete", "delete"),
        }
    }

    fn parameters(self) -> Vec<&'static str> {
        match self {
            Self::List => LIST.to_vec(),
            Self::Post | Self::Put => WRITE.to_vec(),
            Self::Patch => WRITE.into_iter().chain(["force"]).collect(),
            Self::Delete => DELETE.to_vec(),
            Self::DeleteCollection => DELETE.into_iter().chain(LIST.into_iter().take(7)).collect(),
            Self::Get => Vec::new(),
        }
    }
}

/// Where operations are, and on what.
struct Place<'a> {
    row: &'a Resource,
    path: String,
    /// The kind that is spoken there.
    gvk: Gvk,
    verbs: &'a [&'a str],
    /// What ids of operations end with: `Status`, `Scale`.
    suffix: String,
    all_namespaces: bool,
}

/// Adds a resource's paths.
pub(super) fn add(all: &mut Map<String, Value>, dialect: Dialect, row: &Resource, definitions: &mut Definitions) {
    let root = format!("/{}", super::prefix(row));
    let scope = if row.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{root}{scope}/{}", row.plural);
    let item = format!("{collection}/{{name}}");
    let place = |path: &str| Place {
        row,
        path: path.to_owned(),
        gvk: row.gvk(),
        verbs: row.verbs,
        suffix: String::new(),
        all_namespaces: false,
    };
    let mut put = |place: &Place<'_>, actions: &[Action]| {
        let operations = operations(dialect, place, actions, definitions);
        if !operations.is_empty() {
            all.insert(place.path.clone(), Value::Object(operations));
        }
    };
    put(&place(&collection), &[Action::List, Action::Post, Action::DeleteCollection]);
    if row.namespaced {
        let everywhere = Place { all_namespaces: true, ..place(&format!("{root}/{}", row.plural)) };
        put(&everywhere, &[Action::List]);
    }
    put(&place(&item), &[Action::Get, Action::Put, Action::Patch, Action::Delete]);
    for sub in row.subresources {
        let gvk = sub.kind.map_or_else(|| row.gvk(), |(group, version, kind)| Gvk::new(group, version, kind));
        let path = format!("{item}/{}", sub.name);
        let own = Place { gvk, verbs: sub.verbs, suffix: capitalized(sub.name), ..place(&path) };
        put(&own, &[Action::Get, Action::Post, Action::Put, Action::Patch, Action::Delete]);
    }
}

fn operations(
    dialect: Dialect,
    place: &Place<'_>,
    actions: &[Action],
    definitions: &mut Definitions,
) -> Map<String, Value> {
    let mut operations = Map::new();
    for action in actions {
        let (verb, method, ..) = action.facts();
        if place.verbs.contains(&verb) {
            operations.insert(method.to_owned(), operation(dialect, place, *action, definitions));
        }
    }
    if operations.is_empty() {
        return operations;
    }
    let mut common = vec![dialect.parameter("query", "pretty", "string")];
    for name in ["name", "namespace"] {
        if place.path.contains(&format!("{{{name}}}")) {
            common.push(dialect.parameter("path", name, "string"));
        }
    }
    operations.insert("parameters".to_owned(), Value::Array(common));
    operations
}

fn operation(dialect: Dialect, place: &Place<'_>, action: Action, definitions: &mut Definitions) -> Value {
    let (_, _, name, _) = action.facts();
    let own = place.gvk == place.row.gvk();
    let object = if own { definitions.of_resource(place.row, false) } else { definitions.of_kind(&place.gvk) };
    let parameters: Vec<Value> =
        action.parameters().into_iter().map(|name| dialect.parameter("query", name, type_of(name))).collect();
    let gvk = &place.gvk;
    let mut operation = json!({
        "operationId": id(place, action), "tags": [tag(place.row)], "parameters": parameters, "responses": {},
        "x-kubernetes-action": name,
        "x-kubernetes-group-version-kind": {"group": gvk.group, "version": gvk.version, "kind": gvk.kind},
    });
    let status = Gvk::new("", "v1", "Status");
    let answer = match action {
        Action::List => definitions.of_resource(place.row, true),
        Action::Delete | Action::DeleteCollection => definitions.of_kind(&status),
        Action::Post | Action::Get | Action::Put | Action::Patch => object.clone(),
    };
    match action {
        Action::Post | Action::Put => dialect.body(&mut operation, &object, &["*/*"]),
        Action::Patch => {
            let anything = definitions.of_kind(&Gvk::new("meta.k8s.io", "v1", "Patch"));
            dialect.body(&mut operation, &anything, patches(place.row));
        }
        Action::Delete | Action::DeleteCollection => {
            let options = definitions.of_kind(&Gvk::new("meta.k8s.io", "v1", "DeleteOptions"));
            dialect.body(&mut operation, &options, &["*/*"]);
        }
        Action::List | Action::Get => {}
    }
    dialect.answer(&mut operation, "200", "OK", Some(&answer));
    if matches!(action, Action::Post | Action::Put | Action::Patch) {
        dialect.answer(&mut operation, "201", "Created", Some(&answer));
    }
    dialect.answer(&mut operation, "401", "Unauthorized", None);
    operation
}

/// The forms of patches that a resource takes.
fn patches(row: &Resource) -> &'static [&'static str] {
    const ALL: &[&str] = &[
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/apply-patch+yaml",
        "application/strategic-merge-patch+json",
    ];
    if row.custom.is_some() { &ALL[..3] } else { ALL }
}

fn type_of(parameter: &str) -> &'static str {
    match parameter {
        "allowWatchBookmarks" | "force" | "orphanDependents" | "sendInitialEvents" | "watch" => "boolean",
        "gracePeriodSeconds" | "limit" | "timeoutSeconds" => "integer",
        _ => "string",
    }
}

/// `apps_v1`.
fn tag(row: &Resource) -> String {
    let group = row.group.split('.').next().unwrap_or_default();
    let group = if group.is_empty() { "core" } else { group };
    format!("{group}_{}", row.version)
}

/// `readAppsV1NamespacedDeploymentStatus`.
fn id(place: &Place<'_>, action: Action) -> String {
    let row = place.row;
    let gv = GroupVersion::new(row.group, row.version);
    let group = if gv.group.is_empty() { "core" } else { gv.group.trim_end_matches(".k8s.io") };
    let group: String = group.split('.').map(capitalized).collect();
    let scope = if row.namespaced && !place.all_namespaces { "Namespaced" } else { "" };
    let collection = if action == Action::DeleteCollection { "Collection" } else { "" };
    let everywhere = if place.all_namespaces { "ForAllNamespaces" } else { "" };
    let (.., lead) = action.facts();
    format!("{lead}{group}{}{collection}{scope}{}{}{everywhere}", capitalized(&gv.version), row.kind, place.suffix)
}

fn capitalized(text: &str) -> String {
    let mut signs = text.chars();
    signs.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + signs.as_str())
}
