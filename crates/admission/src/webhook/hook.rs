//! Webhooks as their configurations have them, read once for each revision.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meta::ApiError;
use registry::{Reader, Request};
use schema::cel::Budget;
use serde_json::Value;

use crate::expressions::{Conditions, Documents, Matching};
use crate::fields::text;
use crate::matching::{is_exempt, rules_match, selectors_match};
use crate::rights::Rights;

/// One webhook.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) fails_open: bool,
    pub(super) timeout: Duration,
    conditions: Conditions,
    rights: Arc<dyn Rights>,
}

impl Hook {
    fn read(value: Value, rights: &Arc<dyn Rights>) -> Self {
        let seconds = value["timeoutSeconds"].as_u64().unwrap_or(10);
        Self {
            name: text(&value, "/name").to_owned(),
            fails_open: value["failurePolicy"] == "Ignore",
            timeout: Duration::from_secs(seconds),
            conditions: Conditions::compile(&value["matchConditions"]),
            value,
            rights: Arc::clone(rights),
        }
    }

    /// Whether it is to be called for a write.
    pub(super) fn wants(&self, request: &Request<'_>, reader: &dyn Reader) -> Result<bool, ApiError> {
        let attributes = &request.attributes;
        let equivalent = self.value["matchPolicy"] != "Exact" && request.attributes.kind.group.contains('.');
        if is_exempt(attributes) || !rules_match(&self.value["rules"], attributes, equivalent) {
            return Ok(false);
        }
        if !selectors_match(&self.value, request, reader)? {
            return Ok(false);
        }
        if self.value["matchConditions"].as_array().is_none_or(Vec::is_empty) {
            return Ok(true);
        }
        let documents = Documents::of(request, reader, &self.rights);
        match self.conditions.check(&documents.variables(None), &mut Budget::default()) {
            Matching::Yes => Ok(true),
            Matching::No => Ok(false),
            Matching::Failed(_) if self.fails_open => Ok(false),
            Matching::Failed(why) => {
                let name = &attributes.name;
                Err(ApiError::forbidden(&attributes.resource, name, &why))
            }
        }
    }

    /// Compat: a dry run calls nobody who does something besides.
    pub(super) fn check_dry_run(&self, request: &Request<'_>) -> Result<(), ApiError> {
        if !request.attributes.dry_run || matches!(text(&self.value, "/sideEffects"), "None" | "NoneOnDryRun") {
            return Ok(());
        }
        Err(ApiError::bad_request(format!("admission webhook {:?} does not support dry run", self.name)))
    }
}

/// The webhooks of all configurations of a kind.
#[derive(Debug)]
pub(super) struct Hooks {
    rights: Arc<dyn Rights>,
    read: Mutex<HashMap<String, Read>>,
}

/// The webhooks of a configuration at a revision.
type Read = (u64, Arc<Vec<Arc<Hook>>>);

impl Hooks {
    pub(super) fn new(rights: &Arc<dyn Rights>) -> Self {
        Self { rights: Arc::clone(rights), read: Mutex::default() }
    }

    /// Those that there are now, by the names of their configurations.
    pub(super) fn now(&self, resource: &str, reader: &dyn Reader) -> Vec<Arc<Hook>> {
        let configurations = reader.list("admissionregistration.k8s.io", resource, "");
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.retain(|name, _| configurations.iter().any(|own| own.metadata.name == *name));
        let mut hooks = Vec::new();
        for configuration in &configurations {
            let known =
                read.get(&configuration.metadata.name).filter(|(revision, _)| *revision == configuration.revision);
            let own = match known {
                Some((_, own)) => own.clone(),
                None => {
                    let list = configuration.value()["webhooks"].as_array().cloned().unwrap_or_default();
                    let own = Arc::new(
                        list.into_iter().map(|hook| Arc::new(Hook::read(hook, &self.rights))).collect::<Vec<_>>(),
                    );
                    read.insert(configuration.metadata.name.clone(), (configuration.revision, own.clone()));
                    own
                }
            };
            hooks.extend(own.iter().cloned());
        }
        hooks
    }
}
