//! Bootstrap tokens: what a node that joins shows first. Each is a Secret of its own in `kube-system`.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use meta::{Clock, Object, UserInfo};
use serde_json::Value;

use crate::objects::Objects;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// Judges bootstrap tokens.
pub struct BootstrapTokens {
    objects: Arc<dyn Objects>,
    clock: Arc<dyn Clock>,
}

impl BootstrapTokens {
    /// The Secrets are among these objects.
    pub fn new(objects: Arc<dyn Objects>, clock: Arc<dyn Clock>) -> Self {
        Self { objects, clock }
    }

    /// Who a token stands for. `None` if it has another form; the error says why it does not count.
    pub(crate) fn verify(&self, token: &str) -> Option<Result<UserInfo, String>> {
        let (id, secret) = parts(token)?;
        let name = format!("bootstrap-token-{id}");
        let stored = self.objects.get("secrets", NAMESPACE, &name);
        let stored = stored.ok_or_else(|| format!("secret {NAMESPACE}/{name} not found"));
        Some(stored.and_then(|stored| judge(&stored, (id, secret), self.clock.now())))
    }
}

/// Id and secret, of a token that has the form `abcdef.0123456789abcdef`.
fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (id.len() == 6 && secret.len() == 16 && plain(id) && plain(secret)).then_some((id, secret))
}

fn judge(stored: &Object, (id, secret): (&str, &str), now: Timestamp) -> Result<UserInfo, String> {
    let value = stored.value();
    if stored.metadata.is_terminating() {
        return Err(format!("token {id} is deleted"));
    }
    if value["type"] != TYPE {
        return Err(format!("the secret of token {id} is of another type"));
    }
    if !equal(field(&value, "token-secret").as_bytes(), secret.as_bytes()) || field(&value, "token-id") != id {
        return Err(format!("token {id} does not match its secret"));
    }
    let expiration = field(&value, "expiration");
    // Compat: a time that can't be read has passed.
    if !expiration.is_empty() && expiration.parse::<Timestamp>().ok().is_none_or(|end| end <= now) {
        return Err(format!("token {id} has expired"));
    }
    if field(&value, "usage-bootstrap-authentication") != "true" {
        return Err(format!("token {id} is not for authentication"));
    }
    let more = field(&value, "auth-extra-groups");
    let more: Vec<&str> = more.split(',').filter(|group| !group.is_empty()).collect();
    if let Some(wrong) = more.iter().find(|group| !may_be_in(group)) {
        return Err(format!("token {id} names the group {wrong:?}, which is not for bootstrapping"));
    }
    let groups: Vec<&str> = std::iter::once(GROUP).chain(more).collect();
    Ok(UserInfo::new(format!("system:bootstrap:{id}"), &groups))
}

/// A field of the Secret; empty where it isn't there.
fn field(secret: &Value, name: &str) -> String {
    let encoded = secret["data"][name].as_str().unwrap_or_default();
    STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
}

/// Compares without telling by the time it takes where the difference is.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |found, (one, other)| found | (one ^ other)) == 0
}

/// Whether a token may put its holder into a group.
fn may_be_in(group: &str) -> bool {
    let Some(rest) = group.strip_prefix("system:bootstrappers:").filter(|rest| rest.len() <= 256) else { return false };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    rest.bytes().all(|byte| plain(byte) || matches!(byte, b':' | b'-')) && rest.bytes().next_back().is_some_and(plain)
}

#[cfg(test)]
mod tests {
    use meta::TestClock;
    use serde_json::json;

    use super::*;

    struct OneSecret(Value);

    impl Objects for OneSecret {
        fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
            let fits = (resource, namespace, name) == ("secrets", NAMESPACE, "bootstrap-token-abcdef");
            fits.then(|| Arc::new(Object::from_value(&self.0).expect("an object")))
        }
    }

    #[test]
    fn tokens_count_while_their_secret_says_so() {
        let check = |token: &str, change: (&str, &str), expected: Option<Result<&str, ()>>| {
            let mut data = json!({
                "token-id": STANDARD.encode("abcdef"), "token-secret": STANDARD.encode("0123456789abcdef"),
                "usage-bootstrap-authentication": STANDARD.encode("true"),
                "expiration": STANDARD.encode("1970-01-02T00:00:00Z"),
            });
            data[change.0] = json!(STANDARD.encode(change.1));
            let metadata = json!({"name": "bootstrap-token-abcdef", "namespace": NAMESPACE});
            let secret =
                json!({"kind": "Secret", "apiVersion": "v1", "metadata": metadata, "type": TYPE, "data": data});
            let clock = Arc::new(TestClock::at(Timestamp::UNIX_EPOCH));
            let found = BootstrapTokens::new(Arc::new(OneSecret(secret)), clock).verify(token);
            let found = found.map(|found| found.map(|user| user.groups.join(" ")).map_err(drop));
            assert_eq!(found, expected.map(|expected| expected.map(str::to_owned)), "{token} {change:?}");
        };
        let good = "abcdef.0123456789abcdef";
        check(good, ("", ""), Some(Ok("system:bootstrappers system:authenticated")));
        let more = ("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token");
        let both = "system:bootstrappers system:bootstrappers:kubeadm:default-node-token system:authenticated";
        check(good, more, Some(Ok(both)));
        check(good, ("auth-extra-groups", "system:masters"), Some(Err(())));
        check(good, ("expiration", "1970-01-01T00:00:00Z"), Some(Err(())));
        check(good, ("expiration", "soon"), Some(Err(())));
        check(good, ("usage-bootstrap-authentication", "yes"), Some(Err(())));
        check("abcdef.0123456789abcdee", ("", ""), Some(Err(())));
        check("fedcba.0123456789abcdef", ("", ""), Some(Err(())));
        check("abcdef.0123456789ABCDEF", ("", ""), None);
        check("a.b.c", ("", ""), None);
    }
}
