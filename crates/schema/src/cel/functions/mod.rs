//! The functions that expressions may call, a file for each library.
//!
//! Compat: conversions and texts are CEL's own; quantity, ip, cidr, url, format, semver, find and the lists' functions are Kubernetes'.

mod convert;
mod format;
mod lists;
mod math;
mod net;
mod quantity;
mod semver;
mod strings;
mod time;
mod url;

pub use semver::Version;
pub use url::Link;

use std::sync::Arc;

use super::budget::{Budget, Halt};
use super::eval::no_overload;
use super::value::Value;

type Result<'a> = std::result::Result<Value<'a>, Halt>;

/// A library: `None` where it has no such function for these.
type Library = for<'a> fn(&str, &[Value<'a>], &mut Budget) -> Option<Result<'a>>;

const GLOBAL: [Library; 8] = [
    convert::global,
    net::global,
    quantity::global,
    url::global,
    format::global,
    semver::global,
    lists::global,
    math::global,
];

/// Members see their receiver as the first argument.
const MEMBERS: [Library; 9] = [
    convert::member,
    strings::member,
    lists::member,
    net::member,
    quantity::member,
    url::member,
    format::member,
    semver::member,
    time::member,
];

/// Every function's name, for those who check expressions before they run.
pub(crate) const NAMES: &[&str] = &[
    "size",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "type",
    "dyn",
    "duration",
    "timestamp",
    "matches",
    "ip",
    "isIP",
    "ip.isCanonical",
    "cidr",
    "isCIDR",
    "quantity",
    "isQuantity",
    "url",
    "isURL",
    "semver",
    "isSemver",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
    "math.greatest",
    "math.least",
    "math.abs",
    "math.ceil",
    "math.floor",
    "math.round",
    "math.sign",
    "math.trunc",
    "math.isNaN",
    "math.isInf",
    "math.isFinite",
    "math.bitAnd",
    "math.bitOr",
    "math.bitXor",
    "math.bitNot",
    "math.bitShiftLeft",
    "math.bitShiftRight",
    "math.sqrt",
    "base64.encode",
    "base64.decode",
    "optional.of",
    "optional.none",
    "optional.ofNonZeroValue",
    "lists.range",
    "strings.quote",
    "format.named",
    "format.dns1123Label",
    "format.dns1123Subdomain",
    "format.dns1035Label",
    "format.qualifiedName",
    "format.dns1123LabelPrefix",
    "format.dns1123SubdomainPrefix",
    "format.dns1035LabelPrefix",
    "format.labelValue",
    "format.uri",
    "format.uuid",
    "format.byte",
    "format.date",
    "format.datetime",
    "has",
    "JSONPatch",
    "jsonpatch.escapeKey",
];

/// Whether `package.name` is a function.
pub(crate) fn is_namespaced(package: &str, name: &str) -> bool {
    NAMES.iter().any(|own| own.split_once('.') == Some((package, name)))
}

/// Calls a function without a receiver.
pub(crate) fn global<'a>(name: &str, arguments: Vec<Value<'a>>, budget: &mut Budget) -> Result<'a> {
    if let ("size" | "matches", [_, ..]) = (name, arguments.as_slice()) {
        return first(&MEMBERS, name, &arguments, budget);
    }
    first(&GLOBAL, name, &arguments, budget)
}

/// Calls a member.
pub(crate) fn member<'a>(target: Value<'a>, name: &str, arguments: Vec<Value<'a>>, budget: &mut Budget) -> Result<'a> {
    if let Value::Fields(fields) = &target
        && let Some(result) = fields.call(name, &arguments, budget)
    {
        return result;
    }
    if let Value::Optional(inner) = &target {
        return optional(inner.as_ref(), name);
    }
    let mut all = Vec::with_capacity(arguments.len() + 1);
    all.push(target);
    all.extend(arguments);
    first(&MEMBERS, name, &all, budget)
}

fn first<'a>(libraries: &[Library], name: &str, arguments: &[Value<'a>], budget: &mut Budget) -> Result<'a> {
    libraries.iter().find_map(|library| library(name, arguments, budget)).unwrap_or_else(no_overload)
}

fn optional<'a>(inner: Option<&Arc<Value<'a>>>, name: &str) -> Result<'a> {
    match (name, inner) {
        ("hasValue", inner) => Ok(Value::Bool(inner.is_some())),
        ("value", Some(inner)) => Ok(inner.as_ref().clone()),
        ("value", None) => super::eval::error("optional.none() dereference"),
        _ => no_overload(),
    }
}
