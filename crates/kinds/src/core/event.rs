//! Event: one kind in two groups, stored in the core group's form.
//!
//! Compat: events.k8s.io names some fields anew and calls the old ones deprecated.

use meta::field::{Error, Errors, Path};
use meta::names;
use serde_json::{Value, json};

use crate::age;
use crate::field::{number, text};
use crate::plain::{NAME, cell, column, immutable, wide};
use crate::resource::{Column, Part, Rules, Settings};

pub(crate) const COLUMNS: &[Column] = &[
    column("Last Seen", "string"),
    column("Type", "string"),
    column("Reason", "string"),
    column("Object", "string"),
    wide("Subobject"),
    wide("Source"),
    column("Message", "string"),
    wide("First Seen"),
    wide("Count"),
    Column { priority: 1, ..NAME },
];

/// Names of the same fields: in the core group, in events.k8s.io.
const FIELDS: [(&str, &str); 6] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// In both groups, but named differently there and here in one place: (core group, events.k8s.io).
const COMPONENTS: (&str, &str) = ("reportingComponent", "reportingController");

/// What field selectors ask for in the core group.
const SELECTABLE: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "type",
    "source",
];

/// The same in events.k8s.io, in the same order; nobody asks for the source there.
const SELECTABLE_NEW: &[&str] = &[
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
    "regarding.resourceVersion",
    "regarding.fieldPath",
    "reason",
    "reportingController",
    "type",
];

/// The rules of one of the two groups.
pub(crate) struct Event {
    new: bool,
}

impl Event {
    pub(crate) const CORE: Self = Self { new: false };
    pub(crate) const NEW: Self = Self { new: true };
}

/// What stays as it was made, in events.k8s.io.
const FIXED: &[&str] = &[
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
];

impl Event {
    fn stored(&self, object: &Value) -> Value {
        let mut object = object.clone();
        self.to_stored(&mut object);
        object
    }

    /// What holds in both groups.
    fn common(&self, object: &Value) -> Errors {
        let (own, about) = (text(object, "/metadata/namespace"), text(object, "/involvedObject/namespace"));
        let timed = !text(object, "/eventTime").is_empty();
        let fits = match about {
            "" => own == "default" || (timed && own == "kube-system"),
            about => timed || about == own,
        };
        let mut errors = Errors::new();
        if !fits {
            let at = Path::new("involvedObject").child("namespace");
            errors.push(Error::invalid(&at, about, "does not match event.namespace"));
        }
        if timed {
            errors.extend(self.reported(object));
        }
        errors
    }

    /// Who tells it, and what.
    fn reported(&self, object: &Value) -> Errors {
        let mut errors = Errors::new();
        let (reporter, at) = (text(object, "/reportingComponent"), if self.new { COMPONENTS.1 } else { COMPONENTS.0 });
        if reporter.is_empty() {
            errors.push(Error::required(&Path::new(at), ""));
        }
        errors.extend(names::qualified(reporter).iter().map(|rule| Error::invalid(&Path::new(at), reporter, rule)));
        for (field, most) in [("reportingInstance", 128), ("action", 128), ("reason", 128), ("message", 1024)] {
            let told = text(object, &format!("/{field}"));
            if told.is_empty() && field != "message" {
                errors.push(Error::required(&Path::new(field), ""));
            }
            if told.len() > most {
                errors.push(Error::invalid(&Path::new(field), "", &format!("can have at most {most} characters")));
            }
        }
        errors
    }
}

fn series(object: &Value) -> Errors {
    let mut errors = Errors::new();
    if !object["series"].is_null() {
        if number(object, "/series/count").unwrap_or(0) < 2 {
            errors.push(Error::invalid(&Path::new("series.count"), "", "should be at least 2"));
        }
        if text(object, "/series/lastObservedTime").is_empty() {
            errors.push(Error::required(&Path::new("series.lastObservedTime"), ""));
        }
    }
    errors
}

/// What new events of events.k8s.io must have, and must not have any more.
fn strict(object: &Value) -> Errors {
    let mut errors = Errors::new();
    if text(object, "/eventTime").is_empty() {
        errors.push(Error::required(&Path::new("eventTime"), ""));
    }
    let kind = text(object, "/type");
    if !matches!(kind, "Normal" | "Warning") {
        errors.push(Error::invalid(&Path::new("type"), "", &format!("has invalid value: {kind}")));
    }
    let given = |field: &str| match field {
        "count" => number(object, "/count").unwrap_or(0) != 0,
        "source" => ["component", "host"].iter().any(|part| !text(&object["source"], &format!("/{part}")).is_empty()),
        time => !object[time].is_null(),
    };
    for field in ["firstTimestamp", "lastTimestamp", "count", "source"].into_iter().filter(|field| given(field)) {
        errors.push(Error::invalid(&Path::new(field), "", "needs to be unset"));
    }
    errors
}

fn rename(object: &mut Value, pairs: impl Iterator<Item = (&'static str, &'static str)>) {
    let Some(fields) = object.as_object_mut() else { return };
    for (from, to) in pairs {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
}

impl Rules for Event {
    /// Compat: upstream checks names in events.k8s.io only; in the core group those of every path hold.
    fn validate_name(&self, name: &str) -> Vec<String> {
        if self.new { names::subdomain(name) } else { names::path_segment(name) }
    }

    fn validate(&self, object: &Value, _: &Settings) -> Errors {
        let object = self.stored(object);
        let mut errors = self.common(&object);
        if self.new {
            errors.extend(series(&object));
            errors.extend(strict(&object));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _: Part<'_>, _: &Settings) -> Errors {
        let (new, old) = (self.stored(new), self.stored(old));
        let mut errors = self.common(&new);
        if self.new {
            if new["series"] != old["series"] {
                errors.extend(series(&new));
            }
            errors.extend(immutable(&new, &old, FIXED));
        }
        errors
    }

    fn to_stored(&self, object: &mut Value) {
        if self.new {
            rename(object, FIELDS.into_iter().chain([COMPONENTS]).map(|(core, new)| (new, core)));
            object["apiVersion"] = json!("v1");
        }
    }

    fn in_own_form(&self, object: &mut Value) {
        if self.new {
            rename(object, FIELDS.into_iter().chain([COMPONENTS]));
            object["apiVersion"] = json!("events.k8s.io/v1");
        }
    }

    fn selectable(&self) -> &'static [&'static str] {
        if self.new { SELECTABLE_NEW } else { SELECTABLE }
    }

    fn stored_field<'a>(&self, name: &'a str) -> &'a str {
        let position = SELECTABLE_NEW.iter().position(|own| self.new && *own == name);
        position.map_or(name, |position| SELECTABLE[position])
    }

    fn fields(&self, object: &Value) -> Vec<(String, String)> {
        let value = |name: &str| match name {
            "source" => match text(object, "/source/component") {
                "" => text(object, "/reportingComponent"),
                component => component,
            },
            name => text(object, &format!("/{}", name.replace('.', "/"))),
        };
        let names = self.selectable().iter();
        names.map(|name| ((*name).to_owned(), value(self.stored_field(name)).to_owned())).collect()
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let mut object = object.clone();
        self.to_stored(&mut object);
        let object = &object;
        let first =
            [text(object, "/firstTimestamp"), text(object, "/eventTime")].into_iter().find(|time| !time.is_empty());
        let series = text(object, "/series/lastObservedTime");
        let last = [series, text(object, "/lastTimestamp")].into_iter().find(|time| !time.is_empty()).or(first);
        let first_of = |fields: [&str; 2]| {
            fields.into_iter().map(|field| text(object, field)).find(|part| !part.is_empty()).unwrap_or_default()
        };
        let component = first_of(["/source/component", "/reportingComponent"]);
        let source = match first_of(["/source/host", "/reportingInstance"]) {
            "" => component.to_owned(),
            instance => format!("{component}, {instance}"),
        };
        let about =
            format!("{}/{}", text(object, "/involvedObject/kind").to_lowercase(), text(object, "/involvedObject/name"));
        let count = object.pointer("/series/count").or(object.get("count")).and_then(Value::as_i64).unwrap_or(1);
        vec![
            age::since(last, now).into(),
            cell(object, "/type", ""),
            cell(object, "/reason", ""),
            about.into(),
            cell(object, "/involvedObject/fieldPath", ""),
            source.into(),
            text(object, "/message").trim().into(),
            age::since(first, now).into(),
            json!(count),
            cell(object, "/metadata/name", ""),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_both_groups_find_the_same() {
        let stored = json!({"involvedObject": {"name": "a"}, "reportingComponent": "x", "type": "Normal"});
        let check = |rules: &Event, name: &str, expected: &str| {
            let fields = rules.fields(&stored);
            let found = fields.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
            assert_eq!(found, Some(expected), "{name}");
        };
        check(&Event::CORE, "involvedObject.name", "a");
        check(&Event::CORE, "source", "x");
        check(&Event::NEW, "regarding.name", "a");
        check(&Event::NEW, "reportingController", "x");
        assert_eq!(Event::NEW.stored_field("regarding.fieldPath"), "involvedObject.fieldPath");
        assert_eq!(Event::NEW.stored_field("type"), "type");
    }

    #[test]
    fn the_two_forms_are_one_event() {
        let new = json!({"kind": "Event", "apiVersion": "events.k8s.io/v1", "note": "hello",
                         "regarding": {"kind": "Pod", "name": "a"}, "reportingController": "x", "reason": "Started"});
        let mut stored = new.clone();
        Event::NEW.to_stored(&mut stored);
        assert_eq!((&stored["message"], &stored["involvedObject"]["name"]), (&json!("hello"), &json!("a")));
        Event::NEW.in_own_form(&mut stored);
        assert_eq!(stored, new);
    }
}
