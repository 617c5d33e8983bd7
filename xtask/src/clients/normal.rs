//! What differs between any two runs gets one name: ages, uids, addresses, times, revisions, hashes, versions.

use std::sync::LazyLock;

use regex::Regex;

/// Patterns and what stands for them, in this order.
const RULES: [(&str, &str); 27] = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "TIME"),
    (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "TIME"),
    (r"\b[EWI]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ ", "LOG "),
    (r"\bsha256:[0-9a-f]{64}\b", "DIGEST"),
    (r"\b(containerd|minke)://[0-9a-f]+", "CONTAINER"),
    (r#"(resourceVersion|Resource Version|observedGeneration)(\\*"?: *\\*"?)\d+"#, "${1}${2}N"),
    // A node without any other address has its bridge's.
    (r"\b10\.244\.\d+\.1\b", "IP"),
    (r"\b10\.244\.\d+\.\d+", "POD_IP"),
    (r"\b\d+\.\d+\.\d+\.\d+\b", "IP"),
    (r"kube-api-access-[a-z0-9]{5}", "kube-api-access-RANDOM"),
    (r"\b(client|clients)-(\w+)-[a-z0-9]{5}\b", "${1}-${2}-RANDOM"),
    (r"\b(\d+):3[012]\d{3}/TCP", "${1}:PORT/TCP"),
    // The user of each kubeconfig.
    (r"\bkubernetes-admin\b", "admin"),
    (r"\bapp-[a-z0-9]{8,10}(-[a-z0-9]{5})?\b", "app-HASH"),
    (r"(pod-template-hash\W+)[a-z0-9]{8,10}\b", "${1}HASH"),
    (r"\b(again|failing)-[a-z0-9]{5}\b", "${1}-RANDOM"),
    (r"\.[0-9a-f]{16}\b", ".HASH"),
    (r"\(x\d+ over [0-9a-z]+\)", "(REPEATED)"),
    (r"\bin \d+(\.\d+)?(ms|s|µs) \(\d+(\.\d+)?(ms|s|µs) including waiting\)", "in AGE"),
    (r"\b(\d+[smhd])+\b( ago)?", "AGE"),
    (r"\bAGE \(REPEATED\)", "AGE"),
    (r"v1\.\d+\.\d+[-+.0-9A-Za-z]*", "VERSION"),
    (r"Image size: \d+ bytes", "Image size: N bytes"),
    (r"(?m)[ \t]+$", ""),
    (r"(?m)(\S)(?: {2,}|\t+ *)", "$1  "),
    (r"(?m)^( *)-{3,}", "$1---"),
];

static COMPILED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    let compile =
        |(pattern, name): &(&str, &'static str)| (Regex::new(pattern).expect("the table's patterns are tested"), *name);
    RULES.iter().map(compile).collect()
});

/// The text without what differs between runs.
pub(crate) fn normal(text: &str) -> String {
    let mut text = text.to_owned();
    for node in nodes() {
        text = text.replace(&node, "NODE");
    }
    for (pattern, name) in COMPILED.iter() {
        text = pattern.replace_all(&text, *name).into_owned();
    }
    text
}

/// The nodes' names: upstream's script has its own, ours is the host's.
fn nodes() -> Vec<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_lowercase();
    [host, "ref-1".to_owned()].into_iter().filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::normal;

    fn check(text: &str, expected: &str) {
        assert_eq!(normal(text), expected);
    }

    #[test]
    fn only_what_differs_between_runs_is_replaced() {
        check("web    1/1   Running   0     12s\n", "web  1/1  Running  0  AGE\n");
        check("web  1/1  Running  2 (3m4s ago)  1h\n", "web  1/1  Running  2 (AGE)  AGE\n");
        check("  uid: 0d0b3c6e-1d7f-4b5e-9d3c-0a1b2c3d4e5f", "  uid: UID");
        check("  resourceVersion: \"412\"", "  resourceVersion: \"N\"");
        check("Start Time:       Mon, 23 Nov 2026 16:04:27 +0000", "Start Time:  TIME");
        check("hostIP: 10.244.0.1", "hostIP: IP");
        check("podIP: 10.244.0.7, hostIP: 192.0.2.1", "podIP: POD_IP, hostIP: IP");
        check("kube-api-access-x7k2p", "kube-api-access-RANDOM");
        check("containerID: minke://0123abcd", "containerID: CONTAINER");
        check("    indented: stays", "    indented: stays");
        check("Normal  Pulled  3s (x2 over 4s)  kubelet", "Normal  Pulled  AGE  kubelet");
    }
}
