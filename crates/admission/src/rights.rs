//! `authorizer` in expressions: what somebody may do, asked by builder methods.

use std::fmt::Debug;
use std::sync::Arc;

use meta::UserInfo;
use registry::Attributes;
use schema::cel::{Budget, Fields, Halt, Value};

/// Knows what users may do.
pub trait Rights: Debug + Send + Sync + 'static {
    /// Whether a user may do something, and why.
    fn check(&self, user: &UserInfo, question: &Question) -> (bool, String);
}

/// What somebody may want to do: with a resource, or with a path that is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// For example `get`.
    pub verb: String,
    /// Set for paths; the other fields are empty then.
    pub path: Option<String>,
    /// The resource's group.
    pub group: String,
    /// The plural.
    pub resource: String,
    /// For example `status`.
    pub subresource: String,
    /// Empty for all of them, and for resources in none.
    pub namespace: String,
    /// Empty for all of them.
    pub name: String,
}

/// `authorizer`, and what its methods make of it.
#[derive(Clone, Debug)]
pub(crate) struct Authorizer {
    rights: Arc<dyn Rights>,
    user: Arc<UserInfo>,
    question: Question,
    stage: Stage,
    /// What the write itself asks.
    request: Arc<Question>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Authorizer,
    Path,
    Group,
    Resource,
}

/// The answer to a question.
#[derive(Debug)]
struct Decision {
    allowed: bool,
    reason: String,
}

impl Authorizer {
    /// In the name of whoever writes.
    pub(crate) fn of(attributes: &Attributes, rights: &Arc<dyn Rights>) -> Self {
        let request = Question {
            group: attributes.resource.group.clone(),
            resource: attributes.resource.resource.clone(),
            subresource: attributes.subresource.clone(),
            namespace: attributes.namespace.clone(),
            name: attributes.name.clone(),
            ..Question::default()
        };
        Self {
            rights: Arc::clone(rights),
            user: Arc::new(attributes.user.clone()),
            question: Question::default(),
            stage: Stage::Authorizer,
            request: Arc::new(request),
        }
    }

    fn at(&self, stage: Stage, question: Question) -> Self {
        Self { question, stage, ..self.clone() }
    }

    fn ask(&self, verb: &str) -> Decision {
        let question = Question { verb: verb.to_owned(), ..self.question.clone() };
        let (allowed, reason) = self.rights.check(&self.user, &question);
        Decision { allowed, reason }
    }

    /// What a method makes; `None` where there is no such method here.
    fn step(&self, name: &str, words: &[&str]) -> Option<Self> {
        let mut question = self.question.clone();
        let stage = match (self.stage, name, words) {
            (Stage::Authorizer, "path", [path]) => {
                question.path = Some((*path).to_owned());
                Stage::Path
            }
            (Stage::Authorizer, "group", [group]) => {
                (*group).clone_into(&mut question.group);
                Stage::Group
            }
            (Stage::Authorizer, "serviceAccount", [namespace, name]) => {
                let user = Arc::new(UserInfo::service_account(namespace, name));
                return Some(Self { user, ..self.clone() });
            }
            (Stage::Group, "resource", [resource]) => {
                (*resource).clone_into(&mut question.resource);
                Stage::Resource
            }
            (Stage::Resource, "subresource", [subresource]) => {
                (*subresource).clone_into(&mut question.subresource);
                Stage::Resource
            }
            (Stage::Resource, "namespace", [namespace]) => {
                (*namespace).clone_into(&mut question.namespace);
                Stage::Resource
            }
            (Stage::Resource, "name", [name]) => {
                (*name).clone_into(&mut question.name);
                Stage::Resource
            }
            // Compat: rules don't know selectors; who may see all may see what they select.
            (Stage::Resource, "fieldSelector" | "labelSelector", [_]) => Stage::Resource,
            _ => return None,
        };
        Some(self.at(stage, question))
    }
}

impl<'a> Fields<'a> for Authorizer {
    fn field(&self, name: &str, _: &mut Budget) -> Option<Result<Value<'a>, Halt>> {
        let own = self.stage == Stage::Authorizer && name == "requestResource";
        own.then(|| Ok(Value::Fields(Arc::new(self.at(Stage::Resource, Question::clone(&self.request))))))
    }

    fn call(&self, name: &str, arguments: &[Value<'a>], _: &mut Budget) -> Option<Result<Value<'a>, Halt>> {
        let word = |value: &'_ Value<'a>| match value {
            Value::Text(text) => Some(text.to_string()),
            _ => None,
        };
        let words: Vec<String> = arguments.iter().map(word).collect::<Option<_>>()?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match (self.stage, name, words.as_slice()) {
            (Stage::Path | Stage::Resource, "check", [verb]) => Some(Ok(Value::Fields(Arc::new(self.ask(verb))))),
            (_, name, words) => self.step(name, words).map(|next| Ok(Value::Fields(Arc::new(next)))),
        }
    }

    fn type_name(&self) -> String {
        let name = match self.stage {
            Stage::Authorizer => "Authorizer",
            Stage::Path => "PathCheck",
            Stage::Group => "GroupCheck",
            Stage::Resource => "ResourceCheck",
        };
        format!("kubernetes.authorization.{name}")
    }
}

impl<'a> Fields<'a> for Decision {
    fn field(&self, _: &str, _: &mut Budget) -> Option<Result<Value<'a>, Halt>> {
        None
    }

    fn call(&self, name: &str, _: &[Value<'a>], _: &mut Budget) -> Option<Result<Value<'a>, Halt>> {
        Some(Ok(match name {
            "allowed" => Value::Bool(self.allowed),
            "reason" => Value::Text(self.reason.clone().into()),
            "errored" => Value::Bool(false),
            "error" => Value::text(""),
            _ => return None,
        }))
    }

    fn type_name(&self) -> String {
        "kubernetes.authorization.Decision".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use meta::{Gvk, Gvr};
    use registry::Operation;
    use schema::cel::{Declared, Program};

    use super::*;

    /// Lets some do some things.
    #[derive(Debug)]
    struct Few;

    impl Rights for Few {
        fn check(&self, user: &UserInfo, question: &Question) -> (bool, String) {
            let asked = match &question.path {
                Some(path) => format!("{} {path}", question.verb),
                None => {
                    let Question { verb, group, resource, subresource, namespace, name, .. } = question;
                    format!("{verb} {resource}.{group}/{subresource} {namespace}/{name}")
                }
            };
            let allowed = match user.name.as_str() {
                "ann" => ["get /healthz", "create pods./ ns/p", "use things.example.com/status a/b"].contains(&&*asked),
                bot => bot == "system:serviceaccount:ns:bot" && asked == "get /healthz",
            };
            (allowed, format!("RBAC: {asked}"))
        }
    }

    #[test]
    fn rights_are_asked_for_step_by_step() {
        let attributes = Attributes {
            user: UserInfo::new("ann", &[]),
            resource: Gvr::new("", "v1", "pods"),
            kind: Gvk::new("", "v1", "Pod"),
            namespace: "ns".to_owned(),
            name: "p".to_owned(),
            subresource: String::new(),
            operation: Operation::Create,
            dry_run: false,
        };
        let rights: Arc<dyn Rights> = Arc::new(Few);
        let authorizer = Arc::new(Authorizer::of(&attributes, &rights));
        let check = |expression: &str, expected: Option<bool>| {
            let program = Program::compile_to(expression, &[("authorizer", Declared::Any)], "bool").expect(expression);
            let variables = [("authorizer", Value::Fields(Arc::clone(&authorizer) as _))];
            let found = match program.run(&variables, &mut Budget::default()) {
                Ok(Value::Bool(found)) => Some(found),
                _ => None,
            };
            assert_eq!(found, expected, "{expression}");
        };
        let yes = Some(true);
        check("authorizer.path('/healthz').check('get').allowed()", yes);
        check("authorizer.path('/metrics').check('get').allowed()", Some(false));
        check("authorizer.path('/metrics').check('get').reason() == 'RBAC: get /metrics'", yes);
        check("authorizer.requestResource.check('create').allowed()", yes);
        let things =
            "authorizer.group('example.com').resource('things').subresource('status').namespace('a').name('b')";
        check(&format!("{things}.check('use').allowed()"), yes);
        check(&format!("{things}.check('use').errored()"), Some(false));
        check("authorizer.serviceAccount('ns', 'bot').path('/healthz').check('get').allowed()", yes);
        check("authorizer.serviceAccount('ns', 'other').path('/healthz').check('get').allowed()", Some(false));
        check("authorizer.check('get').allowed()", None);
    }
}
