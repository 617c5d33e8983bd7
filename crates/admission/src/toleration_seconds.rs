//! DefaultTolerationSeconds: pods stay five minutes on a node that is lost.

use async_trait::async_trait;
use meta::ApiError;
use registry::{Admission, Attributes, Operation, Reader, Request};
use serde_json::{Value, json};

use crate::fields::{child, items, list, text};

const SECONDS: i64 = 300;
const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// The plugin.
pub(crate) struct DefaultTolerationSeconds;

#[async_trait]
impl Admission for DefaultTolerationSeconds {
    fn name(&self) -> &'static str {
        "DefaultTolerationSeconds"
    }

    fn handles(&self, attributes: &Attributes) -> bool {
        attributes.operation != Operation::Delete && attributes.is_core("pods")
    }

    async fn mutate(&self, request: &mut Request<'_>, _reader: &dyn Reader) -> Result<(), ApiError> {
        for taint in TAINTS {
            let tolerates = |toleration: &Value| {
                matches!(text(toleration, "/effect"), "" | "NoExecute")
                    && (text(toleration, "/key").is_empty() || text(toleration, "/key") == taint)
            };
            if !items(&request.object, "/spec/tolerations").any(tolerates) {
                let toleration =
                    json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
                child(&mut request.object, "spec");
                list(&mut request.object["spec"], "tolerations").push(toleration);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Cluster, outcome};

    #[tokio::test]
    async fn what_is_not_tolerated_yet_is_for_a_while() {
        let cluster = Cluster::new([]);
        for (own, expected) in [
            (json!([]), 2),
            (json!([{"operator": "Exists"}]), 1),
            (json!([{"key": TAINTS[1], "operator": "Exists"}]), 2),
            (json!([{"key": TAINTS[1], "effect": "NoSchedule"}]), 3),
        ] {
            let pod = json!({"metadata": {"name": "p"}, "spec": {"tolerations": own}});
            let made =
                outcome(&DefaultTolerationSeconds, &cluster, cluster.create("pods", "a", pod)).await.expect("a pod");
            assert_eq!(items(&made, "/spec/tolerations").count(), expected, "{own}");
        }
    }
}
