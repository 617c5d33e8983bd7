//! The table of a custom resource.

use serde_json::{Value, json};

use super::{Custom, JsonPath, Names};
use crate::age;
use crate::field::{items, text};
use crate::plain::NAME;
use crate::resource::Column;

/// The columns beside the name, as a version of a definition has them.
pub(super) struct Columns {
    pub(super) all: &'static [Column],
    pub(super) cells: Vec<(String, Option<JsonPath>)>,
    pub(super) descriptions: Vec<String>,
}

const CREATION: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not \
    guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented \
    in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// Reads them.
pub(super) fn columns(version: &Value, names: &mut Names) -> Columns {
    let age =
        [json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp", "description": CREATION})];
    let given = items(version, "/additionalPrinterColumns");
    let given = if given.is_empty() { &age } else { given };
    let mut columns = vec![NAME];
    let mut found = Columns { all: &[], cells: Vec::new(), descriptions: vec![String::new()] };
    for column in given {
        let (kind, path) = (text(column, "/type"), text(column, "/jsonPath"));
        columns.push(Column {
            name: names.text(text(column, "/name")),
            kind: names.text(kind),
            format: names.text(text(column, "/format")),
            priority: column["priority"].as_i64().and_then(|number| i32::try_from(number).ok()).unwrap_or(0),
        });
        found.cells.push((kind.to_owned(), JsonPath::parse(path)));
        found.descriptions.push(match text(column, "/description") {
            "" => format!("Custom resource definition column (in JSONPath format): {path}"),
            own => own.to_owned(),
        });
    }
    found.all = names.columns(columns);
    found
}

impl Custom {
    /// The cells of a row.
    pub(super) fn cells(&self, object: &Value, now: i64) -> Vec<Value> {
        let name = std::iter::once(crate::plain::name(object));
        let cell = |(kind, path): &(String, Option<JsonPath>)| {
            let value = path.as_ref().and_then(|path| path.first(object));
            value.map_or(Value::Null, |value| cell(kind, value, now))
        };
        name.chain(self.cells.iter().map(cell)).collect()
    }
}

fn cell(kind: &str, value: &Value, now: i64) -> Value {
    match (kind, value) {
        ("integer", Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => json!(whole),
            #[expect(clippy::cast_possible_truncation, reason = "upstream cuts what is behind the point")]
            (None, Some(float)) => json!(float as i64),
            (None, None) => Value::Null,
        },
        ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) | ("string", Value::String(_)) => value.clone(),
        // Compat: a text column prints anything, structures as JSON.
        ("string", Value::Null) => Value::Null,
        ("string", other) => json!(other.to_string()),
        ("date", Value::String(time)) => match meta::parse_time(time) {
            Some(_) => age::since(Some(time), now).into(),
            None => json!("<invalid>"),
        },
        _ => Value::Null,
    }
}
