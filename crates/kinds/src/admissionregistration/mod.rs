//! The group `admissionregistration.k8s.io`: webhooks and policies that look at every write.

mod expressions;
mod policy;
mod rules;
mod webhooks;

use meta::field::Errors;
use serde_json::{Value, json};

use crate::age;
use crate::field::{self, items, text};
use crate::plain::{AGE, NAME, STATUS, column, name, prepare_create, prepare_update, resource};
use crate::resource::{Column, Part, Resource, Rules, Settings};

const GROUP: &str = "admissionregistration.k8s.io";
const WEBHOOKS: &[Column] = &[NAME, column("Webhooks", "integer"), AGE];
const VALIDATIONS: &[Column] = &[NAME, column("Validations", "integer"), column("ParamKind", "string"), AGE];
const MUTATIONS: &[Column] = &[NAME, column("Mutations", "integer"), column("ParamKind", "string"), AGE];
const BINDING: &[Column] = &[NAME, column("PolicyName", "string"), column("ParamRef", "string"), AGE];

/// The group's resources.
pub(crate) fn all() -> Vec<Resource> {
    let one = |kind, plural, singular, columns, rules| Resource {
        namespaced: false,
        categories: &["api-extensions"],
        columns,
        rules,
        ..resource(GROUP, kind, plural, singular)
    };
    vec![
        one(
            "MutatingAdmissionPolicy",
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicy",
            MUTATIONS,
            &Kind::Mutating,
        ),
        one(
            "MutatingAdmissionPolicyBinding",
            "mutatingadmissionpolicybindings",
            "mutatingadmissionpolicybinding",
            BINDING,
            &Kind::MutatingBinding,
        ),
        one(
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
            "mutatingwebhookconfiguration",
            WEBHOOKS,
            &Kind::MutatingWebhooks,
        ),
        Resource {
            subresources: &[STATUS],
            ..one(
                "ValidatingAdmissionPolicy",
                "validatingadmissionpolicies",
                "validatingadmissionpolicy",
                VALIDATIONS,
                &Kind::Validating,
            )
        },
        one(
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
            "validatingadmissionpolicybinding",
            BINDING,
            &Kind::ValidatingBinding,
        ),
        one(
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
            "validatingwebhookconfiguration",
            WEBHOOKS,
            &Kind::ValidatingWebhooks,
        ),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    MutatingWebhooks,
    ValidatingWebhooks,
    Mutating,
    MutatingBinding,
    Validating,
    ValidatingBinding,
}

impl Kind {
    fn check(self, object: &Value) -> Errors {
        match self {
            Self::MutatingWebhooks => webhooks::validate(object, true),
            Self::ValidatingWebhooks => webhooks::validate(object, false),
            Self::Mutating => policy::validate(object, "mutations"),
            Self::Validating => policy::validate(object, "validations"),
            Self::MutatingBinding => policy::validate_binding(object, false),
            Self::ValidatingBinding => policy::validate_binding(object, true),
        }
    }
}

impl Rules for Kind {
    fn default(&self, object: &mut Value) {
        match self {
            Self::MutatingWebhooks | Self::ValidatingWebhooks => {
                for hook in field::items_mut(object, "webhooks") {
                    webhooks::default(hook, *self == Self::MutatingWebhooks);
                }
            }
            Self::Mutating | Self::Validating => {
                let spec = field::child(object, "spec");
                field::default(spec, "failurePolicy", "Fail");
                rules::default_match(spec, "matchConstraints");
            }
            Self::MutatingBinding | Self::ValidatingBinding => {
                rules::default_match(field::child(object, "spec"), "matchResources");
            }
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        if *self == Self::Validating {
            prepare_create(object);
            object["status"] = json!({});
        } else {
            object["metadata"]["generation"] = json!(1);
        }
    }

    fn validate(&self, object: &Value, _settings: &Settings) -> Errors {
        self.check(object)
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part<'_>) {
        prepare_update(new, old, part);
    }

    fn validate_update(&self, new: &Value, _old: &Value, part: Part<'_>, _settings: &Settings) -> Errors {
        if part == Part::Status { Errors::new() } else { self.check(new) }
    }

    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let count = |pointer: &str| json!(items(object, pointer).len());
        let param_kind = || match object.pointer("/spec/paramKind").filter(|kind| kind.is_object()) {
            Some(kind) => json!(format!("{}/{}", text(kind, "/apiVersion"), text(kind, "/kind"))),
            None => json!("<unset>"),
        };
        let param_ref = || match object.pointer("/spec/paramRef").filter(|param| param.is_object()) {
            Some(param) if text(param, "/namespace").is_empty() => json!(text(param, "/name")),
            Some(param) => json!(format!("{}/{}", text(param, "/namespace"), text(param, "/name"))),
            None => json!("<unset>"),
        };
        let mut row = vec![name(object)];
        match self {
            Self::MutatingWebhooks | Self::ValidatingWebhooks => row.push(count("/webhooks")),
            Self::Mutating => row.extend([count("/spec/mutations"), param_kind()]),
            Self::Validating => row.extend([count("/spec/validations"), param_kind()]),
            Self::MutatingBinding | Self::ValidatingBinding => {
                row.extend([json!(text(object, "/spec/policyName")), param_ref()]);
            }
        }
        row.push(age::of(object, now));
        row
    }
}
