//! The expression language of Kubernetes (CEL): rules of custom resources, match conditions, admission policies.
//!
//! Expressions are read once and run often, each within a [`Budget`] that no expression can escape. They look into documents where they
//! are. Kubernetes' own functions are in `functions`, a file for each library.

mod ast;
mod budget;
mod check;
mod eval;
mod functions;
mod lex;
mod operators;
mod parse;
mod rules;
#[cfg(test)]
mod tests;
mod value;

use std::fmt;

pub use budget::{Budget, Halt};
pub use check::Declared;
pub use functions::{Link, Version};
pub use rules::Rules;
pub use value::{Fields, Value};

/// An expression that was read.
#[derive(Clone, Debug)]
pub struct Program {
    source: String,
    root: ast::Expr,
}

/// Why a text is no expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    at: usize,
    text: String,
}

impl Fault {
    pub(crate) fn new(at: usize, text: String) -> Self {
        Self { at, text }
    }

    /// As upstream shows it: the place, the line, and a mark beneath it.
    fn show(&self, source: &str) -> String {
        let before = &source[..self.at.min(source.len())];
        let row = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        let line = source.lines().nth(row).unwrap_or_default();
        let dots = ".".repeat(column);
        format!("ERROR: <input>:{}:{}: {}\n | {line}\n | {dots}^", row + 1, column + 1, self.text)
    }
}

/// Names that an expression may use.
pub type Variables<'v, 'a> = [(&'v str, Value<'a>)];

impl Program {
    /// Reads an expression that may use these names; the error is as upstream shows it.
    pub fn compile(source: &str, declared: &[(&str, Declared<'_>)]) -> Result<Self, String> {
        let root = parse::parse(source).map_err(|fault| fault.show(source))?;
        let faults = check::check(&root, declared);
        if faults.is_empty() {
            return Ok(Self { source: source.to_owned(), root });
        }
        let shown: Vec<String> = faults.iter().map(|fault| fault.show(source)).collect();
        Err(shown.join("\n"))
    }

    /// The same, where the result must be of a type.
    pub fn compile_to(source: &str, declared: &[(&str, Declared<'_>)], wanted: &str) -> Result<Self, String> {
        let program = Self::compile(source, declared)?;
        match check::result(&program.root, declared) {
            Some(found) if found != wanted => Err(format!("must evaluate to {wanted}")),
            _ => Ok(program),
        }
    }

    /// What was read.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether a name is used.
    pub fn uses(&self, name: &str) -> bool {
        check::uses(&self.root, name)
    }

    /// Runs it.
    pub fn run<'a>(&self, variables: &Variables<'_, 'a>, budget: &mut Budget) -> Result<Value<'a>, Halt> {
        budget.renew();
        self.run_within(variables, budget)
    }

    /// Runs it on what is left for the expression that asks.
    pub fn run_within<'a>(&self, variables: &Variables<'_, 'a>, budget: &mut Budget) -> Result<Value<'a>, Halt> {
        eval::Scope::new(variables).eval(&self.root, budget)
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}
