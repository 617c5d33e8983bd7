//! Rules in a real kernel, as `nft` shows them, for tests. Needs root.

use std::process::Command;

use net::Namespace;
use net::nft::Rules;

/// The kernel's table, its chains and sets in order, without the numbers of anonymous maps.
pub(crate) fn listed(table: &str) -> String {
    let output = Command::new("nft").args(["-s", "list", "ruleset"]).output().expect("run nft");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let mut blocks: Vec<&str> = text.split("\n\n").map(|block| block.trim_end_matches(['}', '\n'])).collect();
    if let Some((head, first)) = blocks[0].split_once('\n') {
        assert!(head.starts_with(&format!("table ip {table}")), "{head}");
        blocks[0] = first;
    }
    blocks.sort_unstable();
    blocks.join("\n\n")
}

/// Gives the thread a network of its own, which ends with it, and a conversation with the kernel about that.
pub(crate) fn in_kernel() -> Option<Rules> {
    let has_nft = Command::new("nft").arg("--version").output().is_ok_and(|output| output.status.success());
    if !has_nft || !is_root() {
        eprintln!("SKIPPED: packet rules need root and nft");
        return None;
    }
    Namespace::leave().expect("leave the machine's network");
    Some(
        tokio::runtime::Runtime::new()
            .expect("a runtime")
            .block_on(async { Rules::of(&Namespace::own()).await.expect("open a socket") }),
    )
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
