//! Answers of other servers, for as long as they hold.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::RData;
use tokio::time::Instant;

/// So many answers are kept.
const SIZE: usize = 10_000;
/// No answer is kept longer than this, and none that there is nothing longer than that.
const LONGEST: (u32, u32) = (3600, 30);

/// The cache. Times are those of the runtime's clock.
#[derive(Debug, Default)]
pub(crate) struct Cache(Mutex<HashMap<Query, Kept>>);

#[derive(Clone, Debug)]
struct Kept {
    answer: Message,
    since: Instant,
    until: Instant,
}

impl Cache {
    /// The answer to a question, with what is left of its time.
    pub(crate) fn get(&self, query: &Query, now: Instant) -> Option<Message> {
        let kept = self.lock().get(query).filter(|kept| now < kept.until).cloned()?;
        let age = u32::try_from(now.duration_since(kept.since).as_secs()).unwrap_or(u32::MAX);
        let mut answer = kept.answer;
        for record in answer.answers.iter_mut().chain(&mut answer.authorities).chain(&mut answer.additionals) {
            record.ttl = record.ttl.saturating_sub(age);
        }
        Some(answer)
    }

    /// Keeps an answer.
    pub(crate) fn put(&self, query: &Query, answer: &Message, now: Instant) {
        let Some(seconds) = lifetime(answer).filter(|seconds| *seconds > 0) else { return };
        let mut all = self.lock();
        if all.len() >= SIZE {
            all.retain(|_, kept| now < kept.until);
        }
        if all.len() >= SIZE {
            all.clear();
        }
        let until = now + Duration::from_secs(seconds.into());
        all.insert(query.clone(), Kept { answer: answer.clone(), since: now, until });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Query, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many seconds an answer holds; `None` for one that is not to be kept.
fn lifetime(answer: &Message) -> Option<u32> {
    let nothing = answer.answers.is_empty();
    let fine = matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain);
    if !fine || answer.metadata.truncation {
        return None;
    }
    if nothing {
        let soa = answer.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
        return soa.map(|seconds| seconds.min(LONGEST.1));
    }
    answer.answers.iter().map(|record| record.ttl.min(LONGEST.0)).min()
}
