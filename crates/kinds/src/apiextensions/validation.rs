//! What is wrong with a definition, its schemas apart.

use meta::field::{Error, Errors, Path};
use meta::names::{label_1035, subdomain};
use schema::Structural;
use schema::cel::Rules;
use serde_json::{Value, json};

use super::names;
use crate::custom::JsonPath;
use crate::field::{items, text};
use crate::webhook;

const APPROVAL: &str = "api-approved.kubernetes.io";
const COLUMN_TYPES: &str = "boolean,date,integer,number,string";
const COLUMN_FORMATS: [&str; 9] = ["binary", "bool", "byte", "date", "date-time", "double", "float", "int32", "int64"];

/// Of a new definition.
pub(super) fn validate(definition: &Value) -> Errors {
    let mut errors = Errors::new();
    let (plural, group) = (text(definition, "/spec/names/plural"), text(definition, "/spec/group"));
    let name = text(definition, "/metadata/name");
    if !name.is_empty() && name != format!("{plural}.{group}") {
        let path = Path::new("metadata").child("name");
        errors.push(Error::invalid(&path, name, "must be spec.names.plural+\".\"+spec.group"));
    }
    errors.extend(spec(&definition["spec"], false));
    errors.extend(status(definition));
    errors.extend(stored_versions(definition));
    errors.extend(approval(definition, None));
    errors.extend(preserve(definition));
    errors
}

/// Of a change.
pub(super) fn validate_update(new: &Value, old: &Value) -> Errors {
    let established = items(old, "/status/conditions").iter().find(|condition| condition["type"] == "Established");
    let established = established.is_some_and(|condition| condition["status"] == "True");
    let mut errors = spec(&new["spec"], established);
    let always = ["/group", "/names/plural"];
    let immutable = if established { &["/scope", "/names/kind", "/group", "/names/plural"][..] } else { &always };
    for pointer in immutable {
        let value = |object: &Value| object["spec"].pointer(pointer).cloned().unwrap_or_default();
        if value(new) != value(old) {
            let path = pointer[1..].split('/').fold(Path::new("spec"), |path, name| path.child(name));
            errors.push(Error::invalid(&path, value(new), "field is immutable"));
        }
    }
    errors.extend(status(new));
    errors.extend(stored_versions(new));
    errors.extend(approval(new, Some(old)));
    if old["spec"]["preserveUnknownFields"] != true {
        errors.extend(preserve(new));
    }
    errors
}

/// Of a status.
pub(super) fn status(definition: &Value) -> Errors {
    names::validate(&definition["status"]["acceptedNames"], &Path::new("status").child("acceptedNames"))
}

fn spec(spec: &Value, strict_authority: bool) -> Errors {
    let path = Path::new("spec");
    let mut errors = group(text(spec, "/group"), &path.child("group"));
    errors.extend(one_of(text(spec, "/scope"), &["Cluster", "Namespaced"], &path.child("scope")));
    let versions = path.child("versions");
    let list = items(spec, "/versions");
    for (index, version) in list.iter().enumerate() {
        if !version.pointer("/schema/openAPIV3Schema").is_some_and(Value::is_object) {
            errors.push(Error::required(&versions.index(index).child("schema").child("openAPIV3Schema"), ""));
        }
    }
    for (index, version) in list.iter().enumerate() {
        errors.extend(self::version(version, &Places { list, index, path: &path }));
    }
    let mut seen: Vec<&str> = list.iter().map(|version| text(version, "/name")).collect();
    seen.sort_unstable();
    seen.dedup();
    if seen.len() != list.len() {
        errors.push(Error::invalid(&versions, json!(list), "must contain unique version names"));
    }
    if list.iter().filter(|version| version["storage"] == true).count() != 1 {
        errors.push(Error::invalid(&versions, json!(list), "must have exactly one version marked as storage version"));
    }
    let names = path.child("names");
    for field in ["plural", "singular", "kind", "listKind"] {
        if text(spec, &format!("/names/{field}")).is_empty() {
            errors.push(Error::required(&names.child(field), ""));
        }
    }
    errors.extend(names::validate(&spec["names"], &names));
    errors.extend(conversion(&spec["conversion"], &path.child("conversion"), strict_authority));
    errors
}

fn group(group: &str, path: &Path) -> Errors {
    let broken = subdomain(group);
    if group.is_empty() {
        vec![Error::required(path, "")]
    } else if !broken.is_empty() {
        vec![Error::invalid(path, group, &broken.join(","))]
    } else if !group.contains('.') {
        vec![Error::invalid(path, group, "should be a domain with at least one dot")]
    } else {
        Errors::new()
    }
}

fn one_of(value: &str, known: &[&str], path: &Path) -> Errors {
    if value.is_empty() {
        vec![Error::required(path, "")]
    } else if known.contains(&value) {
        Errors::new()
    } else {
        vec![Error::not_supported(path, value, known)]
    }
}

/// Where parts of a version stand, for errors.
struct Places<'a> {
    list: &'a [Value],
    index: usize,
    path: &'a Path,
}

impl Places<'_> {
    fn version(&self) -> Path {
        self.path.child("versions").index(self.index)
    }

    /// Compat: what is the same in all versions is told once, by the name that it had before versions had parts of their own.
    fn of(&self, field: &str, shared: &str) -> Option<Path> {
        if self.list.iter().any(|other| other[field] != self.list[0][field]) {
            return Some(self.version().child(field));
        }
        (self.index == 0).then(|| self.path.child(shared))
    }
}

fn version(version: &Value, places: &Places<'_>) -> Errors {
    let mut errors = Errors::new();
    let path = places.version();
    let name = text(version, "/name");
    let broken = label_1035(name);
    if !broken.is_empty() {
        errors.push(Error::invalid(&path.child("name"), name, &broken.join(",")));
    }
    errors.extend(deprecation(version, &path.child("deprecationWarning")));
    let schema = &version["schema"]["openAPIV3Schema"];
    if let Some(at) = places.of("schema", "validation").filter(|_| schema.is_object()) {
        let has_status = version.pointer("/subresources/status").is_some_and(|status| !status.is_null());
        let at = at.child("openAPIV3Schema");
        let found = Structural::check(schema, &at, has_status);
        if found.is_empty() {
            errors.extend(Rules::check(&Structural::parse(schema), &at));
        }
        errors.extend(found);
    }
    if let Some(at) = places.of("subresources", "subresources") {
        errors.extend(subresources(&version["subresources"], &at));
    }
    if let Some(at) = places.of("selectableFields", "selectableFields") {
        errors.extend(selectable(version, &at));
    }
    if let Some(at) = places.of("additionalPrinterColumns", "additionalPrinterColumns") {
        for (index, column) in items(version, "/additionalPrinterColumns").iter().enumerate() {
            errors.extend(self::column(column, &at.index(index)));
        }
    }
    errors
}

fn selectable(version: &Value, path: &Path) -> Errors {
    const MAX: usize = 8;
    let fields = items(version, "/selectableFields");
    let schema = Structural::parse(&version["schema"]["openAPIV3Schema"]);
    let mut errors = Errors::new();
    for (index, field) in fields.iter().enumerate() {
        let (at, value) = (path.index(index).child("jsonPath"), text(field, "/jsonPath"));
        let steps = JsonPath::parse(value);
        let steps = steps.as_ref().filter(|_| value.starts_with('.')).and_then(JsonPath::fields);
        let leaf = steps
            .as_ref()
            .and_then(|steps| steps.iter().try_fold(&schema, |schema, name| schema.properties.get(*name)));
        match (value, &steps, leaf) {
            ("", _, _) => errors.push(Error::required(&at, "")),
            (_, Some(steps), _) if steps.first() == Some(&"metadata") => {
                errors.push(Error::invalid(&at, value, "must not point to fields in metadata"));
            }
            (_, _, Some(leaf)) if matches!(leaf.kind.as_str(), "string" | "boolean" | "integer") => {}
            (_, _, Some(_)) => {
                let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                           formats are allowed.";
                errors.push(Error::invalid(&at, value, why));
            }
            (_, _, None) => {
                let why = "is an invalid path: does not refer to a valid field";
                errors.push(Error::invalid(&at, value, why));
            }
        }
        if fields[..index].contains(field) {
            errors.push(Error::duplicate(&at, value));
        }
    }
    if fields.len() > MAX {
        errors.push(Error::too_many(path, fields.len(), MAX));
    }
    errors
}

fn deprecation(version: &Value, path: &Path) -> Errors {
    let Some(warning) = version["deprecationWarning"].as_str() else { return Errors::new() };
    let invalid = |why: &str| Error::invalid(path, warning, why);
    if version["deprecated"] != true {
        return vec![invalid("can only be set for deprecated versions")];
    }
    let mut errors = Errors::new();
    if warning.len() > 256 {
        errors.push(invalid("must be <= 256 characters long"));
    }
    if warning.is_empty() {
        errors.push(invalid("must not be an empty string"));
    }
    if let Some((index, _)) = warning.char_indices().find(|(_, sign)| sign.is_control()) {
        let why =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {index}");
        errors.push(invalid(&why));
    }
    errors
}

fn subresources(subresources: &Value, path: &Path) -> Errors {
    let scale = &subresources["scale"];
    let mut errors = Errors::new();
    if !scale.is_object() {
        return errors;
    }
    for (field, beneath) in [("specReplicasPath", "spec"), ("statusReplicasPath", "status")] {
        let (at, value) = (path.child("scale").child(field), text(scale, &format!("/{field}")));
        if value.is_empty() {
            errors.push(Error::required(&at, ""));
            continue;
        }
        errors.extend(simple_path(value, &at));
        if !value.starts_with(&format!(".{beneath}.")) {
            errors.push(Error::invalid(&at, value, &format!("should be a json path under .{beneath}")));
        }
    }
    let selector = text(scale, "/labelSelectorPath");
    if !selector.is_empty() {
        let at = path.child("scale").child("labelSelectorPath");
        errors.extend(simple_path(selector, &at));
        if !selector.starts_with(".spec.") && !selector.starts_with(".status.") {
            errors.push(Error::invalid(&at, selector, "should be a json path under either .spec or .status"));
        }
    }
    errors
}

fn simple_path(value: &str, path: &Path) -> Errors {
    let plain = JsonPath::parse(value).is_some_and(|path| path.fields().is_some());
    if !value.starts_with('.') {
        vec![Error::invalid(path, value, "must be a simple json path starting with .")]
    } else if value == "." {
        vec![Error::invalid(path, value, "must not be empty")]
    } else if !plain {
        vec![Error::invalid(path, value, "must be a json path in the dot notation")]
    } else {
        Errors::new()
    }
}

fn column(column: &Value, path: &Path) -> Errors {
    let mut errors = Errors::new();
    if text(column, "/name").is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    let kind = text(column, "/type");
    let why = format!("must be one of {COLUMN_TYPES}");
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), &why));
    } else if !COLUMN_TYPES.split(',').any(|known| known == kind) {
        errors.push(Error::invalid(&path.child("type"), kind, &why));
    }
    let format = text(column, "/format");
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let mut known = [COLUMN_FORMATS.as_slice(), &["password"]].concat();
        known.sort_unstable();
        let why = format!("must be one of {}", known.join(","));
        if !known.contains(&format) {
            errors.push(Error::invalid(&path.child("format"), format, &why));
        }
    }
    let (at, json_path) = (path.child("JSONPath"), text(column, "/jsonPath"));
    if json_path.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if !json_path.starts_with('.') {
        errors.push(Error::invalid(&at, json_path, "must be a simple json path starting with ."));
    } else if JsonPath::parse(json_path).is_none() {
        errors.push(Error::invalid(&at, json_path, "must be a json path in the dot notation"));
    }
    errors
}

fn conversion(conversion: &Value, path: &Path, strict_authority: bool) -> Errors {
    let strategy = text(conversion, "/strategy");
    let mut errors = one_of(strategy, &["None", "Webhook"], &path.child("strategy"));
    let (config, at) = (&conversion["webhook"]["clientConfig"], path.child("webhookClientConfig"));
    let reviews = items(conversion, "/webhook/conversionReviewVersions");
    let reviews_path = path.child("conversionReviewVersions");
    if strategy != "Webhook" {
        if config.is_object() {
            errors.push(Error::forbidden(&at, "should not be set when strategy is not set to Webhook"));
        }
        if !reviews.is_empty() {
            errors.push(Error::forbidden(&reviews_path, "should not be set when strategy is not set to Webhook"));
        }
        return errors;
    }
    if config.is_object() {
        let authority = at.child("caBundle");
        let found = webhook::client_config(config, &at).into_iter();
        errors.extend(found.filter(|error| strict_authority || error.path != authority));
    } else {
        errors.push(Error::required(&at, "required when strategy is set to Webhook"));
    }
    errors.extend(webhook::review_versions(reviews, "", &reviews_path));
    errors
}

fn stored_versions(definition: &Value) -> Errors {
    let path = Path::new("status").child("storedVersions");
    let stored = items(definition, "/status/storedVersions");
    if stored.is_empty() {
        return vec![Error::invalid(&path, json!(stored), "must have at least one stored version")];
    }
    let versions = items(definition, "/spec/versions");
    let mut errors = Errors::new();
    for version in versions.iter().filter(|version| version["storage"] == true && !stored.contains(&version["name"])) {
        let why = format!("must have the storage version {}", text(version, "/name"));
        errors.push(Error::invalid(&path, json!(stored), &why));
    }
    for (index, name) in stored.iter().enumerate() {
        if !versions.iter().any(|version| version["name"] == *name) {
            let own = name.as_str().unwrap_or_default();
            let why = format!(
                "missing from spec.versions; {own} was previously a storage version, and must remain in spec.versions until \
                 a storage migration ensures no data remains persisted in {own} and removes {own} from status.storedVersions"
            );
            errors.push(Error::invalid(&path.index(index), own, &why));
        }
    }
    errors
}

/// Whether a group is the community's own, and so needs its approval.
fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"].iter().any(|own| group == *own || group.ends_with(&format!(".{own}")))
}

/// The state of the approval, and why it is none.
fn approved(definition: &Value) -> (&'static str, String) {
    let annotation = definition["metadata"]["annotations"][APPROVAL].as_str().unwrap_or_default();
    if annotation.is_empty() {
        let why = format!(
            "protected groups must have approval annotation {APPROVAL:?}, see https://github.com/kubernetes/enhancements/pull/1111"
        );
        return ("missing", why);
    }
    if annotation.starts_with("unapproved") {
        return ("bypassed", String::new());
    }
    if annotation.contains("://") && annotation.split_once("://").is_some_and(|(_, rest)| !rest.starts_with('/')) {
        return ("approved", String::new());
    }
    let why = format!(
        "protected groups must have approval annotation {APPROVAL:?} with either a URL or a reason starting with \"unapproved\", \
         see https://github.com/kubernetes/enhancements/pull/1111"
    );
    ("invalid", why)
}

fn approval(new: &Value, old: Option<&Value>) -> Errors {
    if !is_protected(text(new, "/spec/group")) {
        return Errors::new();
    }
    let (state, why) = approved(new);
    if old.is_some_and(|old| approved(old).0 == state) {
        return Errors::new();
    }
    let path = Path::new("metadata").child("annotations").key(APPROVAL);
    match state {
        "missing" => vec![Error::required(&path, &why)],
        "invalid" => vec![Error::invalid(&path, new["metadata"]["annotations"][APPROVAL].clone(), &why)],
        _ => Errors::new(),
    }
}

fn preserve(definition: &Value) -> Errors {
    if definition["spec"]["preserveUnknownFields"] != true {
        return Errors::new();
    }
    let why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
    vec![Error::invalid(&Path::new("spec").child("preserveUnknownFields"), true, why)]
}
