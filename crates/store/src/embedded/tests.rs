//! The embedded store: the suite, crashes, a full disk, formats.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use super::OpenError;
use crate::suite::{self, TestClock};
use crate::{Commit, CommitError, Durability, Embedded, Key, Op, Store, WallClock};

struct Fixture(TempDir);

impl suite::Fixture for Fixture {
    fn open(&self, clock: WallClock) -> Arc<dyn Store> {
        Arc::new(Embedded::open(self.0.path(), clock).unwrap())
    }

    fn persists(&self) -> bool {
        true
    }
}

fn open(folder: &Path) -> Result<Embedded, OpenError> {
    Embedded::open(folder, TestClock::default().wall())
}

#[tokio::test(flavor = "multi_thread")]
async fn it_passes_the_suite() {
    suite::all(|| Fixture(tempfile::tempdir().unwrap())).await;
}

#[tokio::test]
async fn only_one_process_opens_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()), Err(OpenError::InUse(_))));
    store.close().await;
    open(folder.path()).expect("closing lets go of it");
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let file = folder.path().join("state.db");
    let sqlite = rusqlite::Connection::open(&file).unwrap();
    sqlite.execute("UPDATE mark SET value = 99 WHERE name = 'format_version'", []).unwrap();
    drop(sqlite);
    let before = std::fs::read(&file).unwrap();
    let error = open(folder.path()).err().expect("format 99 is unknown");
    assert!(matches!(error, OpenError::Newer { found: 99, known: 1, .. }), "{error}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn churn_and_compaction_keep_the_file_small() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    for round in 0..20 {
        for key in 0..10 {
            let value = Bytes::from(vec![round; 100_000]);
            let ops = vec![Op::Put { key: Key::from(format!("k{key}")), value, ttl: None }];
            store.commit(Commit { ops, durability: Durability::Relaxed, ..Commit::default() }).await.unwrap();
        }
        store.compact(store.revision()).await.unwrap();
    }
    store.close().await;
    let size = std::fs::metadata(folder.path().join("state.db")).unwrap().len();
    assert!(size < 6 << 20, "20 MB were written, 1 MB of it is live, the file has {size} bytes");
}

/// What the child of the crash test is told by.
const CHILD: &str = "STORE_TEST_FOLDER";

/// Not a test by itself: the process that is killed. It prints each commit's number once it is acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn child_writes_until_killed() {
    #[expect(clippy::disallowed_methods, reason = "the way the parent test speaks to its child")]
    let Ok(folder) = std::env::var(CHILD) else { return };
    let store = Arc::new(open(Path::new(&folder)).unwrap());
    println!("from {}", store.revision());
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for number in 0..1_000_000 {
                let ops = vec![keyed(writer, number, 0), keyed(writer, number, 1)];
                let durability = if number % 5 == 4 { Durability::Relaxed } else { Durability::Durable };
                let revision = store.commit(Commit { ops, durability, ..Commit::default() }).await.unwrap();
                let mut out = std::io::stdout().lock();
                writeln!(out, "ack {writer} {number} {revision}").unwrap();
                out.flush().unwrap();
            }
        });
    }
    writers.join_all().await;
}

fn keyed(writer: u32, number: u64, part: u32) -> Op {
    let value = Bytes::from(format!("{number}").repeat(100));
    Op::Put { key: Key::from(format!("/{writer}/{}/{part}", number % 50)), value, ttl: None }
}

/// What one round's child got acknowledged: per writer the last number, and the highest revision.
struct Acknowledged {
    last: [Option<u64>; 8],
    revision: u64,
}

fn run_child_and_kill(folder: &Path, lines: usize) -> Acknowledged {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::tests::child_writes_until_killed", "--nocapture"])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut acknowledged = Acknowledged { last: [None; 8], revision: 0 };
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut read = |line: String| {
        let words: Vec<&str> = line.split(' ').collect();
        let ["ack", writer, number, revision] = words[..] else { return };
        acknowledged.last[writer.parse::<usize>().unwrap()] = Some(number.parse().unwrap());
        acknowledged.revision = acknowledged.revision.max(revision.parse().unwrap());
    };
    output.by_ref().take(lines).for_each(|line| read(line.unwrap()));
    child.kill().unwrap();
    // What it still managed to print counts as well; its last line may be torn.
    let rest: Vec<String> = output.map_while(Result::ok).collect();
    rest.iter().take(rest.len().saturating_sub(1)).for_each(|line| read(line.clone()));
    child.wait().unwrap();
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_by_kill_9() {
    let seed = 7;
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut highest = 0;
    for round in 0..8 {
        let acknowledged = run_child_and_kill(folder.path(), random.random_range(1..2000));
        assert!(acknowledged.revision > highest, "seed {seed} round {round}: revisions go on");
        let store = open(folder.path()).unwrap();
        assert!(store.revision().0 >= acknowledged.revision, "seed {seed} round {round}: no revision is given twice");
        highest = store.revision().0;
        let found = store.range("/").await.unwrap();
        for (writer, last) in acknowledged.last.iter().enumerate() {
            let Some(last) = last else { continue };
            for part in 0..2 {
                let key = format!("/{writer}/{}/{part}", last % 50);
                let entry = found.entries.iter().find(|entry| *entry.key == *key);
                let value = entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned());
                // The commit after the last acknowledged one never has the same key.
                let expected = format!("{last}").repeat(100);
                assert_eq!(value, Some(expected), "seed {seed} round {round}: {key}");
            }
        }
        store.close().await;
    }
}

/// A small file system that is gone with the test.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(folder.path()).output();
        mount.ok().filter(|output| output.status.success())?;
        Some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let umount = Command::new("umount").arg(self.0.path()).status();
        assert!(umount.is_ok_and(|status| status.success()), "{} stays mounted", self.0.path().display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_survived() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("SKIPPED: a_full_disk_is_told_and_survived needs root to mount a tmpfs");
        return;
    };
    let other = disk.0.path().join("of-somebody-else");
    std::fs::write(&other, vec![1; 20 << 20]).unwrap();
    let store = open(&disk.0.path().join("store")).unwrap();
    let put = |number: u32| {
        let key = Key::from(format!("k{number:05}"));
        store.commit(Commit::put(key, Bytes::from(vec![7; 1 << 20]), None))
    };
    let mut written = 0;
    let error = loop {
        match put(written).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 64, "a disk of 64 MiB holds 64 MiB at most");
    };
    assert!(matches!(error, CommitError::Full(_)), "{error:?}");
    assert!(written > 10, "{written}");
    let revision = store.revision();
    let all = async || store.range("k").await.unwrap().entries.len();
    assert_eq!(all().await, written as usize, "all that was acknowledged");
    assert!(put(written).await.is_err(), "still full");
    std::fs::remove_file(&other).unwrap();
    assert_eq!(put(written).await.unwrap().0, revision.0 + 1, "what failed took no revision");
    assert_eq!(all().await, written as usize + 1);
    store.close().await;
    drop(store);
    let store = open(&disk.0.path().join("store")).unwrap();
    assert_eq!(store.range("k").await.unwrap().entries.len(), written as usize + 1);
}
