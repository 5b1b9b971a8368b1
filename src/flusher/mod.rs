//! The flusher: the one thread that cuts, captures, applies and retries.
//!
//! It owns the backend, the right to cut, and everything captured and not yet committed. Writers never wait for it;
//! callers of flush and close wait for the watermark that it publishes. No panic ends its thread: each call of the
//! host's code is [guarded](crate::guarded), and a backend that panics gives its batch back. If a turn panics all the
//! same, everybody who waits is told at once, health says so, and the next turn captures everything again.
//!
//! - [`run`](mod@run): the loop, and what is due next;
//! - [`flush`]: one flush, from the cut to the watermark; [`pending`] and [`links`]: what it captures; [`settle`]: what
//!   follows for each key;
//! - [`recover`]: what follows a failure; [`close`], [`compact`] and [`maintain`]: closing, and work between flushes;
//! - [`guarded_backend`]: calls of the backend, which may panic;
//! - [`events`]: `tracing` spans and events.
//!
//! What it shares with the threads of the host is in [`state`](crate::state).

mod close;
mod compact;
mod events;
mod flush;
mod guarded_backend;
mod links;
mod maintain;
mod pending;
mod recover;
mod run;
mod settle;

pub(crate) use run::run;

use self::links::PendingLink;
use self::pending::Pending;
use crate::backend::{Backend, RowNumber, Space};
use crate::protocol::Reached;
use crate::state::{Erasure, State};
use crate::trace::{LinkKey, TraceId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use compact::Compaction;
use settle::Committed;

/// The flusher's own state. Nothing here is dropped before it is committed: a batch that fails stays in `pending`, and
/// what is committed and not known to be durable stays in `unsynced`.
pub(crate) struct Flusher {
    state: Arc<State>,
    backend: Box<dyn Backend>,
    /// Captured and not committed, in the order of rows.
    pending: Vec<Pending>,
    /// The same, in the order of ids.
    pending_links: Vec<PendingLink>,
    pending_erasures: Vec<Erasure>,
    /// Committed, the newest last.
    unsettled: Vec<Committed>,
    /// When the oldest of these changes was made.
    pending_since: Option<Instant>,
    /// With whether another trace of that id had the row, or may have had it.
    unsynced: BTreeMap<RowNumber, (TraceId, bool)>,
    unsynced_links: BTreeSet<LinkKey>,
    /// The newest cut, and how far the backend has committed.
    cut: u64,
    committed: Reached,
    last_row: RowNumber,
    /// The backend must be reopened before it is used again.
    needs_reopen: bool,
    /// What the backend holds is damaged and must be replaced.
    needs_replace: bool,
    /// Somebody else has changed it, and it could not be compared with memory yet.
    #[cfg_attr(
        not(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom))),
        allow(dead_code, reason = "a spill asks for it")
    )]
    uncompared: bool,
    /// Everything is pending again, which may be nothing: the backend is told the watermark all the same.
    must_write: bool,
    /// A turn has panicked: what is pending may be incomplete, so everything is captured again.
    must_recapture_all: bool,
    pub(super) last_flush: Instant,
    compaction: Compaction,
    /// As of the last housekeeping.
    space: Space,
    /// Another owner has what the backend had.
    is_lost: bool,
    /// See [`Backend::tidy_interval`].
    tidy_interval: Option<Duration>,
    #[cfg(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom)))]
    spills: Option<SpillWriter>,
}

/// Writes a spill; returns the path of its file.
#[cfg(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom)))]
pub(crate) type SpillWriter = Box<dyn Fn(crate::archive::Spill) -> crate::Result<std::path::PathBuf> + Send>;

impl Flusher {
    pub(crate) fn new(
        state: Arc<State>,
        backend: Box<dyn Backend>,
        reached: Reached,
        last_row: RowNumber,
    ) -> Self {
        let tidy_interval = backend.tidy_interval();
        Self {
            state,
            backend,
            pending: Vec::new(),
            pending_links: Vec::new(),
            pending_erasures: Vec::new(),
            unsettled: Vec::new(),
            pending_since: None,
            unsynced: BTreeMap::new(),
            unsynced_links: BTreeSet::new(),
            cut: reached.cut,
            committed: reached,
            last_row,
            needs_reopen: false,
            needs_replace: false,
            uncompared: false,
            must_write: false,
            must_recapture_all: false,
            last_flush: Instant::now(),
            compaction: Compaction::default(),
            space: Space::default(),
            is_lost: false,
            tidy_interval,
            #[cfg(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom)))]
            spills: None,
        }
    }

    /// For a store that spills what it can't write any more when it is closed.
    #[cfg(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom)))]
    pub(crate) fn spilling(self, spills: SpillWriter) -> Self {
        Self { spills: Some(spills), ..self }
    }

    pub(crate) fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// When the next try is due, after a failure.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.state.counters.outage().map(|outage| outage.retry_at)
    }

    /// Whether the last try failed for more than contention.
    pub(super) fn is_failing(&self) -> bool {
        self.state.counters.outage().is_some_and(|outage| outage.is_reportable())
    }

    /// Whether there is work that no writer will announce.
    pub(super) fn is_behind(&self) -> bool {
        self.pending_count() > 0 || self.state.counters.outage().is_some()
    }

    pub(super) fn last_flush(&self) -> Instant {
        self.last_flush
    }
}

#[cfg(all(test, not(loom)))]
#[allow(clippy::expect_used, reason = "what can't be made fails its test")]
mod tests;
