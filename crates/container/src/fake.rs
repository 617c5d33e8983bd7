//! A runtime without processes, for tests of what is built on [`Runtime`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::sync::broadcast;

use crate::config::{ContainerConfig, ExecConfig, Resources, SandboxConfig};
use crate::error::{Error, Result};
use crate::runtime::{
    ContainerState, ContainerStatus, Event, Events, Exit, ExitStatus, Runtime, Sandbox, SandboxState, SandboxStatus,
    Session, Started, Stats,
};

/// A call that changed something, as the test sees it afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// `run_sandbox`.
    RunSandbox(String),
    /// `stop_sandbox`.
    StopSandbox(String),
    /// `remove_sandbox`.
    RemoveSandbox(String),
    /// `create_container`.
    Create(String),
    /// `start_container`.
    Start(String),
    /// `signal_container`.
    Signal(String, i32),
    /// `remove_container`.
    Remove(String),
    /// `exec`.
    Exec(String, Vec<String>),
}

type OnExec = Box<dyn Fn(&str, &ExecConfig) -> Result<(i32, String)> + Send + Sync>;
type OnCreate = Box<dyn Fn(&ContainerConfig) -> Result<()> + Send + Sync>;

/// Keeps what it was told in memory. A container runs until the test calls [`Fake::exit`] or it is sent KILL; TERM ends
/// it too, unless [`Fake::ignore_term`] was called.
pub struct Fake {
    state: Mutex<State>,
    events: broadcast::Sender<Event>,
    on_exec: OnExec,
    on_create: OnCreate,
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<String, SandboxStatus>,
    calls: Vec<Call>,
    next_pid: u32,
    tick: u64,
    ignores_term: bool,
    loses_next: bool,
}

impl Default for Fake {
    fn default() -> Self {
        Self::new()
    }
}

impl Fake {
    /// A runtime with nothing in it, whose execs print nothing and succeed.
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            events: broadcast::Sender::new(1024),
            on_exec: Box::new(|_, _| Ok((0, String::new()))),
            on_create: Box::new(|_| Ok(())),
        }
    }

    /// Answers execs: from container id and request to exit code and standard output.
    pub fn on_exec(
        mut self,
        answer: impl Fn(&str, &ExecConfig) -> Result<(i32, String)> + Send + Sync + 'static,
    ) -> Self {
        self.on_exec = Box::new(answer);
        self
    }

    /// Decides whether a container can be created.
    pub fn on_create(mut self, answer: impl Fn(&ContainerConfig) -> Result<()> + Send + Sync + 'static) -> Self {
        self.on_create = Box::new(answer);
        self
    }

    /// From now on TERM does not end a container.
    pub fn ignore_term(&self) {
        self.lock().ignores_term = true;
    }

    /// The calls until now.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Lets a running container's main process exit.
    pub fn exit(&self, id: &str, code: i32) -> Result<()> {
        self.end(id, ExitStatus { code, signal: None }, false)
    }

    /// Lets a running container be killed for lack of memory.
    pub fn oom_kill(&self, id: &str) -> Result<()> {
        self.end(id, ExitStatus { code: 137, signal: Some(9) }, true)
    }

    /// Lets a sandbox lose its shim.
    pub fn lose(&self, sandbox_id: &str) -> Result<()> {
        for id in self.stop(sandbox_id)? {
            self.end(&id, ExitStatus { code: 137, signal: Some(9) }, false)?;
        }
        self.send(Event::SandboxLost { sandbox_id: sandbox_id.to_owned() });
        Ok(())
    }

    /// The next sandbox loses its shim as soon as it is made.
    pub fn lose_next(&self) {
        self.lock().loses_next = true;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock can panic")
    }

    fn send(&self, event: Event) {
        // No receiver is no error: events are only news.
        let _ = self.events.send(event);
    }

    /// Marks a sandbox as not ready and names its running containers.
    fn stop(&self, id: &str) -> Result<Vec<String>> {
        let mut state = self.lock();
        let sandbox = state.sandboxes.get_mut(id).ok_or_else(|| Error::SandboxNotFound(id.to_owned()))?;
        sandbox.state = SandboxState::NotReady;
        let running = |c: &&ContainerStatus| matches!(c.state, ContainerState::Running { .. });
        Ok(sandbox.containers.iter().filter(running).map(|c| c.config.id.clone()).collect())
    }

    fn end(&self, id: &str, status: ExitStatus, oom_killed: bool) -> Result<()> {
        let mut state = self.lock();
        let finished_at = state.now();
        let container = state.container(id)?;
        let ContainerState::Running { started_at, .. } = container.state else { return Ok(()) };
        let exit = Exit { status, oom_killed, started_at, finished_at };
        container.state = ContainerState::Exited(exit);
        let sandbox_id = container.config.sandbox_id.clone();
        drop(state);
        self.send(Event::ContainerExited { sandbox_id, id: id.to_owned(), exit });
        Ok(())
    }
}

impl State {
    /// A time that is later than every one before.
    fn now(&mut self) -> SystemTime {
        self.tick += 1;
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_millis(self.tick)
    }

    fn container(&mut self, id: &str) -> Result<&mut ContainerStatus> {
        self.sandboxes
            .values_mut()
            .flat_map(|s| s.containers.iter_mut())
            .find(|c| c.config.id == id)
            .ok_or_else(|| Error::ContainerNotFound(id.to_owned()))
    }

    fn pid(&mut self) -> u32 {
        self.next_pid += 1;
        100_000 + self.next_pid
    }
}

#[async_trait]
impl Runtime for Fake {
    async fn run_sandbox(&self, config: SandboxConfig) -> Result<Sandbox> {
        let mut state = self.lock();
        if state.sandboxes.contains_key(&config.id) {
            return Err(Error::AlreadyExists(config.id));
        }
        state.calls.push(Call::RunSandbox(config.id.clone()));
        let pid = state.pid();
        let created_at = state.now();
        let netns = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let sandbox = Sandbox { id: config.id.clone(), pid, netns, created_at };
        let status =
            SandboxStatus { config, sandbox: sandbox.clone(), state: SandboxState::Ready, containers: Vec::new() };
        state.sandboxes.insert(sandbox.id.clone(), status);
        let lost = std::mem::take(&mut state.loses_next);
        drop(state);
        if lost {
            self.lose(&sandbox.id)?;
        }
        Ok(sandbox)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<()> {
        self.lock().calls.push(Call::StopSandbox(id.to_owned()));
        for container in self.stop(id).unwrap_or_default() {
            self.end(&container, ExitStatus { code: 137, signal: Some(9) }, false)?;
        }
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<()> {
        for container in self.stop(id).unwrap_or_default() {
            self.end(&container, ExitStatus { code: 137, signal: Some(9) }, false)?;
        }
        let mut state = self.lock();
        state.calls.push(Call::RemoveSandbox(id.to_owned()));
        state.sandboxes.remove(id);
        Ok(())
    }

    async fn create_container(&self, config: ContainerConfig) -> Result<()> {
        (self.on_create)(&config)?;
        let mut state = self.lock();
        if state.container(&config.id).is_ok() {
            return Err(Error::AlreadyExists(config.id));
        }
        state.calls.push(Call::Create(config.id.clone()));
        let created_at = state.now();
        let sandbox = state.sandboxes.get_mut(&config.sandbox_id);
        let sandbox = sandbox.ok_or_else(|| Error::SandboxNotFound(config.sandbox_id.clone()))?;
        if sandbox.state != SandboxState::Ready {
            return Err(Error::Lost(config.sandbox_id));
        }
        sandbox.containers.push(ContainerStatus { config, created_at, state: ContainerState::Created });
        Ok(())
    }

    async fn start_container(&self, id: &str) -> Result<Started> {
        let mut state = self.lock();
        let (pid, started_at) = (state.pid(), state.now());
        state.calls.push(Call::Start(id.to_owned()));
        let container = state.container(id)?;
        if container.state != ContainerState::Created {
            return Err(Error::State { id: id.to_owned(), state: container.state.name(), wanted: "created" });
        }
        container.state = ContainerState::Running { pid, started_at };
        let sandbox_id = container.config.sandbox_id.clone();
        drop(state);
        self.send(Event::ContainerStarted { sandbox_id, id: id.to_owned() });
        Ok(Started { pid, started_at })
    }

    async fn signal_container(&self, id: &str, signal: i32) -> Result<()> {
        let ends = {
            let mut state = self.lock();
            state.calls.push(Call::Signal(id.to_owned(), signal));
            state.container(id)?;
            signal == 9 || (signal == 15 && !state.ignores_term)
        };
        if ends { self.end(id, ExitStatus { code: 128 + signal, signal: Some(signal) }, false) } else { Ok(()) }
    }

    async fn remove_container(&self, id: &str) -> Result<()> {
        let mut state = self.lock();
        state.calls.push(Call::Remove(id.to_owned()));
        for sandbox in state.sandboxes.values_mut() {
            sandbox.containers.retain(|c| c.config.id != id);
        }
        Ok(())
    }

    async fn exec(&self, id: &str, config: ExecConfig) -> Result<Session> {
        {
            let mut state = self.lock();
            state.calls.push(Call::Exec(id.to_owned(), config.command.clone()));
            let container = state.container(id)?;
            if !matches!(container.state, ContainerState::Running { .. }) {
                return Err(Error::State { id: id.to_owned(), state: container.state.name(), wanted: "running" });
            }
        }
        let (code, output) = (self.on_exec)(id, &config)?;
        Ok(Session {
            stdin: config.stdin.then(|| Box::pin(tokio::io::sink()) as _),
            stdout: config.stdout.then(|| Box::pin(std::io::Cursor::new(output.into_bytes())) as _),
            stderr: config.stderr.then(|| Box::pin(tokio::io::empty()) as _),
            resizer: None,
            exit: Box::pin(async move { Ok(ExitStatus { code, signal: None }) }),
        })
    }

    async fn attach(&self, id: &str, stdin: bool, stdout: bool, stderr: bool) -> Result<Session> {
        self.exec(id, ExecConfig { stdin, stdout, stderr, ..ExecConfig::default() }).await
    }

    async fn reopen_log(&self, id: &str) -> Result<()> {
        self.lock().container(id).map(|_| ())
    }

    async fn update_resources(&self, id: &str, resources: &Resources) -> Result<()> {
        self.lock().container(id)?.config.resources = resources.clone();
        Ok(())
    }

    async fn stats(&self, id: &str) -> Result<Stats> {
        self.lock().container(id).map(|_| Stats::default())
    }

    async fn sandbox_stats(&self, id: &str) -> Result<Stats> {
        let known = self.lock().sandboxes.contains_key(id);
        if known { Ok(Stats::default()) } else { Err(Error::SandboxNotFound(id.to_owned())) }
    }

    fn list(&self) -> Vec<SandboxStatus> {
        self.lock().sandboxes.values().cloned().collect()
    }

    fn status(&self, id: &str) -> Option<ContainerStatus> {
        self.lock().container(id).ok().cloned()
    }

    fn events(&self) -> Events {
        self.events.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::suite::{Given, run};

    #[tokio::test]
    async fn it_does_what_every_runtime_does() {
        run(&Fake::new(), Given { sandbox: SandboxConfig::default(), container: ContainerConfig::default() }).await;
    }

    #[tokio::test]
    async fn a_lost_sandbox() {
        let fake = Fake::new();
        let mut events = fake.events();
        fake.run_sandbox(SandboxConfig { id: "s".to_owned(), ..SandboxConfig::default() }).await.unwrap();
        fake.lose("s").unwrap();
        assert_eq!(events.recv().await.unwrap(), Event::SandboxLost { sandbox_id: "s".to_owned() });
        assert_eq!(fake.list()[0].state, SandboxState::NotReady);
    }
}
