//! Webhooks: programs elsewhere that change, refuse or convert objects.

mod caller;
mod conversion;
mod hook;
mod mutating;
mod review;
mod validating;

pub use caller::Caller;
pub use conversion::WebhookConverter;
pub(crate) use mutating::MutatingWebhooks;
pub(crate) use validating::ValidatingWebhooks;
