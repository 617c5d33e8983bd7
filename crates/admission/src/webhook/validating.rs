//! ValidatingAdmissionWebhook: every webhook that wants a write is asked at the same time, and each may refuse it.

use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use meta::ApiError;
use registry::{Admission, Attributes, Reader, Request};

use super::Caller;
use super::hook::Hooks;
use super::review::ask;
use crate::rights::Rights;

/// The plugin.
#[derive(Debug)]
pub(crate) struct ValidatingWebhooks {
    pub(crate) caller: Caller,
    hooks: Hooks,
}

impl ValidatingWebhooks {
    pub(crate) fn new(caller: Caller, rights: &Arc<dyn Rights>) -> Self {
        Self { caller, hooks: Hooks::new(rights) }
    }
}

#[async_trait]
impl Admission for ValidatingWebhooks {
    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    fn handles(&self, _attributes: &Attributes) -> bool {
        true
    }

    fn is_for_all(&self) -> bool {
        true
    }

    async fn validate(&self, request: &Request<'_>, reader: &dyn Reader) -> Result<(), ApiError> {
        let mut wanted = Vec::new();
        for hook in self.hooks.now("validatingwebhookconfigurations", reader) {
            if hook.wants(request, reader)? {
                wanted.push(hook);
            }
        }
        let asked = wanted.iter().map(|hook| ask(&self.caller, hook, request, reader));
        for verdict in join_all(asked).await {
            for warning in verdict?.into_iter().flat_map(|verdict| verdict.warnings) {
                request.tell(warning);
            }
        }
        Ok(())
    }
}
