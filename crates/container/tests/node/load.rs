//! Many at once, and what a shim costs.

use std::fs;
use std::time::Instant;

use container::Runtime;

use crate::support::on_node;

#[test]
fn twenty_sandboxes_at_once() {
    on_node(async |node| {
        let one = Instant::now();
        node.shims.run_sandbox(node.sandbox("one")).await.unwrap();
        let sandbox = one.elapsed();
        node.start(node.script("one", "one-c", "sleep 1000")).await;
        eprintln!("one: sandbox {sandbox:?}, with a container {:?}", one.elapsed());

        let all = Instant::now();
        let tasks: Vec<_> = (0..20)
            .map(|number| {
                let node = std::sync::Arc::clone(&node);
                tokio::spawn(async move {
                    let id = format!("s{number}");
                    node.shims.run_sandbox(node.sandbox(&id)).await.unwrap();
                    node.start(node.script(&id, &format!("{id}-c"), "sleep 1000")).await;
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        eprintln!("twenty: {:?}", all.elapsed());

        let private = node.shims.list().iter().map(|s| private_kib(s.sandbox.pid)).max().unwrap();
        eprintln!("largest shim: {private} KiB private");
        assert!(private < 3 << 10, "a shim has {private} KiB of its own");
        let ended = Instant::now();
        let removals = node.shims.list().into_iter().map(|s| {
            let node = std::sync::Arc::clone(&node);
            async move { node.shims.remove_sandbox(&s.config.id).await.unwrap() }
        });
        futures::future::join_all(removals).await;
        eprintln!("removed: {:?}", ended.elapsed());
    });
}

#[test]
fn an_idle_shim_does_nothing() {
    on_node(async |node| {
        let sandbox = node.shims.run_sandbox(node.sandbox("s")).await.unwrap();
        node.start(node.script("s", "quiet", "sleep 1000")).await;
        node.shims.create_container(node.script("s", "created", "true")).await.unwrap();
        node.run(node.script("s", "ended", "true")).await;
        let running = container::ExecConfig {
            command: ["sleep", "1000"].map(str::to_owned).to_vec(),
            stdout: true,
            ..Default::default()
        };
        let exec = node.shims.exec("quiet", running).await.unwrap();
        let attached = node.shims.attach("quiet", false, true, true).await.unwrap();
        drop(node.shims.attach("quiet", false, true, false).await.unwrap());
        let before = ticks(sandbox.pid);
        // Another process is the clock.
        std::process::Command::new("/bin/sleep").arg("1").status().unwrap();
        let used = ticks(sandbox.pid) - before;
        assert!(used <= 2, "an idle shim used {used} ticks of a hundred in a second");
        drop((exec, attached));
    });
}

/// Hundredths of a second of CPU time.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a shim");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name").1.split_whitespace().collect();
    [fields[11], fields[12]].iter().map(|f| f.parse::<u64>().expect("a number")).sum()
}

fn private_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the memory of a shim");
    let private = text.lines().filter(|l| l.starts_with("Private_"));
    private.filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}
