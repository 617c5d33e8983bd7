//! Lifecycle hooks: what runs right after a container's start and before its end.

use std::time::Duration;

use k8s_openapi::api::core::v1::LifecycleHandler;

use crate::handler::Target;
use crate::requests;

/// Hooks over HTTP have no timeout of their own; this one is only against a peer that never answers.
const HTTP_TIMEOUT: Duration = Duration::from_secs(3600);

/// Runs a hook to its end. The error is upstream's message.
pub(crate) async fn run(
    runtime: &dyn container::Runtime,
    namespace: &net::Namespace,
    target: &Target,
    handler: &LifecycleHandler,
) -> Result<(), String> {
    let place = format!("for Container \"{}\" in Pod \"{}\" failed - error", target.container.name, target.pod);
    if let Some(exec) = &handler.exec {
        let command = exec.command.clone().unwrap_or_default();
        let shown = format!("[{}]", command.join(" "));
        let output = runtime.exec_sync(&target.id, command, None).await;
        let (why, said) = match output {
            Ok(output) if output.status.code == 0 => return Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
                (format!("command '{}' exited with {}", shown.trim_matches(['[', ']']), output.status.code), said)
            }
            Err(error) => (error.to_string(), String::new()),
        };
        return Err(format!("Exec lifecycle hook ({shown}) {place}: {why}, message: {said:?}"));
    }
    if let Some(action) = &handler.http_get {
        let path = action.path.clone().unwrap_or_default();
        let answer = match target.get(action, "lifecycle") {
            Ok(request) => requests::get(namespace, &request, HTTP_TIMEOUT).await,
            Err(error) => Err(error),
        };
        return match answer {
            Ok((status, _)) if status < 400 => Ok(()),
            Ok((status, _)) => {
                Err(format!("HTTP lifecycle hook ({path}) {place}: HTTP probe failed with statuscode: {status}"))
            }
            Err(error) => Err(format!("HTTP lifecycle hook ({path}) {place}: {error}")),
        };
    }
    if let Some(sleep) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0).unsigned_abs())).await;
        return Ok(());
    }
    Err("Cannot run handler: invalid handler".to_owned())
}
