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

fn private_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the memory of a shim");
    let private = text.lines().filter(|l| l.starts_with("Private_"));
    private.filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}
