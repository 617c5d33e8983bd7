//! What a write costs the quotas of its namespace: paid in the commit of the object itself, so that no two writes spend the same.

use bytes::Bytes;
use kinds::quota;
use meta::ApiError;
use serde_json::Value;
use store::Revision;

use super::Writer;
use super::claims::Claims;
use super::fields::text;
use crate::cache::encode;

impl Writer<'_> {
    /// Adds what becomes of the quotas, or refuses what exceeds one.
    pub(super) fn charge_quotas(
        &self,
        object: &Value,
        old: Option<&Value>,
        claims: &mut Claims,
    ) -> Result<(), ApiError> {
        let resource = (self.row.group, self.row.plural);
        if self.namespace.is_empty() || !quota::is_charged(resource, self.subresource, object, old) {
            return Ok(());
        }
        let Some(storage) = self.registry.cache.storage("", "resourcequotas") else { return Ok(()) };
        let (map, _) = storage.newest();
        let now = self.registry.clock.now().as_second();
        claims.charges.clear();
        for (key, found) in map.beneath(&storage.key(self.namespace, "")) {
            let mut value = found.value();
            let refused = |why: String| ApiError::forbidden(&self.row.gvr(), text(object, "/metadata/name"), &why);
            if let Some(status) = quota::charge(&value, resource, object, old, now).map_err(refused)? {
                value["status"] = status;
                claims.charges.insert(key.clone(), (Revision(found.revision), Bytes::from(encode(&value))));
            }
        }
        Ok(())
    }
}
