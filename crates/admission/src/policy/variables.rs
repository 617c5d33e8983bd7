//! The variables of a policy: each is computed when it is first asked for, from those before it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use schema::cel::{Budget, Fields, Halt, Value};

use super::read::Compiled;

type Known<'a> = Arc<Mutex<HashMap<String, Result<Value<'a>, Halt>>>>;

/// Names for expressions, variables included.
pub(super) struct Variables<'a> {
    own: &'a [(String, Compiled)],
    base: Arc<Vec<(&'static str, Value<'a>)>>,
    known: Known<'a>,
}

impl<'a> Variables<'a> {
    pub(super) fn of(own: &'a [(String, Compiled)], base: Vec<(&'static str, Value<'a>)>) -> Self {
        Self { own, base: Arc::new(base), known: Arc::default() }
    }

    /// All names that an expression may use.
    pub(super) fn all(&self) -> Vec<(&'static str, Value<'a>)> {
        let mut all = self.base.as_ref().clone();
        let variables = Variables { own: self.own, base: self.base.clone(), known: self.known.clone() };
        all.push(("variables", Value::Fields(Arc::new(variables))));
        all
    }
}

impl fmt::Debug for Variables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("variables")
    }
}

impl<'a> Fields<'a> for Variables<'a> {
    fn field(&self, name: &str, budget: &mut Budget) -> Option<Result<Value<'a>, Halt>> {
        let index = self.own.iter().position(|(own, _)| own == name)?;
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Some(known.clone());
        }
        let before = Variables { own: &self.own[..index], base: self.base.clone(), known: self.known.clone() };
        let result = match &self.own[index].1 {
            Ok(program) => program.run_within(&before.all(), budget),
            Err(why) => Err(Halt::Error(format!("composited variable {name:?} fails to compile: {why}"))),
        };
        let result = match result {
            Err(Halt::Error(why)) => Err(Halt::Error(format!("composited variable {name:?} fails to evaluate: {why}"))),
            other => other,
        };
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), result.clone());
        Some(result)
    }
}
