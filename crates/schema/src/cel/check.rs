//! What is wrong with an expression before it runs: names that nobody declared, fields that no schema has, operands that don't fit.
//!
//! Where the type of something isn't known, everything goes: only what must fail is refused.

use super::Fault;
use super::ast::{Binary, Expr, Loop, LoopKind, Node};
use super::eval::unescape;
use super::functions;
use crate::structural::Structural;

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub enum Declared<'s> {
    /// Anything.
    Any,
    /// A value of a schema.
    Schema(&'s Structural),
    /// An object of the API: of a schema, with apiVersion, kind and metadata.
    Resource(&'s Structural),
    /// A value of a type.
    Type(&'static str),
}

/// Members that no library lists by their names alone.
const MEMBERS: &[&str] = &[
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "find",
    "findAll",
    "lowerAscii",
    "upperAscii",
    "trim",
    "reverse",
    "quote",
    "charAt",
    "substring",
    "indexOf",
    "lastIndexOf",
    "replace",
    "split",
    "join",
    "format",
    "size",
    "isSorted",
    "sum",
    "min",
    "max",
    "includes",
    "slice",
    "flatten",
    "distinct",
    "sort",
    "sortBy",
    "first",
    "last",
    "family",
    "isUnspecified",
    "isLoopback",
    "isLinkLocalMulticast",
    "isLinkLocalUnicast",
    "isGlobalUnicast",
    "containsIP",
    "containsCIDR",
    "ip",
    "masked",
    "prefixLength",
    "sign",
    "isInteger",
    "asInteger",
    "asApproximateFloat",
    "isGreaterThan",
    "isLessThan",
    "compareTo",
    "add",
    "sub",
    "getScheme",
    "getHost",
    "getHostname",
    "getPort",
    "getEscapedPath",
    "getQuery",
    "validate",
    "major",
    "minor",
    "patch",
    "getFullYear",
    "getMonth",
    "getDayOfMonth",
    "getDate",
    "getDayOfYear",
    "getDayOfWeek",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "hasValue",
    "value",
    "orValue",
    "or",
    "optMap",
    "optFlatMap",
    "path",
    "group",
    "resource",
    "subresource",
    "namespace",
    "name",
    "check",
    "allowed",
    "reason",
    "errored",
    "error",
    "serviceAccount",
    "fieldSelector",
    "labelSelector",
];

const TYPES: [&str; 12] =
    ["int", "uint", "double", "bool", "string", "bytes", "list", "map", "null_type", "type", "google", "net"];

/// What is wrong.
pub(crate) fn check(expr: &Expr, declared: &[(&str, Declared<'_>)]) -> Vec<Fault> {
    let mut checker = Checker { names: names(declared), faults: Vec::new() };
    checker.infer(expr);
    checker.faults
}

/// The type of the result, if it is known.
pub(crate) fn result(expr: &Expr, declared: &[(&str, Declared<'_>)]) -> Option<&'static str> {
    let mut checker = Checker { names: names(declared), faults: Vec::new() };
    checker.infer(expr).name()
}

fn names<'s>(declared: &[(&str, Declared<'s>)]) -> Vec<(String, Kind<'s>)> {
    let kind = |declared: &Declared<'s>| match declared {
        Declared::Any => Kind::Any,
        Declared::Schema(schema) => Kind::of(schema),
        Declared::Resource(schema) => Kind::Resource(schema),
        Declared::Type(name) => Kind::Named(name),
    };
    declared.iter().map(|(name, declared)| ((*name).to_owned(), kind(declared))).collect()
}

/// Whether a name is used.
pub(crate) fn uses(expr: &Expr, name: &str) -> bool {
    let any = |exprs: &[&Expr]| exprs.iter().any(|expr| uses(expr, name));
    match &expr.node {
        Node::Name(own) => own == name,
        Node::Select(inner, _, _) | Node::Has(inner, _) | Node::Not(inner) | Node::Negate(inner) => uses(inner, name),
        Node::Index(a, b, _) | Node::Binary(_, a, b) | Node::Bind(_, a, b) => any(&[a, b]),
        Node::Ternary(a, b, c) => any(&[a, b, c]),
        Node::Call(target, _, arguments) => {
            target.iter().any(|target| uses(target, name)) || arguments.iter().any(|one| uses(one, name))
        }
        Node::List(items) => items.iter().any(|(item, _)| uses(item, name)),
        Node::Map(entries) => entries.iter().any(|(key, value, _)| any(&[key, value])),
        Node::Object(_, fields) => fields.iter().any(|(_, value, _)| uses(value, name)),
        Node::Loop(inner) => any(&[&inner.over, &inner.body]) || inner.filter.iter().any(|filter| uses(filter, name)),
        Node::Null
        | Node::Bool(_)
        | Node::Int(_)
        | Node::Uint(_)
        | Node::Double(_)
        | Node::Text(_)
        | Node::Bytes(_) => false,
    }
}

/// What is known of a value.
#[derive(Clone, Copy)]
enum Kind<'s> {
    Any,
    Named(&'static str),
    Schema(&'s Structural),
    Resource(&'s Structural),
}

impl<'s> Kind<'s> {
    fn of(schema: &'s Structural) -> Self {
        if schema.int_or_string || schema.nullable {
            return Self::Any;
        }
        match (schema.kind.as_str(), schema.checks.format.as_str()) {
            ("string", "date" | "date-time" | "datetime" | "duration" | "byte") => Self::Any,
            ("string", _) => Self::Named("string"),
            ("integer", _) => Self::Named("int"),
            ("number", _) => Self::Named("double"),
            ("boolean", _) => Self::Named("bool"),
            ("object" | "array", _) if schema.embedded => Self::Resource(schema),
            ("object" | "array", _) => Self::Schema(schema),
            _ => Self::Any,
        }
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Self::Any => None,
            Self::Named(name) => Some(name),
            Self::Schema(schema) | Self::Resource(schema) => Some(if schema.kind == "array" { "list" } else { "map" }),
        }
    }

    fn items(self) -> Self {
        match self {
            Self::Schema(schema) => {
                schema.items.as_deref().or(schema.additional.as_deref()).map_or(Self::Any, Self::of)
            }
            Self::Any | Self::Named(_) | Self::Resource(_) => Self::Any,
        }
    }
}

struct Checker<'s> {
    names: Vec<(String, Kind<'s>)>,
    faults: Vec<Fault>,
}

impl<'s> Checker<'s> {
    fn fault(&mut self, at: usize, text: String) -> Kind<'s> {
        self.faults.push(Fault::new(at, text));
        Kind::Any
    }

    fn infer(&mut self, expr: &Expr) -> Kind<'s> {
        match &expr.node {
            Node::Null => Kind::Any,
            Node::Bool(_) => Kind::Named("bool"),
            Node::Int(_) => Kind::Named("int"),
            Node::Uint(_) => Kind::Named("uint"),
            Node::Double(_) => Kind::Named("double"),
            Node::Text(_) => Kind::Named("string"),
            Node::Bytes(_) => Kind::Named("bytes"),
            Node::Name(name) => self.name(expr.at, name),
            Node::Select(inner, name, optional) => {
                if let Node::Name(first) = &inner.node
                    && matches!(first.as_str(), "google" | "net" | "kubernetes")
                {
                    return Kind::Any;
                }
                let inner = self.infer(inner);
                let kind = self.field(expr.at, inner, name);
                if *optional { Kind::Any } else { kind }
            }
            Node::Has(inner, name) => {
                let inner = self.infer(inner);
                self.field(expr.at, inner, name);
                Kind::Named("bool")
            }
            Node::Index(target, index, optional) => {
                let target = self.infer(target);
                self.infer(index);
                if *optional { Kind::Any } else { target.items() }
            }
            Node::Call(target, name, arguments) => self.call(expr.at, target.as_deref(), name, arguments),
            Node::Not(inner) => {
                self.infer(inner);
                Kind::Named("bool")
            }
            Node::Negate(inner) => self.infer(inner),
            Node::Binary(operator, left, right) => self.binary(expr.at, *operator, left, right),
            Node::Ternary(condition, yes, no) => {
                self.infer(condition);
                let (yes, no) = (self.infer(yes), self.infer(no));
                if yes.name() == no.name() { yes } else { Kind::Any }
            }
            Node::List(items) => {
                items.iter().for_each(|(item, _)| {
                    self.infer(item);
                });
                Kind::Named("list")
            }
            Node::Map(entries) => {
                for (key, value, _) in entries {
                    self.infer(key);
                    self.infer(value);
                }
                Kind::Named("map")
            }
            Node::Object(_, fields) => {
                fields.iter().for_each(|(_, value, _)| {
                    self.infer(value);
                });
                Kind::Named("object")
            }
            Node::Loop(inner) => self.looped(inner),
            Node::Bind(name, value, body) => {
                let value = self.infer(value);
                self.within(&[(name, value)], |checker| checker.infer(body))
            }
        }
    }

    fn within<T>(&mut self, names: &[(&String, Kind<'s>)], act: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.names.len();
        self.names.extend(names.iter().map(|(name, kind)| ((*name).clone(), *kind)));
        let result = act(self);
        self.names.truncate(before);
        result
    }

    fn name(&mut self, at: usize, name: &str) -> Kind<'s> {
        if let Some((_, kind)) = self.names.iter().rev().find(|(own, _)| own == name) {
            return *kind;
        }
        if TYPES.contains(&name) {
            return Kind::Any;
        }
        self.fault(at, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn field(&mut self, at: usize, inner: Kind<'s>, name: &str) -> Kind<'s> {
        let name = unescape(name);
        let schema = match inner {
            Kind::Resource(_) if matches!(name.as_ref(), "apiVersion" | "kind" | "metadata") => return Kind::Any,
            Kind::Schema(schema) | Kind::Resource(schema) => schema,
            Kind::Named(kind @ ("string" | "int" | "bool" | "double" | "uint" | "list")) => {
                return self.fault(at, format!("type '{kind}' does not support field selection"));
            }
            Kind::Any | Kind::Named(_) => return Kind::Any,
        };
        match schema.field(&name) {
            _ if schema.kind == "array" => self.fault(at, "type 'list' does not support field selection".to_owned()),
            Some(field) => Kind::of(field),
            None if schema.properties.is_empty() && (schema.preserve_unknown || schema.additional_any) => Kind::Any,
            None => self.fault(at, format!("undefined field '{name}'")),
        }
    }

    fn call(&mut self, at: usize, target: Option<&Expr>, name: &str, arguments: &[Expr]) -> Kind<'s> {
        if let Some(Expr { node: Node::Name(package), .. }) = target
            && functions::is_namespaced(package, name)
        {
            arguments.iter().for_each(|argument| {
                self.infer(argument);
            });
            return Kind::Any;
        }
        if let Some(target) = target {
            self.infer(target);
        }
        let own = arguments.first().filter(|_| matches!(name, "optMap" | "optFlatMap" | "sortBy"));
        match own.map(|argument| &argument.node) {
            Some(Node::Name(variable)) => {
                let variable = variable.clone();
                self.within(&[(&variable, Kind::Any)], |checker| {
                    arguments[1..].iter().for_each(|argument| {
                        checker.infer(argument);
                    });
                });
            }
            _ => arguments.iter().for_each(|argument| {
                self.infer(argument);
            }),
        }
        let known = if target.is_some() { MEMBERS.contains(&name) } else { functions::NAMES.contains(&name) };
        if !known {
            return self.fault(at, format!("undeclared reference to '{name}' (in container '')"));
        }
        Kind::of_call(target.is_some(), name)
    }

    fn binary(&mut self, at: usize, operator: Binary, left: &Expr, right: &Expr) -> Kind<'s> {
        let (left, right) = (self.infer(left).name(), self.infer(right).name());
        let (sign, compares) = match operator {
            Binary::Or | Binary::And => {
                let wrong = [left, right].into_iter().flatten().any(|name| name != "bool");
                if wrong {
                    let sign = if operator == Binary::Or { "_||_" } else { "_&&_" };
                    self.mismatch(at, sign, left, right);
                }
                return Kind::Named("bool");
            }
            Binary::In => return Kind::Named("bool"),
            Binary::Equal => ("_==_", true),
            Binary::NotEqual => ("_!=_", true),
            Binary::Less => ("_<_", true),
            Binary::LessOrEqual => ("_<=_", true),
            Binary::Greater => ("_>_", true),
            Binary::GreaterOrEqual => ("_>=_", true),
            Binary::Add => ("_+_", false),
            Binary::Subtract => ("_-_", false),
            Binary::Multiply => ("_*_", false),
            Binary::Divide => ("_/_", false),
            Binary::Modulo => ("_%_", false),
        };
        let numbers = |name: &str| matches!(name, "int" | "uint" | "double");
        let ordered = compares && !matches!(operator, Binary::Equal | Binary::NotEqual);
        if let (Some(a), Some(b)) = (left, right)
            && a != b
            && !(ordered && numbers(a) && numbers(b))
            && !matches!((a, b), ("object" | "map", "object" | "map"))
        {
            self.mismatch(at, sign, left, right);
        }
        match (compares, left) {
            (true, _) => Kind::Named("bool"),
            (false, Some(name)) if left == right => Kind::Named(name),
            (false, _) => Kind::Any,
        }
    }

    fn mismatch(&mut self, at: usize, sign: &str, left: Option<&str>, right: Option<&str>) {
        let (left, right) = (left.unwrap_or("dyn"), right.unwrap_or("dyn"));
        self.fault(at, format!("found no matching overload for '{sign}' applied to '({left}, {right})'"));
    }

    fn looped(&mut self, inner: &Loop) -> Kind<'s> {
        let over = self.infer(&inner.over);
        let is_map = matches!(over, Kind::Schema(schema) if schema.kind == "object");
        let (first, second) = match (inner.names.len(), is_map) {
            (1, false) => (over.items(), Kind::Any),
            (1, true) => (Kind::Named("string"), Kind::Any),
            (_, true) => (Kind::Named("string"), over.items()),
            (_, false) => (Kind::Any, over.items()),
        };
        let names: Vec<(&String, Kind<'s>)> = inner.names.iter().zip([first, second]).collect();
        self.within(&names, |checker| {
            if let Some(filter) = &inner.filter {
                checker.infer(filter);
            }
            checker.infer(&inner.body);
        });
        match inner.kind {
            LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne => Kind::Named("bool"),
            LoopKind::Map => Kind::Named("list"),
            LoopKind::Filter => {
                if is_map {
                    Kind::Named("list")
                } else {
                    over
                }
            }
            LoopKind::TransformMap | LoopKind::TransformMapEntry => Kind::Named("map"),
        }
    }
}

impl Kind<'_> {
    /// What a call comes to, where that doesn't depend on what it is called with.
    fn of_call(member: bool, name: &str) -> Self {
        match (member, name) {
            (_, "size") | (false, "int") => Self::Named("int"),
            (false, "string") => Self::Named("string"),
            (false, "double") => Self::Named("double"),
            (false, "bool") | (_, "matches") => Self::Named("bool"),
            (true, "contains" | "startsWith" | "endsWith" | "isSorted" | "hasValue" | "includes") => {
                Self::Named("bool")
            }
            (true, "lowerAscii" | "upperAscii" | "trim" | "substring" | "replace" | "join" | "format" | "charAt") => {
                Self::Named("string")
            }
            _ => Self::Any,
        }
    }
}
