//! The seed of a test that draws what it does.

use std::hash::{BuildHasher, RandomState};

use anyhow::Context;

/// Names the seed of an earlier run.
const VARIABLE: &str = "MINKE_TEST_SEED";

/// The seed that the environment gives, else a new one; prints it, so that a run that failed can be repeated.
#[expect(clippy::disallowed_methods, reason = "tests have no command line of their own")]
pub fn seed() -> anyhow::Result<u64> {
    let seed = match std::env::var(VARIABLE) {
        Ok(text) => text.parse().with_context(|| format!("read {VARIABLE}={text}"))?,
        Err(_) => RandomState::new().hash_one(VARIABLE),
    };
    eprintln!("{VARIABLE}={seed}");
    Ok(seed)
}
