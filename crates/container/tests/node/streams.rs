//! Logs, exec and attach.

use container::{ContainerConfig, ExecConfig, Runtime};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use crate::support::{exit_of, on_node};

#[test]
fn logs_in_the_format_of_cri() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        node.run(node.script("s", "c", "echo out; echo err >&2; printf tail")).await;
        let log = node.raw_log("c");
        let mut kinds: Vec<String> = log.lines().map(|l| l.split_once(' ').unwrap().1.to_owned()).collect();
        kinds.sort();
        assert_eq!(kinds, ["stderr F err", "stdout F out", "stdout P tail"], "{log}");
        assert!(log.lines().all(|l| l.len() > 31 && l.as_bytes()[29] == b'Z'), "{log}");
    });
}

#[test]
fn a_lot_of_output_is_complete() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        node.run(node.script("s", "c", "seq 1 50000")).await;
        let log = node.log("c");
        assert_eq!(log.lines().count(), 50_000);
        assert!(log.ends_with("\n50000\n"));
    });
}

#[test]
fn a_log_is_rotated() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        node.start(node.script("s", "c", "echo one; read x; echo two; sleep 1000").with_stdin()).await;
        node.eventually_logs("c", "one").await;
        let path = node.shims.status("c").unwrap().config.log_path;
        std::fs::rename(&path, path.with_extension("old")).unwrap();
        node.shims.reopen_log("c").await.unwrap();
        let mut session = node.shims.attach("c", true, false, false).await.unwrap();
        session.stdin.as_mut().unwrap().write_all(b"go\n").await.unwrap();
        node.eventually_logs("c", "two").await;
        assert_eq!(node.log("c"), "two\n");
    });
}

trait WithStdin {
    fn with_stdin(self) -> Self;
}

impl WithStdin for ContainerConfig {
    fn with_stdin(self) -> Self {
        Self { stdin: true, ..self }
    }
}

#[test]
fn exec_passes_streams_and_exit_codes() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        node.start(node.script("s", "c", "sleep 1000")).await;
        assert_eq!(node.exec("c", "echo $FROM; exit 3").await, (3, "image\n".to_owned()));
        let config = ExecConfig {
            command: ["sh", "-c", "echo err >&2; cat; exit 5"].map(str::to_owned).to_vec(),
            stdin: true,
            stdout: true,
            stderr: true,
            ..ExecConfig::default()
        };
        let mut session = node.shims.exec("c", config).await.unwrap();
        let mut stdin = session.stdin.take().unwrap();
        stdin.write_all(b"through\n").await.unwrap();
        stdin.shutdown().await.unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        session.stdout.unwrap().read_to_string(&mut out).await.unwrap();
        session.stderr.unwrap().read_to_string(&mut err).await.unwrap();
        assert_eq!((out.as_str(), err.as_str()), ("through\n", "err\n"));
        assert_eq!(session.exit.await.unwrap().code, 5);
        let error = node.shims.exec_sync("c", vec!["no-such".to_owned()], None).await.unwrap_err();
        assert_eq!(error.to_string(), r#"exec: "no-such": executable file not found in $PATH"#);
    });
}

#[test]
fn quick_commands_all_tell_their_end() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        node.start(node.script("s", "c", "sleep 1000")).await;
        let all = futures::future::join_all(
            (0..60).map(|number| node.exec("c", if number % 2 == 0 { "exit 0" } else { "exit 4" })),
        );
        let codes: Vec<i32> = all.await.into_iter().map(|(code, _)| code).collect();
        let expected: Vec<i32> = (0..60).map(|number| if number % 2 == 0 { 0 } else { 4 }).collect();
        assert_eq!(codes, expected);
    });
}

#[test]
fn exec_with_a_terminal() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        node.start(node.script("s", "c", "sleep 1000")).await;
        let config = ExecConfig {
            command: ["sh", "-c", "tty; read x; stty size; exit 4"].map(str::to_owned).to_vec(),
            tty: true,
            stdin: true,
            stdout: true,
            ..ExecConfig::default()
        };
        let mut session = node.shims.exec("c", config).await.unwrap();
        let mut lines = BufReader::new(session.stdout.take().unwrap()).lines();
        assert_eq!(lines.next_line().await.unwrap().unwrap().trim(), "/dev/pts/0");
        session.resizer.as_ref().unwrap().resize(132, 43).unwrap();
        session.stdin.as_mut().unwrap().write_all(b"\n").await.unwrap();
        let mut rest = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            rest.push_str(&line);
        }
        assert!(rest.contains("43 132"), "{rest:?}");
        assert_eq!(session.exit.await.unwrap().code, 4);
    });
}

#[test]
fn attach_sees_what_the_log_gets() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        node.start(node.script("s", "c", "while read x; do echo got $x; done; echo end; exit 6").with_stdin().once())
            .await;
        let mut session = node.shims.attach("c", true, true, true).await.unwrap();
        let mut lines = BufReader::new(session.stdout.take().unwrap()).lines();
        let mut stdin = session.stdin.take().unwrap();
        for word in ["a", "b"] {
            stdin.write_all(format!("{word}\n").as_bytes()).await.unwrap();
            assert_eq!(lines.next_line().await.unwrap().unwrap(), format!("got {word}"));
        }
        drop(stdin);
        assert_eq!(lines.next_line().await.unwrap().unwrap(), "end");
        assert_eq!(session.exit.await.unwrap().code, 6);
        assert_eq!(node.log("c"), "got a\ngot b\nend\n");
    });
}

trait Once {
    fn once(self) -> Self;
}

impl Once for ContainerConfig {
    fn once(self) -> Self {
        Self { stdin_once: true, ..self }
    }
}

#[test]
fn a_container_with_a_terminal() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        let mut config = node.script("s", "c", "tty; read x; echo got $x; exit 2").with_stdin();
        config.tty = true;
        let mut events = node.shims.events();
        node.start(config).await;
        node.eventually_logs("c", "/dev/pts/0").await;
        let mut session = node.shims.attach("c", true, true, false).await.unwrap();
        session.resizer.as_ref().unwrap().resize(80, 25).unwrap();
        session.stdin.as_mut().unwrap().write_all(b"word\n").await.unwrap();
        assert_eq!(exit_of(&mut events, "c").await.status.code, 2);
        let mut text = String::new();
        session.stdout.unwrap().read_to_string(&mut text).await.unwrap();
        assert!(text.contains("got word"), "{text:?}");
    });
}

#[test]
fn a_slow_reader_loses_nothing() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        let mut events = node.shims.events();
        node.start(node.script("s", "c", "read x; seq 1 40000").with_stdin()).await;
        let mut session = node.shims.attach("c", true, true, false).await.unwrap();
        session.stdin.as_mut().unwrap().write_all(b"\n").await.unwrap();
        node.eventually_logs("c", "1").await;
        let mut text = String::new();
        session.stdout.unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text.lines().count(), 40_000);
        exit_of(&mut events, "c").await;
        assert_eq!(node.log("c"), text);
    });
}

#[test]
fn what_was_written_last_reaches_who_reads_late() {
    on_node(async |node| {
        node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        let mut events = node.shims.events();
        // More than one pipe holds, less than two: the end comes while the client is behind.
        node.start(node.script("s", "c", "read x; seq 1 20000").with_stdin()).await;
        let mut session = node.shims.attach("c", true, true, false).await.unwrap();
        session.stdin.as_mut().unwrap().write_all(b"\n").await.unwrap();
        exit_of(&mut events, "c").await;
        let mut text = String::new();
        session.stdout.unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text.lines().count(), 20_000);
    });
}
