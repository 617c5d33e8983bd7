//! What every backend must do. A backend runs [`all`] in its tests.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::StreamExt;

use crate::{
    Batch, Change, Commit, CommitError, Durability, Expect, MAX_COMMIT_BYTES, MAX_OPS, Op, Revision, Store, StoreError,
    WallClock, Watch, WatchError,
};

/// Nothing in here takes this long.
const DEADLINE: Duration = Duration::from_secs(20);

/// A wall clock that stands still until it is moved.
#[derive(Clone)]
pub struct TestClock(Arc<Mutex<SystemTime>>);

impl Default for TestClock {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(UNIX_EPOCH + Duration::from_secs(1_000_000))))
    }
}

impl TestClock {
    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().expect("no holder of this lock can panic") += by;
    }

    /// In the form that stores take.
    pub fn wall(&self) -> WallClock {
        let time = Arc::clone(&self.0);
        Arc::new(move || *time.lock().expect("no holder of this lock can panic"))
    }
}

/// How a backend is made. Each fixture is a store of its own.
pub trait Fixture {
    /// Opens the store, again if it was open before and closed.
    fn open(&self, clock: WallClock) -> Arc<dyn Store>;

    /// Whether what was there is there again after opening again.
    fn persists(&self) -> bool;
}

/// Runs every case, each on a new fixture.
pub async fn all<F: Fixture>(make: impl Fn() -> F) {
    case("expectations", expectations(make())).await;
    case("several keys", several_keys(make())).await;
    case("revisions", revisions(make())).await;
    case("ranges", ranges(make())).await;
    case("limits", limits(make())).await;
    case("concurrent writers", concurrent_writers(make())).await;
    case("watch", watch(make())).await;
    case("slow watcher", slow_watcher(make())).await;
    case("compaction", compaction(make())).await;
    case("ttl", ttl(make())).await;
    case("ttl wakes a watcher", ttl_wakes(make())).await;
    case("closing", closing(make())).await;
    if make().persists() {
        case("reopening", reopening(make())).await;
        case("ttl across reopening", ttl_across_reopening(make())).await;
        case("watch across reopening", watch_across_reopening(make())).await;
    }
}

async fn case(name: &str, run: impl Future<Output = ()>) {
    let run = tokio::time::timeout(DEADLINE, run).await;
    run.unwrap_or_else(|_| panic!("{name}: not done after {DEADLINE:?}"));
}

fn open(fixture: &impl Fixture) -> Arc<dyn Store> {
    fixture.open(TestClock::default().wall())
}

fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), ttl: None }
}

fn put_for(key: &str, ttl: Duration) -> Op {
    Op::Put { key: key.into(), value: Bytes::from_static(b"short-lived"), ttl: Some(ttl) }
}

fn delete(key: &str) -> Op {
    Op::Delete { key: key.into() }
}

async fn commit(store: &Arc<dyn Store>, ops: impl Into<Vec<Op>>) -> Revision {
    let commit = Commit { ops: ops.into(), ..Commit::default() };
    store.commit(commit).await.expect("nothing is expected of any key")
}

async fn try_commit(store: &Arc<dyn Store>, key: &str, expect: Expect, op: Op) -> Result<Revision, CommitError> {
    let commit = Commit { expects: vec![(key.into(), expect)], ops: vec![op], ..Commit::default() };
    store.commit(commit).await
}

/// `key=value@created/modified`, one after the other.
async fn show(store: &Arc<dyn Store>, prefix: &str) -> String {
    let snapshot = store.range(prefix).await.expect("the store is open");
    let entries = snapshot.entries.iter().map(|entry| {
        let value = String::from_utf8_lossy(&entry.value);
        format!("{}={value}@{}/{}", entry.key, entry.create_revision, entry.mod_revision)
    });
    entries.collect::<Vec<_>>().join(" ")
}

fn show_batch(batch: &Batch) -> String {
    let changes = batch.changes.iter().map(|change| match change {
        Change::Put(entry) => format!("{}={}", entry.key, String::from_utf8_lossy(&entry.value)),
        Change::Delete { key, previous } => {
            let previous = previous.as_ref().map_or("?".into(), |entry| String::from_utf8_lossy(&entry.value));
            format!("{key}-({previous})")
        }
    });
    format!("{}: {}", batch.revision, changes.collect::<Vec<_>>().join(" "))
}

async fn next(watch: &mut Watch) -> String {
    match watch.next().await {
        Some(Ok(batch)) => show_batch(&batch),
        Some(Err(error)) => format!("{error:?}"),
        None => "end".to_owned(),
    }
}

async fn expectations(fixture: impl Fixture) {
    let store = open(&fixture);
    assert_eq!(try_commit(&store, "a", Expect::Absent, put("a", "1")).await, Ok(Revision(1)));
    let conflict = try_commit(&store, "a", Expect::Absent, put("a", "2")).await;
    let Err(CommitError::Conflict { key, current: Some(current) }) = conflict else { panic!("{conflict:?}") };
    assert_eq!((&*key, &current.value[..], current.mod_revision), ("a", &b"1"[..], Revision(1)));
    assert_eq!(try_commit(&store, "a", Expect::Revision(Revision(1)), put("a", "2")).await, Ok(Revision(2)));
    let stale = try_commit(&store, "a", Expect::Revision(Revision(1)), delete("a")).await;
    assert!(matches!(stale, Err(CommitError::Conflict { .. })), "{stale:?}");
    let absent = try_commit(&store, "b", Expect::Revision(Revision(1)), put("a", "3")).await;
    assert_eq!(absent, Err(CommitError::Conflict { key: "b".into(), current: None }));
    assert_eq!(try_commit(&store, "a", Expect::Revision(Revision(2)), delete("a")).await, Ok(Revision(3)));
    assert_eq!(try_commit(&store, "a", Expect::Absent, put("a", "4")).await, Ok(Revision(4)));
    assert_eq!(show(&store, "").await, "a=4@4/4");
}

async fn several_keys(fixture: impl Fixture) {
    let store = open(&fixture);
    commit(&store, [put("a", "1"), put("b", "1")]).await;
    let expects = vec![("a".into(), Expect::Revision(Revision(1))), ("c".into(), Expect::Revision(Revision(1)))];
    let refused = Commit { expects, ops: vec![put("a", "2"), delete("b")], ..Commit::default() };
    assert!(matches!(store.commit(refused).await, Err(CommitError::Conflict { .. })));
    assert_eq!(show(&store, "").await, "a=1@1/1 b=1@1/1");
    commit(&store, [put("a", "2"), delete("b"), put("c", "2")]).await;
    assert_eq!(show(&store, "").await, "a=2@1/2 c=2@2/2");
}

async fn revisions(fixture: impl Fixture) {
    let store = open(&fixture);
    assert_eq!(store.revision(), Revision(0));
    for expected in 1..=20 {
        let durability = if expected % 3 == 0 { Durability::Relaxed } else { Durability::Durable };
        let commit = Commit { ops: vec![put("a", "x")], durability, ..Commit::default() };
        assert_eq!(store.commit(commit).await, Ok(Revision(expected)));
        assert_eq!(store.revision(), Revision(expected));
    }
    assert_eq!(commit(&store, [delete("absent")]).await, Revision(20), "nothing changed");
    assert_eq!(commit(&store, []).await, Revision(20), "nothing changed");
    assert_eq!(commit(&store, [delete("a"), delete("absent")]).await, Revision(21));
}

async fn ranges(fixture: impl Fixture) {
    let store = open(&fixture);
    commit(&store, [put("/p/a/1", "x"), put("/p/a/2", "x"), put("/p/ab", "x"), put("/q", "x")]).await;
    commit(&store, [delete("/p/a/1"), put("/p/a/é", "x")]).await;
    let check = async |prefix: &str, expected: &str| assert_eq!(show(&store, prefix).await, expected, "{prefix}");
    check("/p/a/", "/p/a/2=x@1/1 /p/a/é=x@2/2").await;
    check("/p/", "/p/a/2=x@1/1 /p/a/é=x@2/2 /p/ab=x@1/1").await;
    check("/r", "").await;
    assert_eq!(store.range("").await.map(|all| (all.revision, all.entries.len())), Ok((Revision(2), 4)));
}

async fn limits(fixture: impl Fixture) {
    let store = open(&fixture);
    let many = |count: usize| (0..count).map(|index| put(&format!("k{index}"), "")).collect::<Vec<_>>();
    assert_eq!(commit(&store, many(MAX_OPS)).await, Revision(1));
    let refused = async |ops: Vec<Op>| store.commit(Commit { ops, ..Commit::default() }).await;
    assert_eq!(refused(many(MAX_OPS + 1)).await, Err(CommitError::TooLarge));
    let value = Bytes::from(vec![0; MAX_COMMIT_BYTES]);
    let large = Op::Put { key: "large".into(), value, ttl: None };
    assert_eq!(refused(vec![large]).await, Err(CommitError::TooLarge));
    assert_eq!(refused(vec![put("a", ""), delete("a")]).await, Err(CommitError::Twice { key: "a".into() }));
    assert_eq!(store.revision(), Revision(1));
}

async fn concurrent_writers(fixture: impl Fixture) {
    const WRITERS: u64 = 16;
    const EACH: u64 = 20;
    let store = open(&fixture);
    let mut watch = store.watch(Revision(0)).expect("nothing is compacted");
    // All count the same key up, each trying again when another was first.
    let writers = (0..WRITERS).map(async |_| {
        for _ in 0..EACH {
            let mut expect = Expect::Absent;
            while let Err(CommitError::Conflict { current, .. }) =
                try_commit(&store, "counter", expect, put("counter", "x")).await
            {
                expect = current.map_or(Expect::Absent, |entry| Expect::Revision(entry.mod_revision));
            }
        }
    });
    futures::future::join_all(writers).await;
    assert_eq!(store.revision(), Revision(WRITERS * EACH));
    for expected in 1..=WRITERS * EACH {
        assert_eq!(next(&mut watch).await, format!("{expected}: counter=x"));
    }
}

async fn watch(fixture: impl Fixture) {
    let store = open(&fixture);
    commit(&store, [put("a", "1")]).await;
    commit(&store, [put("a", "2"), put("b", "2")]).await;
    let mut from_start = store.watch(Revision(0)).expect("nothing is compacted");
    let mut from_one = store.watch(Revision(1)).expect("nothing is compacted");
    let mut from_now = store.watch(Revision(2)).expect("nothing is compacted");
    assert!(matches!(store.watch(Revision(3)), Err(WatchError::Future(Revision(2)))));
    assert_eq!(next(&mut from_start).await, "1: a=1");
    assert_eq!(next(&mut from_start).await, "2: a=2 b=2");
    assert_eq!(next(&mut from_one).await, "2: a=2 b=2");
    let waiting = tokio::spawn(async move { next(&mut from_now).await });
    tokio::task::yield_now().await;
    commit(&store, [delete("a")]).await;
    assert_eq!(waiting.await.expect("the watcher does not panic"), "3: a-(2)");
    assert_eq!(next(&mut from_start).await, "3: a-(2)");
}

/// More than any ring of recent batches holds.
const MANY: u64 = 6000;

async fn slow_watcher(fixture: impl Fixture) {
    let store = open(&fixture);
    let mut slow = store.watch(Revision(0)).expect("nothing is compacted");
    let writes = (0..MANY).map(|index| {
        let ops = vec![put(&format!("k{}", index % 10), "x")];
        store.commit(Commit { ops, durability: Durability::Relaxed, ..Commit::default() })
    });
    let done = futures::stream::iter(writes).buffered(500).collect::<Vec<_>>().await;
    assert!(done.iter().all(Result::is_ok));
    let mut quick = store.watch(Revision(MANY)).expect("nothing is compacted");
    commit(&store, [put("last", "x")]).await;
    assert_eq!(next(&mut quick).await, format!("{}: last=x", MANY + 1));
    for expected in 1..=MANY {
        let batch = slow.next().await.expect("a watch has no end").expect("nothing is compacted");
        assert_eq!((batch.revision, batch.changes.len()), (Revision(expected), 1));
    }
    assert_eq!(next(&mut slow).await, format!("{}: last=x", MANY + 1));
}

async fn compaction(fixture: impl Fixture) {
    let store = open(&fixture);
    commit(&store, [put("a", "1"), put("b", "1")]).await;
    commit(&store, [put("a", "2")]).await;
    commit(&store, [delete("b")]).await;
    commit(&store, [put("a", "4")]).await;
    let mut behind = store.watch(Revision(1)).expect("nothing is compacted");
    assert_eq!(store.compact(Revision(9)).await, Err(StoreError::Future(Revision(9))));
    store.compact(Revision(3)).await.expect("3 is reached");
    assert!(matches!(store.watch(Revision(2)), Err(WatchError::Compacted(Revision(3)))));
    assert_eq!(next(&mut behind).await, "Compacted(Revision(3))");
    assert_eq!(next(&mut behind).await, "end");
    let mut watch = store.watch(Revision(3)).expect("3 is kept");
    assert_eq!(next(&mut watch).await, "4: a=4");
    assert_eq!(show(&store, "").await, "a=4@1/4", "live entries stay");
    store.compact(Revision(2)).await.expect("compacting less again is no error");
    assert!(matches!(store.watch(Revision(2)), Err(WatchError::Compacted(Revision(3)))));
    store.compact(Revision(4)).await.expect("the newest may be compacted");
    assert_eq!(commit(&store, [put("b", "5")]).await, Revision(5));
    assert_eq!(show(&store, "").await, "a=4@1/4 b=5@5/5");
}

async fn ttl(fixture: impl Fixture) {
    let clock = TestClock::default();
    let store = fixture.open(clock.wall());
    let mut watch = store.watch(Revision(0)).expect("nothing is compacted");
    let minute = Duration::from_secs(60);
    commit(&store, [put_for("short", minute), put_for("renewed", minute), put_for("kept", minute)]).await;
    commit(&store, [put_for("renewed", 3 * minute), put("kept", "x")]).await;
    clock.advance(2 * minute);
    // Whatever happens next, what expired goes first.
    commit(&store, [put("other", "x")]).await;
    clock.advance(2 * minute);
    commit(&store, [delete("other")]).await;
    assert_eq!(next(&mut watch).await, "1: short=short-lived renewed=short-lived kept=short-lived");
    assert_eq!(next(&mut watch).await, "2: renewed=short-lived kept=x");
    assert_eq!(next(&mut watch).await, "3: short-(short-lived)");
    assert_eq!(next(&mut watch).await, "4: other=x");
    assert_eq!(next(&mut watch).await, "5: renewed-(short-lived)");
    assert_eq!(show(&store, "").await, "kept=x@1/2");
}

async fn ttl_wakes(fixture: impl Fixture) {
    #[expect(clippy::disallowed_methods, reason = "expiry must come by itself, in real time")]
    let store = fixture.open(Arc::new(SystemTime::now));
    let mut watch = store.watch(Revision(0)).expect("nothing is compacted");
    commit(&store, [put_for("a", Duration::from_millis(20)), put_for("b", Duration::from_secs(3600))]).await;
    assert_eq!(next(&mut watch).await, "1: a=short-lived b=short-lived");
    assert_eq!(next(&mut watch).await, "2: a-(short-lived)");
}

async fn closing(fixture: impl Fixture) {
    let store = open(&fixture);
    let mut watch = store.watch(Revision(0)).expect("nothing is compacted");
    commit(&store, [put("a", "1")]).await;
    store.close().await;
    store.close().await;
    assert_eq!(next(&mut watch).await, "1: a=1");
    assert_eq!(next(&mut watch).await, "Closed");
    let late = store.commit(Commit::put("a".into(), Bytes::new(), None)).await;
    assert_eq!(late, Err(CommitError::Closed));
    assert_eq!(store.range("").await, Err(StoreError::Closed));
    assert_eq!(store.compact(Revision(1)).await, Err(StoreError::Closed));
    assert!(matches!(store.watch(Revision(1)), Err(WatchError::Closed)));
}

async fn reopening(fixture: impl Fixture) {
    let store = open(&fixture);
    commit(&store, [put("a", "1"), put("b", "1")]).await;
    commit(&store, [put("a", "2"), delete("b")]).await;
    let relaxed = Commit { ops: vec![put("c", "3")], durability: Durability::Relaxed, ..Commit::default() };
    assert_eq!(store.commit(relaxed).await, Ok(Revision(3)));
    store.close().await;
    let store = open(&fixture);
    assert_eq!(store.revision(), Revision(3));
    assert_eq!(show(&store, "").await, "a=2@1/2 c=3@3/3");
    assert_eq!(try_commit(&store, "b", Expect::Absent, put("b", "4")).await, Ok(Revision(4)));
    commit(&store, [delete("b")]).await;
    store.compact(Revision(5)).await.expect("5 is reached");
    store.close().await;
    let store = open(&fixture);
    assert_eq!(store.revision(), Revision(5), "also where its row is compacted");
    assert!(matches!(store.watch(Revision(4)), Err(WatchError::Compacted(Revision(5)))));
    assert_eq!(commit(&store, [put("d", "6")]).await, Revision(6));
}

async fn ttl_across_reopening(fixture: impl Fixture) {
    let clock = TestClock::default();
    let store = fixture.open(clock.wall());
    commit(&store, [put_for("a", Duration::from_secs(60)), put_for("b", Duration::from_secs(600))]).await;
    store.close().await;
    clock.advance(Duration::from_secs(120));
    let store = fixture.open(clock.wall());
    let mut watch = store.watch(Revision(1)).expect("nothing is compacted");
    assert_eq!(next(&mut watch).await, "2: a-(short-lived)");
    assert_eq!(show(&store, "").await, "b=short-lived@1/1");
}

async fn watch_across_reopening(fixture: impl Fixture) {
    let store = open(&fixture);
    commit(&store, [put("a", "1")]).await;
    commit(&store, [put("a", "2"), put("b", "2")]).await;
    commit(&store, [delete("a")]).await;
    store.close().await;
    let store = open(&fixture);
    let mut watch = store.watch(Revision(1)).expect("nothing is compacted");
    commit(&store, [put("c", "4")]).await;
    assert_eq!(next(&mut watch).await, "2: a=2 b=2");
    assert_eq!(next(&mut watch).await, "3: a-(2)");
    assert_eq!(next(&mut watch).await, "4: c=4");
}
