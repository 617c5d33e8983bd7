//! What the shim does when it is asked.

use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::event::epoll::EventFlags;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};

use super::container::{Asker, Container, Launch};
use super::log::{Log, StreamName};
use super::server::{Exec, Server, Source};
use super::streams::{Client, Stream};
use super::{create, duplicate, exec, numbers, pipe, worker};
use crate::config::{ContainerConfig, ExecConfig, NamespaceMode};
use crate::error::{Error, Result};
use crate::protocol::{Call, Failure, Reply};
use crate::records::{self, ContainerRecord, StateRecord};

/// `Ok(None)`: the answer comes later.
type Answer = std::result::Result<Option<(Reply, Vec<OwnedFd>)>, Failure>;

fn done() -> Answer {
    Ok(Some((Reply::Done, Vec::new())))
}

impl Server {
    /// Does what a request asks for and answers it, now or later.
    pub(super) fn call(&mut self, asker: Asker, call: Call, fds: Vec<OwnedFd>) {
        let answer = match call {
            Call::Boot { .. } => Err(Failure::Other("the shim is up already".to_owned())),
            Call::Create { id } => self.create(asker, id, &fds),
            Call::Start { id } => self.start(asker, &id),
            Call::Settle { id } => self.settle(asker, &id),
            Call::Signal { id, signal } => self.signal(&id, signal),
            Call::Forget { id } => self.forget(asker, &id),
            Call::Exec { id, exec, config } => self.exec(asker, &id, exec, &config, &fds),
            Call::KillExec { exec } => self.kill_exec(asker, exec),
            Call::Attach { id, stdout, stderr } => self.attach(&id, stdout, stderr, fds),
            Call::CloseStdin { id } => self.container(&id).map(|c| c.stdin = None).and_then(|()| done()),
            Call::ReopenLog { id } => self.container(&id).and_then(|c| {
                c.log.reopen().map_err(|e| Failure::Other(format!("opening the log: {e}")))?;
                done()
            }),
            Call::List => Ok(Some((Reply::Containers(self.states()), Vec::new()))),
            Call::Stop => self.stop_all(asker),
        };
        match answer {
            Ok(Some((reply, fds))) => self.reply(asker, reply, fds),
            Ok(None) => {}
            Err(failure) => self.fail(asker, failure),
        }
        self.end_if_stopped();
    }

    fn container(&mut self, id: &str) -> std::result::Result<&mut Container, Failure> {
        self.containers.get_mut(id).ok_or_else(|| Failure::NoContainer(id.to_owned()))
    }

    fn states(&self) -> Vec<(String, StateRecord)> {
        self.containers.iter().map(|(id, c)| (id.clone(), c.state)).collect()
    }

    fn create(&mut self, asker: Asker, id: String, sources: &[OwnedFd]) -> Answer {
        if self.containers.contains_key(&id) {
            return Err(Failure::Other(format!("{id} already exists")));
        }
        let container = self.begin(asker, &id, sources)?;
        self.containers.insert(id, container);
        Ok(None)
    }

    fn begin(&mut self, asker: Asker, id: &str, sources: &[OwnedFd]) -> Result<Container> {
        let folder = self.sandbox.folder.join(id);
        let record: ContainerRecord = records::read(&folder, records::CONTAINER)?;
        let config = &record.config;
        let log =
            Log::open(&config.log_path).map_err(Error::io(format!("opening log {}", config.log_path.display())))?;
        let pipes = if config.tty { None } else { Some(Pipes::new(config)?) };
        let stdio = pipes.as_ref().map(|p| numbers(&p.theirs)).unwrap_or_default();
        let (sandbox, sources) = (&self.sandbox, numbers(sources));
        let keep: Vec<_> =
            stdio.iter().chain(&sources).copied().chain(sandbox.shm.as_ref().map(AsRawFd::as_raw_fd)).collect();
        let job = create::Job {
            folder: &folder,
            sandbox: &sandbox.config,
            hierarchies: &sandbox.hierarchies,
            shm: sandbox.shm.as_ref(),
            pod_init: sandbox.pod_init,
            sources,
            stdio,
        };
        let report = worker::spawn(&keep, |reporter| create::run(&job, reporter))?;
        let token = self.watch(&report, Source::Launch(id.to_owned()), EventFlags::IN)?;
        let mut container = Container {
            cgroup: self.sandbox.hierarchies.group(&record.cgroup),
            oom_score_adj: config.oom_score_adj,
            private_pids: self.sandbox.config.namespaces.pid == NamespaceMode::Container
                && config.pid_namespace.is_none(),
            state: StateRecord::default(),
            log,
            streams: Vec::new(),
            stdin: None,
            terminal: None,
            launch: Some(Launch { report, token, asker: Some(asker), started: false, failure: None }),
            forget: None,
            folder,
        };
        if let Some(Pipes { stdin, stdout, stderr, theirs: _ }) = pipes {
            container.stdin = stdin;
            container.streams.push(self.stream(id, stdout, StreamName::Stdout)?);
            container.streams.push(self.stream(id, stderr, StreamName::Stderr)?);
        }
        Ok(container)
    }

    /// Begins to read an output of a container.
    pub(super) fn stream(&mut self, id: &str, fd: OwnedFd, name: StreamName) -> Result<Stream> {
        rustix::io::ioctl_fionbio(&fd, true).map_err(Error::io("preparing a stream"))?;
        let token = self.watch(&fd, Source::Stream(id.to_owned()), EventFlags::IN)?;
        Ok(Stream { fd, token, name, clients: Vec::new() })
    }

    fn start(&mut self, asker: Asker, id: &str) -> Answer {
        let container = self.container(id)?;
        container.require(id, "created")?;
        let folder = container.folder.clone();
        let Some(launch) = container.launch.as_mut().filter(|l| !l.started) else {
            return Err(Failure::Other(format!("container {id} cannot be started")));
        };
        launch.started = true;
        launch.asker = Some(asker);
        notify(&folder).map_err(|e| Failure::Other(format!("starting container {id}: {e}")))?;
        Ok(None)
    }

    fn settle(&mut self, asker: Asker, id: &str) -> Answer {
        match self.container(id)?.launch.as_mut().filter(|launch| launch.started) {
            Some(launch) => {
                launch.asker = Some(asker);
                Ok(None)
            }
            None => done(),
        }
    }

    fn signal(&mut self, id: &str, signal: i32) -> Answer {
        let container = self.container(id)?;
        let pid = container.state.pid.filter(|_| container.is_alive());
        if let Some(pid) = pid.and_then(|pid| i32::try_from(pid).ok()) {
            // SAFETY: a plain system call; the process is our child and not reaped, so the number is still its own.
            if unsafe { libc::kill(pid, signal) } != 0 {
                let error = std::io::Error::last_os_error();
                return Err(Failure::Other(format!("sending signal {signal} to container {id}: {error}")));
            }
        }
        done()
    }

    fn forget(&mut self, asker: Asker, id: &str) -> Answer {
        let Some(container) = self.containers.get_mut(id) else { return done() };
        if container.is_alive() {
            // The daemon has killed the cgroup; a created container's init may be on its way into it still.
            if let Some(pid) = container.state.pid.and_then(|p| i32::try_from(p).ok()).and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
            container.forget = Some(asker);
            return Ok(None);
        }
        self.drop_container(id);
        done()
    }

    fn exec(&mut self, asker: Asker, id: &str, exec_id: u64, config: &ExecConfig, stdio: &[OwnedFd]) -> Answer {
        let container = self.container(id)?;
        let main = container.require(id, "running")?;
        if !config.tty && stdio.len() != 3 {
            return Err(Failure::Other("exec needs three streams or a terminal".to_owned()));
        }
        let job = exec::Job {
            folder: &container.folder,
            cgroup: container.cgroup.clone(),
            oom_score_adj: container.oom_score_adj,
            main,
            config,
            stdio: numbers(stdio),
        };
        let report = worker::spawn(&job.stdio, |reporter| exec::run(&job, reporter))?;
        let token = self.watch(&report, Source::Exec, EventFlags::IN)?;
        let exec = Exec {
            report,
            asker: Some(asker),
            connection: asker.connection,
            id: exec_id,
            pid: None,
            terminal: None,
            failed: false,
        };
        self.execs.insert(token, exec);
        Ok(None)
    }

    fn kill_exec(&mut self, asker: Asker, exec: u64) -> Answer {
        let found = self.execs.values().find(|e| e.id == exec && e.connection == asker.connection);
        let pid = found.and_then(|e| e.pid).and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Already ended is as good.
            let _ = kill_process(pid, Signal::KILL);
        }
        done()
    }

    fn attach(&mut self, id: &str, stdout: bool, stderr: bool, fds: Vec<OwnedFd>) -> Answer {
        self.container(id)?.require(id, "running")?;
        let wanted = [(stdout, StreamName::Stdout), (stderr, StreamName::Stderr)];
        let names = wanted.into_iter().filter(|(wants, _)| *wants).map(|(_, name)| name);
        for (name, fd) in names.zip(fds) {
            rustix::io::ioctl_fionbio(&fd, true).map_err(|e| Failure::Other(format!("preparing a stream: {e}")))?;
            // Watched for being closed; for being writable only while it is behind.
            let token = self.watch(&fd, Source::Client(id.to_owned()), EventFlags::empty())?;
            match self.container(id)?.streams.iter_mut().find(|s| s.name == name) {
                Some(stream) => stream.clients.push(Client::new(fd, token)),
                None => self.unwatch(&fd, token),
            }
        }
        let container = self.container(id)?;
        let input = container.terminal.as_ref().or(container.stdin.as_ref());
        let fds = input.map(duplicate).transpose()?.into_iter().collect();
        Ok(Some((Reply::Done, fds)))
    }

    fn stop_all(&mut self, asker: Asker) -> Answer {
        if let Some(pid) = self.sandbox.pod_init.and_then(|p| i32::try_from(p).ok()).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        self.stop = Some(asker);
        Ok(None)
    }
}

/// The pipes of a container without a terminal.
struct Pipes {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
    /// The container's ends.
    theirs: [OwnedFd; 3],
}

impl Pipes {
    fn new(config: &ContainerConfig) -> Result<Self> {
        let (their_stdin, stdin) = if config.stdin {
            let (read, write) = pipe()?;
            (read, Some(write))
        } else {
            let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
            (null.map_err(Error::io("opening /dev/null"))?, None)
        };
        let ((stdout, their_stdout), (stderr, their_stderr)) = (pipe()?, pipe()?);
        Ok(Self { stdin, stdout, stderr, theirs: [their_stdin, their_stdout, their_stderr] })
    }
}

/// Tells libcontainer's init, which waits on a socket in its folder, to become the program.
fn notify(folder: &Path) -> std::io::Result<()> {
    // By a short name: a path of a socket has 108 bytes.
    let oci = create::oci_folder(folder).join(create::OCI_ID);
    let directory = rustix::fs::open(&oci, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let mut socket = UnixStream::connect(format!("/proc/self/fd/{}/notify.sock", directory.as_raw_fd()))?;
    socket.write_all(b"start")
}
