//! Starting, ending, failing to start.

use std::time::Duration;

use container::{ContainerConfig, ContainerState, Error, Resources, Runtime, User};

use crate::support::{exit_of, on_node, pid_of};

#[test]
fn it_does_what_every_runtime_does() {
    on_node(async |node| {
        let given = container::suite::Given {
            sandbox: node.sandbox("suite"),
            container: node.script("suite", "suite-c", "while :; do sleep 1; done"),
        };
        container::suite::run(node.shims.as_ref(), given).await;
    });
}

#[test]
fn exit_codes_and_signals() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        for (script, code, signal) in [("exit 0", 0, None), ("exit 7", 7, None), ("kill -9 $$", 137, Some(9))] {
            // PID 1 cannot kill itself by an unhandled signal, so a child's death is passed on instead.
            let script = if signal.is_some() { "sh -c 'kill -9 $$'; exit $?" } else { script };
            let exit = node.run(node.script("s", &format!("c{code}"), script)).await;
            assert_eq!(exit.status.code, code, "{script}");
        }
        let mut events = node.shims.events();
        node.start(node.script("s", "killed", "exec sleep 1000")).await;
        node.shims.signal_container("killed", 9).await.unwrap();
        let exit = exit_of(&mut events, "killed").await;
        assert_eq!((exit.status.code, exit.status.signal), (137, Some(9)));
        assert!(!exit.oom_killed && exit.started_at <= exit.finished_at);
    });
}

#[test]
fn term_reaches_the_main_process() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        let mut events = node.shims.events();
        node.start(node.script("s", "c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done")).await;
        node.eventually_logs("c", "up").await;
        node.shims.signal_container("c", 15).await.unwrap();
        assert_eq!(exit_of(&mut events, "c").await.status.code, 3);
        assert_eq!(node.log("c"), "up\nbye\n");
        // A signal to what has ended is no error.
        node.shims.signal_container("c", 15).await.unwrap();
    });
}

#[test]
fn term_waits_for_a_program_that_begins() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        let mut events = node.shims.events();
        node.start(node.script("s", "c", "sleep 0.2; trap 'exit 3' TERM; while :; do sleep 0.01; done")).await;
        node.shims.signal_container("c", 15).await.unwrap();
        assert_eq!(exit_of(&mut events, "c").await.status.code, 3);
        // One that never listens is waited for no longer than it lives.
        node.start(node.script("s", "deaf", "sleep 0.2; exit 4")).await;
        node.shims.signal_container("deaf", 15).await.unwrap();
        assert_eq!(exit_of(&mut events, "deaf").await.status.code, 4);
    });
}

#[test]
fn a_removed_container_leaves_its_id() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        for _ in 0..2 {
            node.start(node.script("s", "c", "sleep 1000")).await;
            assert!(matches!(
                node.shims.create_container(node.script("s", "c", "true")).await,
                Err(Error::AlreadyExists(_))
            ));
            node.shims.remove_container("c").await.unwrap();
            assert_eq!(node.shims.status("c"), None);
        }
        node.shims.create_container(node.script("s", "c", "true")).await.unwrap();
        assert_eq!(node.shims.status("c").unwrap().state, ContainerState::Created);
        node.shims.remove_container("c").await.unwrap();
        node.shims.remove_container("c").await.unwrap();
    });
}

#[test]
fn commands_that_cannot_run() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        for (command, want) in [
            ("no-such", r#"exec: "no-such": executable file not found in $PATH"#),
            ("/no/such", r#"exec: "/no/such": stat /no/such: no such file or directory"#),
            ("/etc/not-executable", r#"exec: "/etc/not-executable": permission denied"#),
            ("/etc", r#"exec: "/etc": is a directory"#),
        ] {
            let mut config = node.script("s", "c", "");
            config.command = vec![command.to_owned()];
            let error = node.shims.create_container(config).await.unwrap_err();
            assert_eq!(error.to_string(), want);
            let not_found = matches!(error, Error::CommandNotFound(..));
            assert_eq!(not_found, command.contains("such"), "{error:?}");
            assert_eq!(node.shims.status("c"), None);
        }
        let config = ContainerConfig {
            user: User { name: Some("ghost".to_owned()), ..User::default() },
            ..node.script("s", "c", "true")
        };
        let error = node.shims.create_container(config).await.unwrap_err();
        assert_eq!(error.to_string(), "unable to find user ghost: no matching entries in passwd file");
        let mut config = node.script("s", "c", "true");
        config.mounts =
            vec![container::Mount { source: "/no/such".into(), destination: "/m".into(), ..Default::default() }];
        let error = node.shims.create_container(config).await.unwrap_err();
        assert!(matches!(error, Error::MountSource { .. }), "{error:?}");
    });
}

#[test]
fn programs_that_turn_out_to_be_none() {
    on_node(async |node| {
        for (program, want) in [
            ("junk", "exec /bin/junk: exec format error\n"),
            ("script", "exec /bin/script: no such file or directory\n"),
        ] {
            let (exit, text) = node.run_alone("", |c| c.command = vec![program.to_owned()]).await;
            assert_eq!((exit.status.code, text.as_str()), (255, want));
        }
    });
}

#[test]
fn lack_of_memory_is_told() {
    on_node(async |node| {
        let hungry = "tail /dev/zero";
        let (exit, _) = node
            .run_alone(hungry, |config| {
                config.resources = Resources { memory_limit: Some(16 << 20), ..Resources::default() };
            })
            .await;
        assert!(exit.oom_killed, "{exit:?}");
        assert_eq!(exit.status.code, 137);
    });
}

#[test]
fn limits_can_change_and_usage_is_told() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        node.start(node.script("s", "c", "sleep 1000 & sleep 1000")).await;
        let resources = Resources {
            cpu_shares: Some(512),
            cpu_quota: Some(50_000),
            cpu_period: Some(100_000),
            memory_limit: Some(64 << 20),
            pids_limit: Some(100),
            ..Resources::default()
        };
        node.shims.update_resources("c", &resources).await.unwrap();
        let stats = node.shims.stats("c").await.unwrap();
        assert!(stats.memory_usage > 0 && stats.pids >= 1, "{stats:?}");
        let stats = node.shims.sandbox_stats("s").await.unwrap();
        assert!(stats.cpu_usage_ns > 0, "{stats:?}");
    });
}

#[test]
fn stopping_a_sandbox_ends_its_containers() {
    on_node(async |node| {
        let sandbox = node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        node.start(node.script("s", "a", "sleep 1000")).await;
        node.start(node.script("s", "b", "trap '' TERM; sleep 1000")).await;
        let pid = pid_of(node.shims.as_ref(), "a");
        node.shims.stop_sandbox("s").await.unwrap();
        let status = node.shims.list().pop().unwrap();
        assert_eq!(status.state, container::SandboxState::NotReady);
        for container in status.containers {
            let ContainerState::Exited(exit) = container.state else { panic!("{container:?}") };
            assert_eq!(exit.status.code, 137);
        }
        for gone in [pid, sandbox.pid] {
            crate::support::eventually("the process is gone", || {
                !std::path::Path::new(&format!("/proc/{gone}")).exists()
            })
            .await;
        }
        node.shims.stop_sandbox("s").await.unwrap();
        let error = node.shims.create_container(node.script("s", "c", "true")).await.unwrap_err();
        assert!(matches!(error, Error::Lost(_)), "{error:?}");
    });
}

#[test]
fn a_command_that_takes_too_long_is_killed() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        node.start(node.script("s", "c", "sleep 1000")).await;
        let command = ["sleep", "777"].map(str::to_owned).to_vec();
        let result = node.shims.exec_sync("c", command, Some(Duration::from_millis(100))).await;
        assert!(matches!(result, Err(Error::Timeout(_))), "{result:?}");
        let (code, _) = node.exec("c", "! ps -o args | grep 'sleep 77[7]'").await;
        assert_eq!(code, 0, "the command still runs");
    });
}
