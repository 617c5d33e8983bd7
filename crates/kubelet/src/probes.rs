//! Probes: one task per probe of a running container tells the actor when its verdict changes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use container::Runtime;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::Probe;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use crate::events::PodEvents;
use crate::handler::Target;
use crate::lifecycle::Role;
use crate::requests;

/// How often an exec that fails for reasons of its own is tried again, as upstream does.
const RETRIES: usize = 3;

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// A verdict that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) container: String,
    pub(crate) id: String,
    pub(crate) kind: Kind,
    pub(crate) passes: bool,
}

/// A probe to be run until its container ends.
pub(crate) struct Prober {
    pub(crate) runtime: Arc<dyn Runtime>,
    pub(crate) namespace: net::Namespace,
    pub(crate) target: Target,
    pub(crate) role: Role,
    pub(crate) kind: Kind,
    pub(crate) probe: Probe,
    pub(crate) events: PodEvents,
    pub(crate) verdicts: mpsc::Sender<Verdict>,
}

/// Counts results until they are enough for a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Streak {
    passes: Option<bool>,
    length: i32,
}

impl Streak {
    /// Takes a result in; the verdict if there are enough of the kind.
    fn add(&mut self, passed: bool, probe: &Probe) -> Option<bool> {
        if self.passes == Some(passed) {
            self.length = self.length.saturating_add(1);
        } else {
            *self = Self { passes: Some(passed), length: 1 };
        }
        let needed = if passed { probe.success_threshold.unwrap_or(1) } else { probe.failure_threshold.unwrap_or(3) };
        (self.length >= needed.max(1)).then_some(passed)
    }
}

impl Prober {
    /// Probes until told off by an abort. A startup probe ends with its first verdict.
    pub(crate) async fn run(self) {
        let seconds = |value: Option<i32>, default: u64| {
            Duration::from_secs(value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default))
        };
        tokio::time::sleep(seconds(self.probe.initial_delay_seconds, 0)).await;
        let mut ticks = tokio::time::interval(seconds(self.probe.period_seconds, 10).max(Duration::from_secs(1)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut streak, mut verdict) = (Streak::default(), None);
        loop {
            ticks.tick().await;
            let passed = self.once(seconds(self.probe.timeout_seconds, 1).max(Duration::from_secs(1))).await;
            let Some(decided) = streak.add(passed, &self.probe) else { continue };
            if verdict == Some(decided) {
                continue;
            }
            verdict = Some(decided);
            let verdict = Verdict {
                container: self.target.container.name.clone(),
                id: self.target.id.clone(),
                kind: self.kind,
                passes: decided,
            };
            if self.verdicts.send(verdict).await.is_err() || self.kind == Kind::Startup {
                return;
            }
        }
    }

    async fn once(&self, limit: Duration) -> bool {
        let mut error = String::new();
        for _ in 0..RETRIES {
            match self.attempt(limit).await {
                Ok(Ok(())) => return true,
                Ok(Err(output)) => {
                    self.warn(format!("{} probe failed: {output}", self.kind.name()));
                    return false;
                }
                Err(text) => error = text,
            }
        }
        self.warn(format!("{} probe errored and resulted in unknown state: {error}", self.kind.name()));
        false
    }

    fn warn(&self, text: String) {
        self.events.container_warning(self.role, &self.target.container.name, "Unhealthy", text);
    }

    /// Outer error: it could not be tried. Inner error: it failed.
    async fn attempt(&self, limit: Duration) -> Result<Result<(), String>, String> {
        if let Some(exec) = &self.probe.exec {
            return self.exec(exec.command.clone().unwrap_or_default(), limit).await;
        }
        if let Some(action) = &self.probe.http_get {
            let request = self.target.get(action, "probe")?;
            return Ok(match requests::get(&self.namespace, &request, limit).await {
                Ok((status, _)) if (200..400).contains(&status) => Ok(()),
                Ok((status, _)) => Err(format!("HTTP probe failed with statuscode: {status}")),
                Err(error) => Err(error),
            });
        }
        if let Some(action) = &self.probe.tcp_socket {
            let address = self.target.address(action.host.as_deref(), self.target.port(&action.port)?)?;
            return Ok(self.connect(address, limit).await.map(drop));
        }
        if let Some(action) = &self.probe.grpc {
            let port = u16::try_from(action.port).map_err(|_| format!("invalid port number: {}", action.port))?;
            let address = self.target.address(None, port)?;
            let service = action.service.clone().unwrap_or_default();
            return Ok(match timeout(limit, self.grpc(address, &service)).await {
                Ok(result) => result,
                Err(_) => Err(format!("timeout: health rpc did not complete within {}s", limit.as_secs())),
            });
        }
        Err("missing probe handler".to_owned())
    }

    async fn exec(&self, command: Vec<String>, limit: Duration) -> Result<Result<(), String>, String> {
        match self.runtime.exec_sync(&self.target.id, command.clone(), Some(limit)).await {
            Ok(output) if output.status.code == 0 => Ok(Ok(())),
            Ok(output) => Ok(Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())),
            Err(container::Error::Timeout(_)) => {
                Ok(Err(format!("command timed out: {:?} timed out after {}s", command.join(" "), limit.as_secs())))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    async fn connect(&self, address: SocketAddr, limit: Duration) -> Result<tokio::net::TcpStream, String> {
        match timeout(limit, self.namespace.connect(address)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(format!("dial tcp {address}: connect: {}", requests::go_text(&error))),
            Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
        }
    }

    /// `grpc.health.v1.Health/Check`: a request with the service's name, a response with one number.
    async fn grpc(&self, address: SocketAddr, service: &str) -> Result<(), String> {
        let unreachable = |error: String| format!("error: failed to connect service at \"{address}\": {error}");
        let broken = |error: &dyn std::fmt::Display| format!("error: health rpc probe failed: {error}");
        let stream = self.namespace.connect(address).await.map_err(|error| unreachable(error.to_string()))?;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake::<_, _, Full<Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(|error| unreachable(error.to_string()))?;
        let request = http::Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "kube-probe/1.36")
            .body(Full::new(health_request(service)))
            .map_err(|error| broken(&error))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            let head = response.headers().clone();
            let body = response.into_body().collect().await.map_err(|error| broken(&error))?;
            let trailers = body.trailers().cloned().unwrap_or(head);
            let code = trailers.get("grpc-status").and_then(|code| code.to_str().ok()).unwrap_or("0").to_owned();
            let said = trailers.get("grpc-message").and_then(|text| text.to_str().ok()).unwrap_or_default().to_owned();
            match code.as_str() {
                "0" => health_verdict(&body.to_bytes()),
                "12" => Err(format!(
                    "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {said}"
                )),
                _ => Err(format!("error: health rpc probe failed: rpc error: code = {code} desc = {said}")),
            }
        };
        tokio::pin!(exchange);
        tokio::select! {
            biased;
            result = &mut exchange => result,
            ended = connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(broken(&error)),
            },
        }
    }
}

/// gRPC's frame of a message whose field 1 is the service's name.
fn health_request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            message.put_u8(u8::try_from(length & 0x7f).unwrap_or(0) | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).unwrap_or(0));
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(0));
    frame.put_slice(&message);
    frame.freeze()
}

/// Reads the response: field 1 is 1 if the service serves.
fn health_verdict(frame: &[u8]) -> Result<(), String> {
    let status = match frame.get(5..) {
        Some([0x08, status, ..]) => *status,
        Some(_) | None => 0,
    };
    let name = match status {
        1 => return Ok(()),
        2 => "NOT_SERVING",
        3 => "SERVICE_UNKNOWN",
        _ => "UNKNOWN",
    };
    Err(format!("service unhealthy (responded with \"{name}\")"))
}

/// The end of a grace period that begins now.
pub(crate) fn ends_in(seconds: i64) -> Instant {
    Instant::now() + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streaks() {
        let probe = Probe { success_threshold: Some(2), failure_threshold: Some(3), ..Probe::default() };
        let mut streak = Streak::default();
        let verdicts: Vec<_> = [true, true, false, false, true, false, false, false, false]
            .into_iter()
            .map(|passed| streak.add(passed, &probe))
            .collect();
        let none = None;
        assert_eq!(verdicts, [none, Some(true), none, none, none, none, none, Some(false), Some(false)]);
    }

    #[test]
    fn the_health_protocol() {
        assert_eq!(health_request("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(health_request("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(health_verdict(&[0, 0, 0, 0, 2, 8, 1]), Ok(()));
        assert!(health_verdict(&[0, 0, 0, 0, 2, 8, 2]).is_err());
    }
}
