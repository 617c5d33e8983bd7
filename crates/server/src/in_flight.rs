//! How many requests run at once: what comes beyond that is told to come again.

use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::RETRY_AFTER;
use http::{HeaderValue, Response, StatusCode};

use crate::response::{Body, page};

/// Reads at once. Compat: upstream's default.
const READS: usize = 400;
/// Writes at once. Compat: upstream's default.
const WRITES: usize = 200;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Read,
    Write,
}

/// Counts the requests that run.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    reads: AtomicUsize,
    writes: AtomicUsize,
}

/// One request's place; given back with it.
#[derive(Debug)]
pub(crate) struct Seat<'a>(&'a AtomicUsize);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl InFlight {
    fn count(&self, sort: Sort) -> (&AtomicUsize, usize) {
        match sort {
            Sort::Read => (&self.reads, READS),
            Sort::Write => (&self.writes, WRITES),
        }
    }

    /// A place for one more request, if there is one; those that are exempt always find one.
    pub(crate) fn take(&self, sort: Sort, exempt: bool) -> Option<Seat<'_>> {
        let (count, most) = self.count(sort);
        let before = count.fetch_add(1, Ordering::Relaxed);
        let seat = Seat(count);
        (exempt || before < most).then_some(seat)
    }

    /// How many run.
    pub(crate) fn running(&self, sort: Sort) -> usize {
        self.count(sort).0.load(Ordering::Relaxed)
    }
}

/// What is said to those who find no place.
pub(crate) fn too_many() -> Response<Body> {
    let mut response = page(StatusCode::TOO_MANY_REQUESTS, "Too many requests, please try again later.");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let running = InFlight::default();
        let mut seats: Vec<_> = (0..WRITES).map(|_| running.take(Sort::Write, false).expect("a place")).collect();
        assert!(running.take(Sort::Write, false).is_none());
        assert!(running.take(Sort::Write, true).is_some() && running.take(Sort::Read, false).is_some());
        seats.pop();
        assert!(running.take(Sort::Write, false).is_some());
        drop(seats);
        assert_eq!(running.running(Sort::Write), 0);
    }
}
