//! The decay cycle: removes traces that have faded away.

use super::inner::Inner;
use super::{Removed, TraceStore, events};
use crate::error::Result;
use crate::memory::constants::PRUNE;
use crate::protocol::Change;
use crate::trace::{Micros, Trace, TraceId, TraceType};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl TraceStore {
    /// Runs a full decay cycle: removes the traces that have faded to 0.01 or less. Firmware and pinned traces are
    /// never removed, and no trace is if [pruning is off](crate::StoreBuilder::prune).
    ///
    /// Visits every trace, some at a time, and writes only removals: the store computes every strength that it reads or
    /// compares for the current time. [`Stats::pruned`](crate::Stats::pruned) counts removed traces, and they are
    /// logged at `INFO`.
    ///
    /// ```
    /// use mnemon::{ManualClock, NewTrace, TraceStore};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::at("2026-11-24T09:00:00Z".parse().expect("a time"));
    /// let store = TraceStore::builder().clock(&clock).in_memory()?;
    /// store.insert(NewTrace::sensory(serde_json::json!("gulls")).strength(0.011))?;
    /// store.insert(NewTrace::semantic(serde_json::json!("springs follow the full moon")))?;
    /// clock.advance(Duration::from_secs(86_400));
    /// let removed = store.decay()?;
    /// assert_eq!((removed.traces, store.len()), (1, 1));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) and [`Lagging`](crate::ErrorKind::Lagging), under the conditions of
    /// [`insert`](Self::insert).
    pub fn decay(&self) -> Result<Removed> {
        self.inner().decay()
    }
}

impl Inner {
    pub(super) fn decay(&self) -> Result<Removed> {
        self.check_writable()?;
        let mut removed = Removed::default();
        if !self.settings.prune {
            return Ok(removed);
        }
        let now = self.now();
        let done = self.scan(
            |trace| self.is_to_be_pruned(trace, now),
            |id, is_due| if is_due { self.prune(id, now, &mut removed) } else { Ok(()) },
        );
        self.count_pruned(removed);
        done.map(|()| removed)
    }

    /// Counts and logs what a cycle has removed, also before an error.
    pub(super) fn count_pruned(&self, removed: Removed) {
        if removed.traces > 0 {
            self.pruned.fetch_add(removed.traces as u64, Ordering::Relaxed);
            events::pruned(&self.state.name, removed.traces);
        }
    }

    /// Removes a trace if it has faded away in its current state: it may have been reinforced or removed.
    pub(super) fn prune(&self, id: TraceId, now: Micros, removed: &mut Removed) -> Result<()> {
        let decide = |trace: &Arc<Trace>| {
            Ok(if self.is_to_be_pruned(trace, now) { Change::Remove } else { Change::Keep })
        };
        self.update_counted(id, removed, decide).map(drop)
    }

    pub(super) fn is_to_be_pruned(&self, trace: &Trace, now: Micros) -> bool {
        trace.trace_type() != TraceType::Firmware && !trace.is_pinned() && self.strength(trace, now) <= PRUNE
    }
}
