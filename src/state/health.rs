//! Health of a store, as a word or a sentence.

use crate::error::ErrorKind;
use std::fmt;
use std::time::Duration;

/// Health of the store, computed when requested, so that it never looks better than it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Health {
    /// Flushes succeed, and no unflushed change is older than the [bound](crate::StoreBuilder::lag_bound).
    Healthy,
    /// No flush has failed, but the oldest unflushed change is older than the bound.
    #[non_exhaustive]
    Lagging {
        /// Age of the oldest unflushed change.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
        oldest: Duration,
        /// Whether writes are rejected until flushes have caught up, because the store was opened with
        /// [`LagPolicy::RejectWrites`](crate::LagPolicy::RejectWrites).
        writes_refused: bool,
    },
    /// The last flush failed: changes are kept in memory and flushed again, and writes continue. Or the
    /// [upkeep](crate::StoreBuilder::upkeep) has panicked, and is tried again when it is next due.
    #[non_exhaustive]
    Degraded {
        /// Kind of the error.
        kind: ErrorKind,
        /// Time for which flushes have failed.
        #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
        since: Duration,
        /// Number of attempts since then.
        attempts: u32,
        /// Whether the upkeep has failed in this way, while flushes succeed.
        is_upkeep: bool,
        /// Whether writes are nevertheless rejected, because the store was opened with
        /// [`LagPolicy::RejectWrites`](crate::LagPolicy::RejectWrites) and the oldest unflushed change is older than
        /// the bound.
        writes_refused: bool,
    },
    /// The store is closed.
    Closed,
}

impl Health {
    /// Whether the store accepts writes: the answer for a readiness probe.
    ///
    /// A store that lags, or whose disk fails, accepts writes: they go to memory, and pending changes are kept and
    /// flushed again. A store is not ready once it is closed, or while it rejects writes because it was opened with
    /// [`LagPolicy::RejectWrites`](crate::LagPolicy::RejectWrites). A probe that is to fail as soon as the disk is
    /// behind should check for [`Healthy`](Self::Healthy) instead.
    ///
    /// ```
    /// use mnemon::{Health, TraceStore};
    ///
    /// let store = TraceStore::in_memory();
    /// let health = store.health();
    /// let (status, body) = if health.is_ready() { (200, health.to_string()) } else { (503, health.to_string()) };
    /// assert_eq!((status, body.as_str()), (200, "healthy"));
    /// assert_eq!(health, Health::Healthy); // and nothing is older than the bound
    ///
    /// store.clone().close()?;
    /// assert!(!store.health().is_ready());
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    pub fn is_ready(&self) -> bool {
        match self {
            Health::Healthy => true,
            Health::Lagging { writes_refused, .. } | Health::Degraded { writes_refused, .. } => {
                !writes_refused
            }
            Health::Closed => false,
        }
    }

    /// The [`name`](Self::name) of each state.
    #[cfg(all(feature = "metrics", not(loom)))]
    pub(crate) const NAMES: [&'static str; 4] = ["healthy", "lagging", "degraded", "closed"];

    /// Returns the state as one word.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Lagging { .. } => "lagging",
            Health::Degraded { .. } => "degraded",
            Health::Closed => "closed",
        }
    }
}

/// Writes one line for people: the state, its duration and cause, and whether writes are accepted.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self {
            Health::Healthy => Ok(()),
            Health::Lagging { oldest, writes_refused } => {
                write!(f, ": the oldest unflushed change is {oldest:.1?} old; {}", writes(*writes_refused))
            }
            Health::Degraded { kind, since, attempts, is_upkeep, writes_refused } => {
                let what = if *is_upkeep { "the upkeep has" } else { "flushes have" };
                let tries = if *attempts == 1 { "try" } else { "tries" };
                let writes = writes(*writes_refused);
                write!(f, ": {what} failed for {since:.1?}, {attempts} {tries} ({kind}); {writes}")
            }
            Health::Closed => f.write_str(": writes are refused"),
        }
    }
}

fn writes(refused: bool) -> &'static str {
    if refused { "writes are refused until it has caught up" } else { "writes are taken and kept in memory" }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{ErrorKind, Health};
    use std::time::Duration;

    #[test]
    fn each_state_says_in_a_line_what_a_person_needs_to_know() {
        let (oldest, kind) = (Duration::from_millis(12_340), ErrorKind::DiskFull);
        let degraded = |attempts, is_upkeep, writes_refused| Health::Degraded {
            kind,
            since: oldest,
            attempts,
            is_upkeep,
            writes_refused,
        };
        let lagging = |writes_refused| Health::Lagging { oldest, writes_refused };
        let old = "the oldest unflushed change is 12.3s old";
        let (taken, refused) =
            ("writes are taken and kept in memory", "writes are refused until it has caught up");
        for (health, ready, line) in [
            (Health::Healthy, true, "healthy".to_owned()),
            (lagging(false), true, format!("lagging: {old}; {taken}")),
            (lagging(true), false, format!("lagging: {old}; {refused}")),
            (
                degraded(1, false, false),
                true,
                format!("degraded: flushes have failed for 12.3s, 1 try (disk full); {taken}"),
            ),
            (
                degraded(3, false, true),
                false,
                format!("degraded: flushes have failed for 12.3s, 3 tries (disk full); {refused}"),
            ),
            (
                degraded(2, true, false),
                true,
                format!("degraded: the upkeep has failed for 12.3s, 2 tries (disk full); {taken}"),
            ),
            (Health::Closed, false, "closed: writes are refused".to_owned()),
        ] {
            assert_eq!((health.to_string(), health.is_ready()), (line, ready));
        }
    }
}
