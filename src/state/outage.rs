//! The reaction to each kind of failure: how long the flusher waits, whether it reopens the backend, and from when on
//! the failure counts.

use super::health::Health;
use crate::error::ErrorKind;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// Returns the first wait after a failure of this kind and the longest; each wait is twice the one before.
fn backoff(kind: ErrorKind) -> (Duration, Duration) {
    let (first, longest) = match kind {
        ErrorKind::Busy | ErrorKind::OutOfMemory => (50, 2_000),
        ErrorKind::DiskFull => (1_000, 30_000),
        ErrorKind::Corrupt => (100, 30_000),
        _ => (250, 10_000),
    };
    (Duration::from_millis(first), Duration::from_millis(longest))
}

/// Whether the backend must be reopened before the next try.
pub(crate) fn needs_reopen(kind: ErrorKind) -> bool {
    !matches!(kind, ErrorKind::Busy | ErrorKind::DiskFull | ErrorKind::OutOfMemory | ErrorKind::Corrupt)
}

/// Returns the number of failures in a row that are contention, and no failure yet.
fn tolerated(kind: ErrorKind) -> u32 {
    if kind == ErrorKind::Busy { 2 } else { 0 }
}

/// What the flusher asks of the backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FailedStep {
    Commit,
    Tidy,
    Close,
    /// Nothing: the upkeep has panicked.
    Upkeep,
}

impl FailedStep {
    pub(crate) fn name(self) -> &'static str {
        match self {
            FailedStep::Commit => "commit",
            FailedStep::Tidy => "tidy",
            FailedStep::Close => "close",
            FailedStep::Upkeep => "upkeep",
        }
    }
}

/// Flushes that fail, from the first on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outage {
    pub(crate) kind: ErrorKind,
    pub(crate) since: Instant,
    pub(crate) attempts: u32,
    pub(crate) retry_at: Instant,
    /// It has gone beyond contention, and stays so until it ends, whatever fails next.
    is_reportable: bool,
    /// It has just begun to count, or fails in another way than before.
    pub(crate) is_new_kind: bool,
    /// What failed: its own success ends the trouble, that of another step does not.
    pub(crate) step: FailedStep,
}

impl Outage {
    /// One more failure.
    pub(crate) fn after(earlier: Option<Outage>, kind: ErrorKind, step: FailedStep) -> Self {
        let now = Instant::now();
        let since = earlier.map_or(now, |outage| outage.since);
        let attempts = earlier.map_or(0, |outage| outage.attempts).saturating_add(1);
        let (first, longest) = backoff(kind);
        let wait = first.saturating_mul(1 << (attempts - 1).min(16)).min(longest);
        let told = earlier.filter(Outage::is_reportable).map(|outage| outage.kind);
        let counts = told.is_some() || attempts > tolerated(kind);
        let is_news = counts && told != Some(kind);
        Self {
            kind,
            since,
            attempts,
            retry_at: now + jittered(wait),
            is_reportable: counts,
            is_new_kind: is_news,
            step,
        }
    }

    /// Whether it has gone beyond contention.
    pub(crate) fn is_reportable(&self) -> bool {
        self.is_reportable
    }

    pub(crate) fn health(&self, writes_refused: bool) -> Option<Health> {
        let degraded = Health::Degraded {
            kind: self.kind,
            since: self.since.elapsed(),
            attempts: self.attempts,
            is_upkeep: self.step == FailedStep::Upkeep,
            writes_refused,
        };
        self.is_reportable().then_some(degraded)
    }
}

/// Three to five quarters of a wait, so that two processes don't meet again and again.
fn jittered(wait: Duration) -> Duration {
    // Its keys are random, and others each time; a clock's last digits are not where the wait begins with it.
    let random = RandomState::new().hash_one(()) % 1_024;
    wait - wait / 4 + wait / 2 / 1_024 * random as u32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{FailedStep, Health, Outage};
    use crate::error::ErrorKind;
    use std::time::Instant;

    /// How long each of so many failures in a row makes the flusher wait, in milliseconds.
    fn waits(kind: ErrorKind, failures: usize) -> Vec<u128> {
        let mut outage = None;
        let tried = (0..failures).map(|_| {
            let at = Instant::now();
            let next = Outage::after(outage, kind, FailedStep::Commit);
            outage = Some(next);
            next.retry_at.duration_since(at).as_millis()
        });
        tried.collect()
    }

    #[test]
    fn each_failure_in_a_row_makes_the_wait_twice_as_long_up_to_a_bound() {
        let double = |first: u128, longest: u128| {
            let each = move |n: u32| (first << n.min(16)).min(longest);
            (0..40).map(each).collect::<Vec<_>>()
        };
        for (kind, expected) in [
            (ErrorKind::Busy, double(50, 2_000)),
            (ErrorKind::OutOfMemory, double(50, 2_000)),
            (ErrorKind::DiskFull, double(1_000, 30_000)),
            (ErrorKind::Corrupt, double(100, 30_000)),
            (ErrorKind::Io, double(250, 10_000)),
            (ErrorKind::Panicked, double(250, 10_000)),
        ] {
            for (found, expected) in waits(kind, 40).into_iter().zip(expected) {
                // Three to five quarters, and a little for this thread to come back.
                let bounds = expected * 3 / 4..=expected * 5 / 4 + 100;
                assert!(bounds.contains(&found), "{kind:?}: {found} ms for {expected}");
            }
        }
    }

    /// Health stays what it was told to be, and each kind is told once in a row.
    #[test]
    fn trouble_that_counts_goes_on_counting_and_is_news_when_its_kind_changes() {
        use ErrorKind::{Busy, DiskFull, Io};
        let mut outage = None;
        // Contention that comes second would be tolerated, were it not for what came first.
        let told = [DiskFull, Busy, Busy, DiskFull, DiskFull, Io].map(|kind| {
            let now = Outage::after(outage, kind, FailedStep::Commit);
            outage = Some(now);
            (now.is_reportable(), now.is_new_kind, now.health(false).is_some())
        });
        let (news, known) = ((true, true, true), (true, false, true));
        assert_eq!(told, [news, news, known, news, known, news]);
    }

    /// Two processes that fail together do not meet again and again.
    #[test]
    fn waits_are_spread_over_half_of_their_length() {
        let all: Vec<_> = (0..2_000).flat_map(|_| waits(ErrorKind::DiskFull, 1)).collect();
        let below = all.iter().filter(|wait| **wait < 900).count();
        let above = all.iter().filter(|wait| **wait > 1_100).count();
        assert!(below > 100 && above > 100, "{below} and {above} of {}", all.len());
    }

    #[test]
    fn contention_is_no_failure_before_the_third_in_a_row() {
        for (kind, counts_from) in [(ErrorKind::Busy, 3), (ErrorKind::DiskFull, 1), (ErrorKind::Panicked, 1)]
        {
            let mut outage = None;
            let first = Instant::now();
            for failures in 1..5 {
                let now = Outage::after(outage, kind, FailedStep::Commit);
                outage = Some(now);
                assert_eq!(now.is_reportable(), failures >= counts_from);
                let Some(Health::Degraded { kind: told, since, attempts, .. }) = now.health(false) else {
                    assert!(failures < counts_from, "{failures} of {kind:?}");
                    continue;
                };
                assert_eq!((told, attempts), (kind, failures));
                assert!(since <= first.elapsed() && now.since >= first, "since the first of them");
            }
        }
    }
}
