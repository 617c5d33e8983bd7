//! MutatingAdmissionWebhook: one webhook after another, each sees what those before it made of the object.

use std::sync::Arc;

use async_trait::async_trait;
use meta::ApiError;
use registry::{Admission, Attributes, Reader, Request};

use super::Caller;
use super::hook::{Hook, Hooks};
use super::review::ask;
use crate::rights::Rights;

/// The plugin.
#[derive(Debug)]
pub(crate) struct MutatingWebhooks {
    pub(crate) caller: Caller,
    hooks: Hooks,
}

impl MutatingWebhooks {
    pub(crate) fn new(caller: Caller, rights: &Arc<dyn Rights>) -> Self {
        Self { caller, hooks: Hooks::new(rights) }
    }

    /// Whether the webhook changed the object.
    async fn run(&self, hook: &Hook, request: &mut Request<'_>, reader: &dyn Reader) -> Result<bool, ApiError> {
        if !hook.wants(request, reader)? {
            return Ok(false);
        }
        let Some(verdict) = ask(&self.caller, hook, request, reader).await? else { return Ok(false) };
        request.warnings.extend(verdict.warnings);
        let Some(patch) = verdict.patch.filter(|patch| !patch.0.is_empty()) else { return Ok(false) };
        let mut object = request.object.clone();
        if let Err(error) = json_patch::patch(&mut object, &patch) {
            if hook.fails_open {
                return Ok(false);
            }
            return Err(ApiError::internal(format!(
                "failed calling webhook {:?}: apply its patch: {error}",
                hook.name
            )));
        }
        let changed = object != request.object;
        request.object = object;
        request.patched |= changed;
        Ok(changed)
    }
}

#[async_trait]
impl Admission for MutatingWebhooks {
    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    fn handles(&self, _attributes: &Attributes) -> bool {
        true
    }

    fn is_for_all(&self) -> bool {
        true
    }

    async fn mutate(&self, request: &mut Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        let hooks = self.hooks.now("mutatingwebhookconfigurations", reader);
        let mut last_change = None;
        for (index, hook) in hooks.iter().enumerate() {
            if self.run(hook, request, reader).await? {
                last_change = Some(index);
            }
        }
        // Compat: those that asked for it see once more what others made after them.
        let Some(last_change) = last_change else { return Ok(()) };
        for hook in hooks[..last_change].iter().filter(|hook| hook.value["reinvocationPolicy"] == "IfNeeded") {
            self.run(hook, request, reader).await?;
        }
        Ok(())
    }
}
