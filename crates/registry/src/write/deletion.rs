//! What a deletion does to an object: decided purely.

use jiff::{SignedDuration, Timestamp};
use kinds::Rules;
use meta::{DeleteOptions, Propagation, format_time, parse_time};
use serde_json::{Value, json};

use super::fields::{child, metadata, put, set_finalizers, text, texts};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What happens to an object that shall be deleted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Deletion {
    /// It goes at once.
    Remove,
    /// Its deletion is under way, and this changes nothing.
    Pending,
    /// It becomes this, and goes later.
    Mark(Value),
}

/// Decides it for all kinds but namespaces.
pub(crate) fn plan(object: &Value, rules: &dyn Rules, options: &DeleteOptions, now: Timestamp) -> Deletion {
    let mut marked = object.clone();
    let graceful = match mark(&mut marked, rules, options, now) {
        Marked::Pending => return Deletion::Pending,
        Marked::Not => None,
        Marked::Seconds(seconds) => Some(seconds),
    };
    let finalizers = finalizers(object, rules.default_propagation(), options.propagation);
    set_finalizers(&mut marked, &finalizers);
    match graceful {
        None | Some(0) if finalizers.is_empty() => Deletion::Remove,
        None => {
            mark_at(&mut marked, now, 0);
            changed(object, marked)
        }
        Some(_) => changed(object, marked),
    }
}

/// Decides it for a namespace that its own finalizers still hold.
pub(crate) fn plan_namespace(object: &Value, options: &DeleteOptions, now: Timestamp) -> Deletion {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Deletion::Pending;
    }
    let mut marked = object.clone();
    metadata(&mut marked).insert("deletionTimestamp".to_owned(), json!(format_time(now)));
    child(&mut marked, "status").insert("phase".to_owned(), json!("Terminating"));
    set_finalizers(&mut marked, &finalizers(object, Propagation::Background, options.propagation));
    Deletion::Mark(marked)
}

fn changed(old: &Value, new: Value) -> Deletion {
    if *old == new { Deletion::Pending } else { Deletion::Mark(new) }
}

enum Marked {
    Not,
    Pending,
    Seconds(i64),
}

fn mark(object: &mut Value, rules: &dyn Rules, options: &DeleteOptions, now: Timestamp) -> Marked {
    let wish = options.grace_period_seconds.map(|seconds| if seconds < 0 { 1 } else { seconds });
    let Some(default) = rules.grace_period(object) else { return Marked::Not };
    if let Some(at) = object.pointer("/metadata/deletionTimestamp").and_then(Value::as_str).and_then(parse_time) {
        let period = object.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or(0);
        return match wish {
            _ if period == 0 => Marked::Not,
            Some(wish) if wish < period => Marked::Seconds(shorten(object, at, period, wish, now)),
            Some(_) | None => Marked::Pending,
        };
    }
    // Compat: what never ran, or has ended, has nobody to say goodbye to.
    let idle =
        text(object, "/spec/nodeName").is_empty() || matches!(text(object, "/status/phase"), "Succeeded" | "Failed");
    let seconds = if idle { 0 } else { wish.unwrap_or(default) };
    mark_at(object, now + SignedDuration::from_secs(seconds), seconds);
    Marked::Seconds(seconds)
}

/// Moves the end of a deletion under way nearer, but not before now.
fn shorten(object: &mut Value, at: Timestamp, period: i64, wish: i64, now: Timestamp) -> i64 {
    let at = at - SignedDuration::from_secs(period) + SignedDuration::from_secs(wish);
    let (at, seconds) = if at < now { (now, wish.min(1)) } else { (at, wish) };
    let metadata = metadata(object);
    metadata.insert("deletionTimestamp".to_owned(), json!(format_time(at)));
    metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(seconds));
    seconds
}

/// Marks an object as being deleted, unless it is.
fn mark_at(object: &mut Value, at: Timestamp, seconds: i64) {
    let metadata = metadata(object);
    if metadata.contains_key("deletionTimestamp") {
        return;
    }
    metadata.insert("deletionTimestamp".to_owned(), json!(format_time(at)));
    metadata.insert("deletionGracePeriodSeconds".to_owned(), json!(seconds));
    let generation = metadata.get("generation").and_then(Value::as_i64).filter(|generation| *generation > 0);
    if let Some(generation) = generation {
        put(metadata, "generation", Some(json!(generation + 1)));
    }
}

/// The finalizers that make the garbage collector treat dependents as asked.
fn finalizers(object: &Value, default: Propagation, asked: Option<Propagation>) -> Vec<String> {
    let own = texts(object, "/metadata/finalizers");
    let has = |name: &str| own.iter().any(|own| own == name);
    let propagation = match asked {
        Some(asked) => asked,
        None if has(ORPHAN) => Propagation::Orphan,
        None if has(FOREGROUND) => Propagation::Foreground,
        None => default,
    };
    let wanted = match propagation {
        Propagation::Orphan => Some(ORPHAN),
        Propagation::Foreground => Some(FOREGROUND),
        Propagation::Background => None,
    };
    if wanted.is_some_and(has) && !(has(ORPHAN) && has(FOREGROUND)) {
        return own;
    }
    let others = own.iter().filter(|name| *name != ORPHAN && *name != FOREGROUND).cloned();
    others.chain(wanted.map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Kind(Option<i64>);

    impl Rules for Kind {
        fn row(&self, _: &Value, _: i64) -> Vec<Value> {
            Vec::new()
        }

        fn grace_period(&self, _: &Value) -> Option<i64> {
            self.0
        }
    }

    /// What becomes of the metadata: `None` where the object goes at once, the same where nothing happens.
    fn check(default: Option<i64>, object: Value, options: DeleteOptions, expected: Option<Value>) {
        let now = parse_time("2026-01-01T00:00:10Z").expect("a time");
        let found = match plan(&object, &Kind(default), &options, now) {
            Deletion::Remove => None,
            Deletion::Pending => Some(object["metadata"].clone()),
            Deletion::Mark(marked) => Some(marked["metadata"].clone()),
        };
        assert_eq!(found, expected, "{object} {options:?}");
    }

    fn grace(seconds: i64) -> DeleteOptions {
        DeleteOptions { grace_period_seconds: Some(seconds), ..DeleteOptions::default() }
    }

    fn to(propagation: Propagation) -> DeleteOptions {
        DeleteOptions { propagation: Some(propagation), ..DeleteOptions::default() }
    }

    #[test]
    fn a_pod_gets_the_time_it_was_promised() {
        let running = |metadata: Value| json!({"metadata": metadata, "spec": {"nodeName": "n"}});
        let until = |at: &str, seconds: i64| json!({"deletionTimestamp": at, "deletionGracePeriodSeconds": seconds});
        check(Some(30), json!({"metadata": {}}), DeleteOptions::default(), None);
        check(Some(30), running(json!({})), grace(0), None);
        check(Some(30), running(json!({})), DeleteOptions::default(), Some(until("2026-01-01T00:00:40Z", 30)));
        check(Some(30), running(json!({})), grace(5), Some(until("2026-01-01T00:00:15Z", 5)));
        let going = || running(until("2026-01-01T00:00:35Z", 30));
        check(Some(30), going(), DeleteOptions::default(), Some(going()["metadata"].clone()));
        check(Some(30), going(), grace(60), Some(going()["metadata"].clone()));
        check(Some(30), going(), grace(20), Some(until("2026-01-01T00:00:25Z", 20)));
        check(Some(30), going(), grace(3), Some(until("2026-01-01T00:00:10Z", 1)));
        check(Some(30), going(), grace(0), None);
    }

    #[test]
    fn finalizers_keep_an_object() {
        let marked = |finalizers: Value, generation: i64| {
            json!({"deletionTimestamp": "2026-01-01T00:00:10Z", "deletionGracePeriodSeconds": 0,
                "finalizers": finalizers, "generation": generation})
        };
        let object = |finalizers: Value| json!({"metadata": {"generation": 1, "finalizers": finalizers}});
        check(None, object(json!([])), DeleteOptions::default(), None);
        check(None, object(json!(["a"])), DeleteOptions::default(), Some(marked(json!(["a"]), 2)));
        check(None, object(json!([])), to(Propagation::Foreground), Some(marked(json!(["foregroundDeletion"]), 2)));
        check(
            None,
            object(json!(["a", "orphan"])),
            to(Propagation::Foreground),
            Some(marked(json!(["a", "foregroundDeletion"]), 2)),
        );
        check(None, object(json!(["orphan"])), to(Propagation::Background), None);
        let going = json!({"metadata": marked(json!(["a"]), 2)});
        check(None, going.clone(), DeleteOptions::default(), Some(going["metadata"].clone()));
    }
}
