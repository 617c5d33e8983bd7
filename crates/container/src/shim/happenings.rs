//! What the shim does when something happens: workers report, streams move, processes end.

use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;

use super::container::{Asker, Container};
use super::duplicate;
use super::log::StreamName;
use super::report::{Received, Report, receive};
use super::server::Server;
use super::streams::{Outcome, Stream};
use crate::clock::now;
use crate::protocol::{Failure, Message, Reply};
use crate::runtime::{Exit, ExitStatus};

impl Server {
    /// Reads what is there of all reports, so that every child has its name.
    pub(super) fn read_all_reports(&mut self) {
        let launching = self.containers.iter().filter(|(_, c)| c.launch.is_some());
        for id in launching.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            self.launch_reports(&id);
        }
        for token in self.execs.keys().copied().collect::<Vec<_>>() {
            self.exec_reports(token);
        }
    }

    /// Reads the reports about a container's start.
    pub(super) fn launch_reports(&mut self, id: &str) {
        while let Some(launch) = self.containers.get_mut(id).and_then(|c| c.launch.as_mut()) {
            match receive(&launch.report) {
                Received::Nothing => return,
                Received::Report(Report::Process { pid }, terminal) => self.created(id, pid, terminal),
                Received::Report(Report::Terminal, _) => {}
                Received::Report(Report::Failed(failure), _) => self.launch_failed(id, failure),
                Received::End => self.launch_ended(id),
            }
        }
    }

    fn created(&mut self, id: &str, pid: u32, terminal: Option<OwnedFd>) {
        let stream = terminal.map(|terminal| {
            let copy = duplicate(&terminal)?;
            self.stream(id, terminal, StreamName::Stdout).map(|stream| (stream, copy))
        });
        let Some(container) = self.containers.get_mut(id) else { return };
        container.state.pid = Some(pid);
        let mut result = container.record();
        match stream {
            Some(Ok((stream, terminal))) => {
                container.streams.push(stream);
                container.terminal = Some(terminal);
            }
            Some(Err(e)) => result = Err(e),
            None => {}
        }
        let asker = container.launch.as_mut().and_then(|l| l.asker.take());
        let reply = result.map_or_else(|e| Reply::Failed(e.into()), |()| Reply::Done);
        if let Some(asker) = asker {
            self.reply(asker, reply, Vec::new());
        }
        if let Some(status) = self.take_early(pid) {
            self.process_ended(pid, status);
        }
        self.clear_early();
    }

    /// The first report is the exact one; what the worker says while it cleans up adds nothing.
    fn launch_failed(&mut self, id: &str, failure: Failure) {
        let launch = self.containers.get_mut(id).and_then(|c| c.launch.as_mut());
        if let Some(launch) = launch.filter(|l| l.failure.is_none()) {
            launch.failure = Some(failure);
        }
    }

    /// Nobody holds the socket any more: the program runs, or its process and the worker are gone. Only now may a
    /// failure be told, because until now the worker might still be cleaning up under the container's name.
    fn launch_ended(&mut self, id: &str) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(launch) = container.launch.take() else { return };
        let pid = container.state.pid;
        let answer = match (launch.failure, pid) {
            (Some(failure), _) => Err(failure),
            (None, Some(pid)) if launch.started => {
                let at = now();
                container.state.started_at = Some(at);
                container.record().map(|()| Reply::Started { id: id.to_owned(), pid, at }).map_err(Failure::from)
            }
            (None, _) => Err(Failure::Other(format!("the process that makes container {id} died"))),
        };
        self.unwatch(&launch.report, launch.token);
        if pid.is_none() {
            self.drop_container(id);
        }
        match (launch.asker, answer) {
            (None, _) => {}
            (Some(asker), Ok(reply)) => self.reply(asker, reply, Vec::new()),
            (Some(asker), Err(failure)) => self.fail(asker, failure),
        }
        self.clear_early();
    }

    /// Reads the reports about a further process.
    pub(super) fn exec_reports(&mut self, token: u64) {
        while let Some(exec) = self.execs.get_mut(&token).filter(|e| e.asker.is_some()) {
            match receive(&exec.report) {
                Received::Nothing => return,
                Received::Report(Report::Process { pid }, _) => exec.pid = Some(pid),
                Received::Report(Report::Terminal, terminal) => exec.terminal = terminal,
                Received::Report(Report::Failed(failure), _) => {
                    exec.failed = true;
                    let asker = exec.asker.take();
                    self.drop_exec(token);
                    if let Some(asker) = asker {
                        self.fail(asker, failure);
                    }
                }
                Received::End => self.exec_started(token),
            }
        }
    }

    fn exec_started(&mut self, token: u64) {
        let Some(mut exec) = self.execs.remove(&token) else { return };
        // It stays readable for ever now.
        self.unwatch(&exec.report, token);
        let (asker, terminal, pid) = (exec.asker.take(), exec.terminal.take(), exec.pid);
        let Some(asker) = asker else { return };
        match pid {
            None => self.fail(asker, Failure::Other("the process that starts a command died".to_owned())),
            Some(pid) => {
                self.execs.insert(token, exec);
                self.reply(asker, Reply::Done, terminal.into_iter().collect());
                if let Some(status) = self.take_early(pid) {
                    self.process_ended(pid, status);
                }
            }
        }
        self.clear_early();
    }

    fn drop_exec(&mut self, token: u64) {
        if let Some(exec) = self.execs.remove(&token) {
            self.unwatch(&exec.report, token);
        }
        self.clear_early();
    }

    /// A container wrote, or closed.
    pub(super) fn pump_stream(&mut self, id: &str, token: u64) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Container { streams, log, .. } = container;
        let Some(index) = streams.iter().position(|s| s.token == token) else { return };
        match streams[index].pump(log) {
            Outcome::Open => {}
            Outcome::Behind => self.pause(id, token),
            Outcome::Ended => {
                let stream = streams.remove(index);
                // What was written last must reach the log; a full disk is no reason to stop.
                let _ = log.finish(stream.name, now());
                self.close_stream(stream);
            }
        }
    }

    /// Stops reading a stream until its clients have caught up.
    fn pause(&mut self, id: &str, token: u64) {
        let Some(container) = self.containers.get(id) else { return };
        let Some(stream) = container.streams.iter().find(|s| s.token == token) else { return };
        self.rewatch(&stream.fd, token, EventFlags::empty());
        for client in stream.clients.iter().filter(|c| c.is_behind()) {
            self.rewatch(&client.fd, client.token, EventFlags::OUT);
        }
    }

    /// A client can take more, or is gone.
    pub(super) fn flush_client(&mut self, id: &str, token: u64) {
        if let Some(mut client) = self.lingering.remove(&token) {
            if client.flush() && client.is_behind() {
                self.lingering.insert(token, client);
            } else {
                self.unwatch(&client.fd, token);
            }
            return;
        }
        let Some(container) = self.containers.get_mut(id) else { return };
        let Some(stream) = container.streams.iter_mut().find(|s| s.clients.iter().any(|c| c.token == token)) else {
            return;
        };
        let Some(index) = stream.clients.iter().position(|c| c.token == token) else { return };
        let was_behind = stream.clients[index].is_behind();
        let gone = !stream.clients[index].flush() || !was_behind;
        let client = gone.then(|| stream.clients.remove(index));
        let caught_up = !stream.clients.iter().any(super::streams::Client::is_behind);
        let stream_token = stream.token;
        if let Some(client) = client {
            self.unwatch(&client.fd, token);
        }
        let Some(container) = self.containers.get(id) else { return };
        let Some(stream) = container.streams.iter().find(|s| s.token == stream_token) else { return };
        if let Some(client) = stream.clients.iter().find(|c| c.token == token && !c.is_behind()) {
            self.rewatch(&client.fd, token, EventFlags::empty());
        }
        if caught_up {
            self.rewatch(&stream.fd, stream_token, EventFlags::IN);
        }
    }

    /// Stops reading. Clients that are behind still get what was read for them.
    fn close_stream(&mut self, stream: Stream) {
        self.unwatch(&stream.fd, stream.token);
        for client in stream.clients {
            if client.is_behind() {
                self.rewatch(&client.fd, client.token, EventFlags::OUT);
                self.lingering.insert(client.token, client);
            } else {
                self.unwatch(&client.fd, client.token);
            }
        }
    }

    /// A child ended; false if it is none that anyone asked for.
    pub(super) fn process_ended(&mut self, pid: u32, status: ExitStatus) -> bool {
        let is_main = |c: &Container| c.state.pid == Some(pid) && c.state.exit.is_none();
        if let Some(id) = self.containers.iter().find(|(_, c)| is_main(c)).map(|(id, _)| id.clone()) {
            self.container_ended(&id, status);
            return true;
        }
        let Some(token) = self.execs.iter().find(|(_, e)| e.pid == Some(pid)).map(|(token, _)| *token) else {
            return false;
        };
        // Its start is not told yet: that comes first.
        self.exec_reports(token);
        if self.execs.get(&token).is_some_and(|exec| exec.asker.is_some()) {
            // The worker still has to leave; with it comes the answer, and then this.
            return false;
        }
        if let Some(exec) = self.execs.remove(&token) {
            self.unwatch(&exec.report, token);
            self.send(exec.connection, &Message::ExecExited { exec: exec.id, status }, Vec::new());
        }
        true
    }

    fn container_ended(&mut self, id: &str, status: ExitStatus) {
        self.launch_reports(id);
        let Some(container) = self.containers.get_mut(id) else { return };
        for stream in &mut container.streams {
            stream.drain(&mut container.log);
        }
        if !container.private_pids {
            // Compat: as with upstream's runtimes, what shares the host's or the pod's processes ends with its main
            // process.
            kill_all(container);
        }
        let finished_at = now();
        let started_at = container.state.started_at.unwrap_or(finished_at);
        let oom_killed = container.cgroup.oom_kills() > 0;
        let exit = Exit { status, oom_killed, started_at, finished_at };
        container.state.exit = Some(exit);
        container.stdin = None;
        container.terminal = None;
        if let Err(e) = container.record() {
            eprintln!("shim: {e}");
        }
        let streams = std::mem::take(&mut container.streams);
        let (launch, forget) = (container.launch.take(), container.forget.take());
        for stream in streams {
            self.close_stream(stream);
        }
        if let Some(launch) = launch {
            self.unwatch(&launch.report, launch.token);
            if let Some(asker) = launch.asker {
                self.fail(asker, Failure::Other(format!("container {id} ended before it was started")));
            }
        }
        self.broadcast(&Message::Exited { id: id.to_owned(), exit });
        if let Some(asker) = forget {
            self.forgotten(id, asker);
        }
    }

    fn forgotten(&mut self, id: &str, asker: Asker) {
        self.drop_container(id);
        self.reply(asker, Reply::Done, Vec::new());
    }

    /// Closes everything a container has.
    pub(super) fn drop_container(&mut self, id: &str) {
        let Some(container) = self.containers.remove(id) else { return };
        for stream in container.streams {
            self.close_stream(stream);
        }
        if let Some(launch) = container.launch {
            self.unwatch(&launch.report, launch.token);
        }
    }
}

/// Kills what is left in a container, without waiting.
fn kill_all(container: &Container) {
    for pid in container.cgroup.processes() {
        let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
        match pid.map(|pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL)) {
            Some(Ok(()) | Err(Errno::SRCH)) | None => {}
            Some(Err(e)) => eprintln!("shim: killing in {}: {e}", container.folder.display()),
        }
    }
}
