//! Webhooks: programs elsewhere that convert objects.

mod conversion;

pub use conversion::WebhookConverter;
