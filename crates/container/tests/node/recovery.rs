//! Daemons and shims that are killed.

use std::fs;

use container::{ContainerState, Event, Runtime, SandboxState};

use crate::support::{LIMIT, eventually, on_node, pid_of};

#[test]
fn a_new_daemon_finds_everything() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        let path = node.folder.path().join("go");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut waits = node.script("s", "waits", "read x < /go; echo done; exit 9");
        waits.mounts = vec![container::Mount { source: path.clone(), destination: "/go".into(), ..Default::default() }];
        node.start(waits).await;
        node.start(node.script("s", "runs", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done")).await;
        node.shims.create_container(node.script("s", "created", "echo late")).await.unwrap();
        let pid = pid_of(node.shims.as_ref(), "runs");

        // The old daemon goes on existing here, but nobody asks it any more; the shim cannot tell it from a dead one.
        let old = node.shims.list();
        fs::write(&path, "go\n").unwrap();
        eventually("the exit is recorded", || {
            matches!(node.shims.status("waits").unwrap().state, ContainerState::Exited(_))
        })
        .await;

        let new = node.recovered().await;
        let ContainerState::Exited(exit) = new.status("waits").unwrap().state else { panic!("not exited") };
        assert_eq!(exit.status.code, 9);
        assert_eq!(pid_of(&new, "runs"), pid);
        assert_eq!(new.status("created").unwrap().state, ContainerState::Created);
        assert_eq!(new.list()[0].config, old[0].config);
        assert_eq!(new.list()[0].sandbox.pid, old[0].sandbox.pid);

        new.start_container("created").await.unwrap();
        node.eventually_logs("created", "late").await;
        let output = new.exec_sync("runs", vec!["true".to_owned()], None).await.unwrap();
        assert_eq!(output.status.code, 0);
        new.signal_container("runs", 9).await.unwrap();
        eventually("both daemons see the exit", || {
            let ended = |s: &dyn Runtime| matches!(s.status("runs").unwrap().state, ContainerState::Exited(_));
            ended(&new) && ended(node.shims.as_ref())
        })
        .await;
        // No number is missing in the log.
        let log = node.log("runs");
        assert!(log.lines().enumerate().all(|(index, line)| line == (index + 1).to_string()), "{log}");
    });
}

#[test]
fn exits_while_no_daemon_lives() {
    on_node(async |node| {
        let path = node.folder.path().join("go");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let first = std::sync::Arc::clone(&node);
        let fifo = path.clone();
        // A daemon with a runtime of its own, which ends with everything that it had.
        let pids = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let shims = first.recovered().await;
                shims.run_sandbox(first.sandbox("s")).await.unwrap();
                let mut config = first.script("s", "c", "echo before; read x < /go; echo after; exit 42");
                config.mounts =
                    vec![container::Mount { source: fifo, destination: "/go".into(), ..Default::default() }];
                shims.create_container(config).await.unwrap();
                shims.start_container("c").await.unwrap();
                shims.create_container(first.script("s", "killed", "sleep 1000")).await.unwrap();
                (pid_of(&shims, "c"), shims.start_container("killed").await.unwrap().pid)
            })
        });
        let (main, killed) = pids.await.unwrap();
        fs::write(&path, "go\n").unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(killed as i32), nix::sys::signal::SIGKILL).unwrap();
        eventually("both are gone", || {
            [main, killed].iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists())
        })
        .await;
        let new = node.recovered().await;
        let code = |id: &str| match new.status(id).unwrap().state {
            ContainerState::Exited(exit) => (exit.status.code, exit.status.signal),
            other => panic!("{id} is {other:?}"),
        };
        assert_eq!((code("c"), code("killed")), ((42, None), (137, Some(9))));
        assert_eq!(node.log("c"), "before\nafter\n");
        new.remove_sandbox("s").await.unwrap();
    });
}

#[test]
fn a_killed_shim_is_a_lost_sandbox() {
    on_node(async |node| {
        let sandbox = node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        let main = node.start(node.script("s", "c", "sleep 1000")).await;
        let mut events = node.shims.events();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(sandbox.pid as i32), nix::sys::signal::SIGKILL).unwrap();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            seen.push(tokio::time::timeout(LIMIT, events.recv()).await.expect("an event").unwrap());
        }
        assert!(matches!(&seen[0], Event::ContainerExited { id, exit, .. } if id == "c" && exit.status.code == 137));
        assert_eq!(seen[1], Event::SandboxLost { sandbox_id: "s".to_owned() });
        assert_eq!(node.shims.list()[0].state, SandboxState::NotReady);
        eventually("its processes are gone", || !std::path::Path::new(&format!("/proc/{main}")).exists()).await;
        // A new sandbox of another name works at once.
        node.shims.run_sandbox(node.sandbox("again")).await.unwrap();
    });
}

#[test]
fn a_shim_that_died_while_nobody_looked() {
    on_node(async |node| {
        let sandbox = node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        node.start(node.script("s", "c", "sleep 1000")).await;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(sandbox.pid as i32), nix::sys::signal::SIGKILL).unwrap();
        eventually("the shim is gone", || node.shims.list()[0].state == SandboxState::NotReady).await;
        let new = node.recovered().await;
        let status = new.list().pop().unwrap();
        assert_eq!(status.state, SandboxState::NotReady);
        let ContainerState::Exited(exit) = status.containers[0].state else { panic!("not exited") };
        assert_eq!(exit.status.code, 137);
    });
}
