//! Differences that are meant, with the reason for each.

use std::sync::LazyLock;

use regex::Regex;

/// A line that may differ, in which step (empty: in every step), and why.
struct Expected {
    step: &'static str,
    line: &'static str,
    #[expect(dead_code, reason = "the reason is for who reads the table")]
    why: &'static str,
}

/// What usage looks like is shown by a test of its own.
const NO_METRICS: &str = "the metrics API is built in here, and upstream leaves it to another program";

const EXPECTED: [Expected; 5] = [
    Expected {
        step: "",
        line: r"^\s*imageID: |^\s*Image ID: ",
        why: "an image's id is its configuration's digest in one store and its manifest's in another",
    },
    Expected {
        step: "patch",
        line: r#"^@@ |^[-+ ] +"[A-Z]\w+": |^ +\.\.\.|^$"#,
        why: "upstream adds a difference of its own Go structures to the text",
    },
    Expected { step: "api-resources", line: r" metrics\.k8s\.io/v1beta1 ", why: NO_METRICS },
    Expected { step: "api-versions", line: r"^metrics\.k8s\.io/v1beta1$", why: NO_METRICS },
    Expected {
        step: "top",
        line: r"^error: Metrics API not available$|^NAME +CPU\(cores\) |^\S+ +AGE +(\d+% +)?\d+Mi( |$)|^exit [01]$",
        why: NO_METRICS,
    },
];

static COMPILED: LazyLock<Vec<(&str, Regex)>> = LazyLock::new(|| {
    let compile = |one: &Expected| (one.step, Regex::new(one.line).expect("the table's patterns are tested"));
    EXPECTED.iter().map(compile).collect()
});

/// An output without the lines that may differ.
pub(crate) fn without(step: &str, text: &str) -> String {
    let may_differ =
        |line: &str| COMPILED.iter().any(|(of, pattern)| (of.is_empty() || *of == step) && pattern.is_match(line));
    let kept = text.lines().filter(|line| !may_differ(line));
    kept.flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn only_lines_of_the_table_are_left_out() {
        assert_eq!(without("get-yaml", "a: b\n    imageID: DIGEST\nc: d\n"), "a: b\nc: d\n");
        let usage = "NAME  CPU(cores)  CPU(%)  MEMORY(bytes)\nNODE  AGE  99%  1003Mi  4%\nweb  AGE  8Mi\nexit 0\n";
        assert_eq!(without("top", usage), "");
        assert_eq!(without("top", "error: You must be logged in\nexit 1\n"), "error: You must be logged in\n");
    }
}
