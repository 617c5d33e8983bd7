//! Running an expression.

use std::borrow::Cow;
use std::sync::Arc;

use super::Variables;
use super::ast::{Binary, Expr, Loop, LoopKind, Node};
use super::budget::{Budget, Halt};
use super::value::Value;
use super::{functions, operators};

/// The names that are known at one place of an expression.
pub(crate) struct Scope<'v, 's, 'a> {
    outer: Option<&'v Scope<'v, 's, 'a>>,
    names: Names<'v, 's, 'a>,
}

enum Names<'v, 's, 'a> {
    Given(&'v Variables<'s, 'a>),
    Own(&'v str, Value<'a>),
}

type Result<T> = std::result::Result<T, Halt>;

/// An error of the expression itself.
pub(crate) fn error<T>(text: impl Into<String>) -> Result<T> {
    Err(Halt::Error(text.into()))
}

/// No function takes these.
pub(crate) fn no_overload<T>() -> Result<T> {
    error("no such overload")
}

impl<'s, 'a> Scope<'_, 's, 'a> {
    pub(crate) fn new<'v>(given: &'v Variables<'s, 'a>) -> Scope<'v, 's, 'a> {
        Scope { outer: None, names: Names::Given(given) }
    }

    fn with<'v>(&'v self, name: &'v str, value: Value<'a>) -> Scope<'v, 's, 'a> {
        Scope { outer: Some(unshorten(self)), names: Names::Own(name, value) }
    }

    fn get(&self, name: &str) -> Option<Value<'a>> {
        let own = match &self.names {
            Names::Given(given) => given.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone()),
            Names::Own(own, value) => (*own == name).then(|| value.clone()),
        };
        own.or_else(|| self.outer?.get(name))
    }

    pub(crate) fn eval(&self, expr: &Expr, budget: &mut Budget) -> Result<Value<'a>> {
        budget.spend(1)?;
        match &expr.node {
            Node::Null => Ok(Value::Null),
            Node::Bool(value) => Ok(Value::Bool(*value)),
            Node::Int(number) => Ok(Value::Int(*number)),
            Node::Uint(number) => Ok(Value::Uint(*number)),
            Node::Double(number) => Ok(Value::Double(*number)),
            Node::Text(text) => {
                budget.spend_on(text.len())?;
                Ok(Value::text(text.as_str()))
            }
            Node::Bytes(bytes) => Ok(Value::Bytes(bytes.as_slice().into())),
            Node::Name(name) => self.name(name),
            Node::Select(target, name, optional) => self.select(target, name, *optional, budget),
            Node::Has(target, name) => {
                let target = self.eval(target, budget)?;
                Ok(Value::Bool(field(&target, name, budget)?.is_some()))
            }
            Node::Index(target, index, optional) => {
                let (target, index) = (self.eval(target, budget)?, self.eval(index, budget)?);
                at(target, &index, *optional, budget)
            }
            Node::Call(None, name, arguments) => functions::global(name, self.all(arguments, budget)?, budget),
            Node::Call(Some(target), name, arguments) => self.member(target, name, arguments, budget),
            Node::Not(inner) => match self.eval(inner, budget)? {
                Value::Bool(value) => Ok(Value::Bool(!value)),
                _ => no_overload(),
            },
            Node::Negate(inner) => operators::negate(self.eval(inner, budget)?),
            Node::Binary(Binary::And, left, right) => self.logical(left, right, false, budget),
            Node::Binary(Binary::Or, left, right) => self.logical(left, right, true, budget),
            Node::Binary(operator, left, right) => {
                let (left, right) = (self.eval(left, budget)?, self.eval(right, budget)?);
                operators::binary(*operator, left, right, budget)
            }
            Node::Ternary(condition, yes, no) => match self.eval(condition, budget)? {
                Value::Bool(true) => self.eval(yes, budget),
                Value::Bool(false) => self.eval(no, budget),
                _ => no_overload(),
            },
            Node::List(items) => self.list(items, budget),
            Node::Map(entries) => self.map(entries, budget),
            Node::Object(name, fields) => self.object(name, fields, budget),
            Node::Loop(inner) => self.looped(inner, budget),
            Node::Bind(name, value, body) => {
                let value = self.eval(value, budget)?;
                self.with(name, value).eval(body, budget)
            }
        }
    }

    fn name(&self, name: &str) -> Result<Value<'a>> {
        if let Some(value) = self.get(name) {
            return Ok(value);
        }
        match name {
            "int" | "uint" | "double" | "bool" | "string" | "bytes" | "list" | "map" | "null_type" | "type" => {
                Ok(Value::Type(name.to_owned()))
            }
            _ => error(format!("no such attribute(s): {name}")),
        }
    }

    fn all(&self, exprs: &[Expr], budget: &mut Budget) -> Result<Vec<Value<'a>>> {
        exprs.iter().map(|expr| self.eval(expr, budget)).collect()
    }

    /// `&&` and `||`: one side decides, also where the other has no value.
    fn logical(&self, left: &Expr, right: &Expr, decides: bool, budget: &mut Budget) -> Result<Value<'a>> {
        let left = match self.eval(left, budget) {
            Ok(Value::Bool(value)) if value == decides => return Ok(Value::Bool(decides)),
            Err(halt @ (Halt::Call | Halt::Total)) => return Err(halt),
            other => other,
        };
        match (left, self.eval(right, budget)) {
            (_, Ok(Value::Bool(value))) if value == decides => Ok(Value::Bool(decides)),
            (_, Err(halt @ (Halt::Call | Halt::Total))) => Err(halt),
            (Err(halt), _) | (Ok(_), Err(halt)) => Err(halt),
            (Ok(Value::Bool(_)), Ok(Value::Bool(_))) => Ok(Value::Bool(!decides)),
            (Ok(_), Ok(_)) => no_overload(),
        }
    }

    fn select(&self, target: &Expr, name: &str, optional: bool, budget: &mut Budget) -> Result<Value<'a>> {
        // A name that is none may be the first part of a function's or a type's.
        let target = match (&target.node, self.eval(target, budget)) {
            (Node::Name(first), Err(Halt::Error(_))) if matches!(first.as_str(), "google" | "net" | "kubernetes") => {
                return Ok(Value::Type(format!("{first}.{name}")));
            }
            (_, Ok(Value::Type(first))) if first.starts_with("google.") || first == "google.protobuf" => {
                return Ok(Value::Type(format!("{first}.{name}")));
            }
            (_, target) => target?,
        };
        if let Value::Optional(inner) = target {
            let found = match inner {
                Some(inner) => field(&inner, name, budget)?,
                None => None,
            };
            return Ok(Value::Optional(found.map(Arc::new)));
        }
        match (field(&target, name, budget)?, optional) {
            (found, true) => Ok(Value::Optional(found.map(Arc::new))),
            (Some(value), false) => Ok(value),
            (None, false) => error(format!("no such key: {name}")),
        }
    }

    fn member(&self, target: &Expr, name: &str, arguments: &[Expr], budget: &mut Budget) -> Result<Value<'a>> {
        if let Some(package) = package(target)
            && self.get(package).is_none()
            && functions::is_namespaced(package, name)
        {
            return functions::global(&format!("{package}.{name}"), self.all(arguments, budget)?, budget);
        }
        let target = self.eval(target, budget)?;
        // The alternative of an optional is only computed where it is needed, and `optMap` binds a name.
        match (&target, name, arguments) {
            (Value::Optional(Some(inner)), "orValue", [_]) => return Ok(inner.as_ref().clone()),
            (Value::Optional(None), "orValue", [other]) => return self.eval(other, budget),
            (Value::Optional(Some(_)), "or", [_]) => return Ok(target),
            (Value::Optional(None), "or", [other]) => return self.eval(other, budget),
            (Value::Optional(inner), "optMap" | "optFlatMap", [Expr { node: Node::Name(variable), .. }, body]) => {
                let Some(inner) = inner else { return Ok(target) };
                let mapped = self.with(variable, inner.as_ref().clone()).eval(body, budget)?;
                return Ok(if name == "optMap" { Value::Optional(Some(Arc::new(mapped))) } else { mapped });
            }
            (Value::List(_) | Value::Json(..), "sortBy", [Expr { node: Node::Name(variable), .. }, key]) => {
                return self.sort_by(&target, variable, key, budget);
            }
            _ => {}
        }
        let arguments = self.all(arguments, budget)?;
        functions::member(target, name, arguments, budget)
    }

    fn sort_by(&self, list: &Value<'a>, variable: &str, key: &Expr, budget: &mut Budget) -> Result<Value<'a>> {
        let Some(items) = list.items() else { return no_overload() };
        budget.spend(items.len() * 4)?;
        let keyed = items.into_iter().map(|item| Ok((self.with(variable, item.clone()).eval(key, budget)?, item)));
        let mut keyed = keyed.collect::<Result<Vec<_>>>()?;
        keyed.sort_by(|(a, _), (b, _)| a.compare(b).unwrap_or(std::cmp::Ordering::Equal));
        Ok(Value::list(keyed.into_iter().map(|(_, item)| item).collect()))
    }

    fn list(&self, items: &[(Expr, bool)], budget: &mut Budget) -> Result<Value<'a>> {
        let mut list = Vec::with_capacity(items.len());
        for (item, optional) in items {
            match (self.eval(item, budget)?, optional) {
                (Value::Optional(inner), true) => list.extend(inner.map(|inner| inner.as_ref().clone())),
                (_, true) => return no_overload(),
                (item, false) => list.push(item),
            }
        }
        Ok(Value::list(list))
    }

    fn map(&self, entries: &[(Expr, Expr, bool)], budget: &mut Budget) -> Result<Value<'a>> {
        let mut map: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for (key, value, optional) in entries {
            let key = self.eval(key, budget)?;
            if map.iter().any(|(own, _)| own.equals(&key)) {
                return error("Failed with repeated key");
            }
            match (self.eval(value, budget)?, optional) {
                (Value::Optional(inner), true) => map.extend(inner.map(|inner| (key, inner.as_ref().clone()))),
                (_, true) => return no_overload(),
                (value, false) => map.push((key, value)),
            }
        }
        Ok(Value::Map(Arc::new(map)))
    }

    fn object(&self, name: &str, fields: &[(String, Expr, bool)], budget: &mut Budget) -> Result<Value<'a>> {
        let mut object = Vec::with_capacity(fields.len());
        for (field, value, optional) in fields {
            match (self.eval(value, budget)?, optional) {
                (Value::Optional(inner), true) => {
                    object.extend(inner.map(|inner| (unescape(field).into_owned(), inner.as_ref().clone())));
                }
                (_, true) => return no_overload(),
                (value, false) => object.push((unescape(field).into_owned(), value)),
            }
        }
        Ok(Value::Object(Arc::new((name.to_owned(), object))))
    }

    fn looped(&self, inner: &Loop, budget: &mut Budget) -> Result<Value<'a>> {
        let over = self.eval(&inner.over, budget)?;
        budget.spend(over.size().unwrap_or(0))?;
        let two = inner.names.len() == 2;
        let pairs: Vec<(Value<'a>, Value<'a>)> = match (over.items(), over.entries()) {
            (Some(items), _) if two => {
                items.into_iter().enumerate().map(|(index, item)| (Value::Int(index as i64), item)).collect()
            }
            (Some(items), _) => items.into_iter().map(|item| (item, Value::Null)).collect(),
            (None, Some(entries)) => entries,
            (None, None) => return no_overload(),
        };
        let (first, second) = (&inner.names[0], inner.names.get(1));
        let mut run = Run::new(inner.kind);
        for (key, value) in pairs {
            let outer = self.with(first, key.clone());
            let scope = match second {
                Some(second) => outer.with(second, value.clone()),
                None => outer.with(first, key.clone()),
            };
            if let Some(filter) = &inner.filter {
                match scope.eval(filter, budget)? {
                    Value::Bool(true) => {}
                    Value::Bool(false) => continue,
                    _ => return no_overload(),
                }
            }
            if let Some(result) = run.step(scope.eval(&inner.body, budget), key)? {
                return Ok(result);
            }
        }
        run.end()
    }
}

/// Scopes only ever look outwards, so a longer borrow of the outer one does for the inner.
fn unshorten<'v, 's, 'a>(scope: &'v Scope<'_, 's, 'a>) -> &'v Scope<'v, 's, 'a> {
    scope
}

/// What a macro has so far.
struct Run<'a> {
    kind: LoopKind,
    list: Vec<Value<'a>>,
    map: Vec<(Value<'a>, Value<'a>)>,
    count: usize,
    failed: Option<Halt>,
}

impl<'a> Run<'a> {
    fn new(kind: LoopKind) -> Self {
        Self { kind, list: Vec::new(), map: Vec::new(), count: 0, failed: None }
    }

    /// Takes in one item's result; what the macro comes to, if that decides it.
    fn step(&mut self, result: Result<Value<'a>>, key: Value<'a>) -> Result<Option<Value<'a>>> {
        let value = match (self.kind, result) {
            // Compat: like `&&` and `||`, one item may decide where others have no value.
            (LoopKind::All | LoopKind::Exists, Err(halt @ Halt::Error(_))) => {
                self.failed.get_or_insert(halt);
                return Ok(None);
            }
            (_, result) => result?,
        };
        match (self.kind, value) {
            (LoopKind::All, Value::Bool(false)) => return Ok(Some(Value::Bool(false))),
            (LoopKind::Exists, Value::Bool(true)) => return Ok(Some(Value::Bool(true))),
            (LoopKind::All | LoopKind::Exists, Value::Bool(_)) => {}
            (LoopKind::ExistsOne, Value::Bool(holds)) => self.count += usize::from(holds),
            (LoopKind::Filter, Value::Bool(holds)) => self.list.extend(holds.then_some(key)),
            (LoopKind::Map, value) => self.list.push(value),
            (LoopKind::TransformMap, value) => self.map.push((key, value)),
            (LoopKind::TransformMapEntry, value) => self.map.extend(value.entries().unwrap_or_default()),
            (LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne | LoopKind::Filter, _) => return no_overload(),
        }
        Ok(None)
    }

    fn end(self) -> Result<Value<'a>> {
        match (self.kind, self.failed) {
            (_, Some(halt)) => Err(halt),
            (LoopKind::All, None) => Ok(Value::Bool(true)),
            (LoopKind::Exists, None) => Ok(Value::Bool(false)),
            (LoopKind::ExistsOne, None) => Ok(Value::Bool(self.count == 1)),
            (LoopKind::Map | LoopKind::Filter, None) => Ok(Value::list(self.list)),
            (LoopKind::TransformMap | LoopKind::TransformMapEntry, None) => Ok(Value::Map(Arc::new(self.map))),
        }
    }
}

/// The dotted name before a function's.
fn package(target: &Expr) -> Option<&str> {
    match &target.node {
        Node::Name(name) => Some(name),
        _ => None,
    }
}

/// A field; `None` where it isn't set.
fn field<'a>(target: &Value<'a>, name: &str, budget: &mut Budget) -> Result<Option<Value<'a>>> {
    match target {
        Value::Fields(fields) => fields.field(&unescape(name), budget).transpose(),
        Value::Optional(Some(inner)) => field(inner, name, budget),
        Value::Optional(None) => Ok(None),
        Value::Map(_) | Value::Json(serde_json::Value::Object(_), _) | Value::Object(_) => {
            let key = Value::Text(unescape(name).into_owned().into());
            Ok(target.get(&key))
        }
        _ => error(format!("unsupported type for selection: {}", target.type_name())),
    }
}

/// Names that aren't identifiers are written with escapes: `__dot__`, `__dash__`, and keywords in underscores.
pub(crate) fn unescape(name: &str) -> Cow<'_, str> {
    const KEYWORDS: [&str; 24] = [
        "true",
        "false",
        "null",
        "in",
        "as",
        "break",
        "const",
        "continue",
        "else",
        "for",
        "function",
        "if",
        "import",
        "let",
        "loop",
        "package",
        "namespace",
        "return",
        "var",
        "void",
        "while",
        "_",
        "",
        "",
    ];
    if !name.contains("__") {
        return Cow::Borrowed(name);
    }
    if let Some(inner) = name.strip_prefix("__").and_then(|name| name.strip_suffix("__"))
        && KEYWORDS.contains(&inner)
        && !inner.is_empty()
    {
        return Cow::Owned(inner.to_owned());
    }
    let signs = [("__underscores__", "__"), ("__dot__", "."), ("__dash__", "-"), ("__slash__", "/")];
    Cow::Owned(signs.iter().fold(name.to_owned(), |name, (escape, sign)| name.replace(escape, sign)))
}

fn at<'a>(target: Value<'a>, index: &Value<'a>, optional: bool, budget: &mut Budget) -> Result<Value<'a>> {
    if let Value::Optional(inner) = target {
        return match inner {
            Some(inner) => at(inner.as_ref().clone(), index, true, budget),
            None => Ok(Value::Optional(None)),
        };
    }
    let found = match (&target, index) {
        (Value::List(items), index) => place(index).and_then(|index| items.get(index).cloned()),
        (Value::Json(serde_json::Value::Array(items), schema), index) => {
            let schema = schema.and_then(|schema| schema.items.as_deref());
            place(index).and_then(|index| items.get(index)).map(|item| Value::of(item, schema))
        }
        (Value::Fields(fields), Value::Text(name)) => fields.field(name, budget).transpose()?,
        (Value::Map(entries), _) => {
            budget.spend_on(entries.len())?;
            target.get(index)
        }
        (Value::Json(..) | Value::Object(_), _) => target.get(index),
        _ => return no_overload(),
    };
    match (found, optional) {
        (found, true) => Ok(Value::Optional(found.map(Arc::new))),
        (Some(value), false) => Ok(value),
        (None, false) => match (target.size(), index, target.items().is_some()) {
            (_, Value::Int(index), true) => error(format!("index out of bounds: {index}")),
            (_, Value::Text(key), _) => error(format!("no such key: {key}")),
            _ => error("no such key"),
        },
    }
}

fn place(index: &Value<'_>) -> Option<usize> {
    match index {
        Value::Int(index) => usize::try_from(*index).ok(),
        Value::Uint(index) => usize::try_from(*index).ok(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be a whole number that isn't negative"
        )]
        Value::Double(index) if *index >= 0.0 && index.fract() == 0.0 => Some(*index as usize),
        _ => None,
    }
}
