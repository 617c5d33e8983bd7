//! What processes take of the machine, from /proc.

use std::fs;

/// Ticks of the kernel's clock a second, in /proc: always 100 on Linux.
const TICKS: f64 = 100.0;

/// The processes, and all their descendants.
pub(crate) fn with_descendants(mut processes: Vec<u32>) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let all: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let mut next = 0;
    while next < processes.len() {
        let parent = processes[next];
        let children = all.iter().filter(|process| stat(**process).is_some_and(|stat| stat.parent == parent));
        let new: Vec<u32> = children.filter(|child| !processes.contains(child)).copied().collect();
        processes.extend(new);
        next += 1;
    }
    processes
}

/// Their resident memory in MiB. Pages that they share count for each in part, so that the sum is what they take.
pub(crate) fn memory(processes: &[u32]) -> f64 {
    let of = |process: &u32| {
        let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
        field(&text, "Pss:")
    };
    processes.iter().filter_map(of).sum::<f64>() / 1024.0
}

/// The processor time that they have taken, in seconds.
pub(crate) fn time(processes: &[u32]) -> f64 {
    processes.iter().filter_map(|process| Some(stat(*process)?.ticks)).sum::<f64>() / TICKS
}

/// The name of a process, as the kernel keeps it.
pub(crate) fn name(process: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{process}/comm")).ok()?.trim().to_owned())
}

struct Stat {
    parent: u32,
    ticks: f64,
}

fn stat(process: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name stands in parentheses, and may hold spaces and parentheses.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    let number = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks: number(11)? + number(12)? })
}

/// A number of kB.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_understood() {
        let stat = parse_stat("7 (a) b (c) S 3 7 7 0 -1 4 1 0 0 0 12 30 0 0 20 0").expect("is a stat line");
        assert_eq!((stat.parent, stat.ticks), (3, 42.0));
        assert_eq!(field("Rss:  9 kB\nPss:    2048 kB\n", "Pss:"), Some(2048.0));
        assert_eq!(field("", "Pss:"), None);
    }
}
