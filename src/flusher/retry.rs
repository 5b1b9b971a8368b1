//! What each class of failure gets: how long the flusher waits, whether the connection is doubtful, and
//! from when on it counts as trouble.

use super::telemetry::Health;
use crate::backend::ErrorClass;
use crate::error::ErrorKind;
use std::time::{Duration, Instant};

/// Why the last flush failed, to the flusher.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cause {
    Class(ErrorClass),
    Panic,
}

impl Cause {
    pub(super) fn kind(self) -> ErrorKind {
        match self {
            Cause::Class(class) => class.into(),
            Cause::Panic => ErrorKind::Panicked,
        }
    }

    /// The first wait and the longest; each wait is twice the one before.
    fn waits(self) -> (Duration, Duration) {
        let (first, longest) = match self {
            Cause::Class(ErrorClass::Busy | ErrorClass::Memory) => (50, 2_000),
            Cause::Class(ErrorClass::Full) => (1_000, 30_000),
            Cause::Class(ErrorClass::Corrupt) => (100, 30_000),
            _ => (250, 10_000),
        };
        (Duration::from_millis(first), Duration::from_millis(longest))
    }

    /// Whether the backend must be reopened before the next try.
    pub(super) fn makes_doubtful(self) -> bool {
        !matches!(
            self,
            Cause::Class(ErrorClass::Busy | ErrorClass::Full | ErrorClass::Memory | ErrorClass::Corrupt)
        )
    }

    /// How many failures in a row are contention, and no failure yet.
    fn tolerated(self) -> u32 {
        match self {
            Cause::Class(ErrorClass::Busy) => 2,
            _ => 0,
        }
    }
}

/// What the flusher asks of the backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    Commit,
    Tidy,
    Close,
}

/// Flushes that fail, from the first on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trouble {
    cause: Cause,
    since: Instant,
    attempts: u32,
    pub(super) retry_at: Instant,
    /// What failed: its own success ends the trouble, that of another step does not.
    pub(super) step: Step,
}

impl Trouble {
    /// One more failure.
    pub(super) fn after(earlier: Option<Trouble>, cause: Cause, step: Step) -> Self {
        let now = Instant::now();
        let since = earlier.map_or(now, |trouble| trouble.since);
        let attempts = earlier.map_or(0, |trouble| trouble.attempts).saturating_add(1);
        let (first, longest) = cause.waits();
        let wait = first.saturating_mul(1 << (attempts - 1).min(16)).min(longest);
        Self { cause, since, attempts, retry_at: now + jittered(wait, since), step }
    }

    /// Whether it has gone beyond contention.
    pub(super) fn counts(&self) -> bool {
        self.attempts > self.cause.tolerated()
    }

    pub(super) fn health(&self) -> Option<Health> {
        let degraded = Health::Degraded {
            kind: self.cause.kind(),
            since: self.since.elapsed(),
            attempts: self.attempts,
        };
        self.counts().then_some(degraded)
    }
}

/// Three to five quarters of a wait, so that two processes don't meet again and again. The clock's last
/// digits are random enough.
fn jittered(wait: Duration, since: Instant) -> Duration {
    let quarter = u64::try_from(wait.as_micros() / 4).unwrap_or(u64::MAX).max(1);
    let random = since.elapsed().as_nanos() as u64 ^ u64::from(std::process::id());
    wait - wait / 4 + Duration::from_micros(random % (2 * quarter))
}
