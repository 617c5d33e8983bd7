//! Waiting on conditions.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::bail;

const DEADLINE: Duration = Duration::from_secs(90);
const PERIOD: Duration = Duration::from_millis(20);

/// What `look` gives once it gives something; fails with the last state that it saw instead. `Ok` is what was waited for, `Err` the state
/// that is not yet it.
pub async fn eventually<T, S: Debug>(what: &str, mut look: impl AsyncFnMut() -> Result<T, S>) -> anyhow::Result<T> {
    let mut ticks = tokio::time::interval(PERIOD);
    let deadline = tokio::time::sleep(DEADLINE);
    tokio::pin!(deadline);
    let mut last = None;
    loop {
        tokio::select! {
            biased;
            () = &mut deadline => bail!("{what}: not within {DEADLINE:?}; last seen: {last:#?}"),
            _ = ticks.tick() => match look().await {
                Ok(found) => return Ok(found),
                Err(state) => last = Some(state),
            },
        }
    }
}
