//! What a webhook is asked, and what it answers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use meta::{ApiError, Reason};
use registry::{Reader, Request};
use serde_json::{Value, json};

use super::Caller;
use super::conversion::uuid;
use super::hook::Hook;
use crate::expressions::described;
use crate::fields::text;

/// What a webhook said.
pub(super) struct Verdict {
    pub(super) warnings: Vec<String>,
    /// How it wants the object changed.
    pub(super) patch: Option<json_patch::Patch>,
}

/// Asks a webhook. An error refuses the write; `Ok(None)` stands for one that failed and may.
pub(super) async fn ask(
    caller: &Caller,
    hook: &Hook,
    request: &Request<'_>,
    reader: &dyn Reader,
) -> Result<Option<Verdict>, ApiError> {
    hook.check_dry_run(request)?;
    let uid = uuid();
    let review = review(hook, request, &uid);
    let answer = caller.post(&hook.value["clientConfig"], &review, hook.timeout, reader).await;
    let answer = answer.map_err(|why| format!("failed to call webhook: {why}"));
    match answer.and_then(|answer| read(&answer, &uid)) {
        Ok(response) => judged(hook, &response).map(Some),
        Err(why) if hook.fails_open => {
            tracing::warn!(webhook = hook.name, error = why, "a webhook failed; it may");
            Ok(None)
        }
        Err(why) => Err(ApiError::internal(format!("failed calling webhook {:?}: {why}", hook.name))),
    }
}

fn review(hook: &Hook, request: &Request<'_>, uid: &str) -> Value {
    let known = hook.value["admissionReviewVersions"].as_array().into_iter().flatten();
    let version = known.filter_map(Value::as_str).find(|version| matches!(*version, "v1" | "v1beta1")).unwrap_or("v1");
    let mut asked = described(&request.attributes, request.delete.is_some());
    asked["uid"] = json!(uid);
    asked["object"] = request.object.clone();
    asked["oldObject"] = request.old.cloned().unwrap_or_default();
    json!({"kind": "AdmissionReview", "apiVersion": format!("admission.k8s.io/{version}"), "request": asked})
}

fn read(answer: &Value, uid: &str) -> Result<Value, String> {
    let response =
        answer.get("response").filter(|response| response.is_object()).ok_or("webhook response was absent")?;
    let own = text(response, "/uid");
    if own != uid && answer["apiVersion"] != "admission.k8s.io/v1beta1" {
        return Err(format!("received invalid webhook response: expected response.uid={uid:?}, got {own:?}"));
    }
    Ok(response.clone())
}

fn judged(hook: &Hook, response: &Value) -> Result<Verdict, ApiError> {
    let list = response["warnings"].as_array().into_iter().flatten();
    let warnings = list.filter_map(Value::as_str).map(str::to_owned).collect();
    if response["allowed"] != true {
        return Err(denied(&hook.name, &response["status"]));
    }
    let patch = match text(response, "/patch") {
        "" => None,
        patch => {
            let failed = |why: String| ApiError::internal(format!("failed calling webhook {:?}: {why}", hook.name));
            let bytes = STANDARD.decode(patch).map_err(|error| failed(error.to_string()))?;
            Some(serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?)
        }
    };
    Ok(Verdict { warnings, patch })
}

/// The refusal of a webhook, with the code and the details that it gives.
fn denied(name: &str, status: &Value) -> ApiError {
    let by = format!("admission webhook {name:?} denied the request");
    let (message, reason) = (text(status, "/message"), text(status, "/reason"));
    let message = match (message, reason) {
        ("", "") => format!("{by} without explanation"),
        ("", reason) => format!("{by}: {reason}"),
        (message, _) => format!("{by}: {message}"),
    };
    let mut given = status.clone();
    if !given.is_object() {
        given = json!({});
    }
    given["message"] = json!(message);
    let code = status["code"].as_u64().filter(|code| (400..600).contains(code)).unwrap_or(400);
    given["code"] = json!(code);
    let error = ApiError::from_status(&given);
    let reason = if error.reason == Reason::Unknown && code == 400 && reason.is_empty() {
        Reason::BadRequest
    } else {
        error.reason
    };
    ApiError { reason, ..error }
}
