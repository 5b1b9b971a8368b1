//! The quota: the largest content of a store, and the order of eviction.

use super::inner::Inner;
use super::{Removed, TraceStore, events};
use crate::error::Result;
use crate::memory::{by_age, by_doubt};
use crate::protocol::Change;
use crate::trace::{Trace, TraceType};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Largest content of a store: see [`StoreBuilder::quota`](crate::StoreBuilder::quota). Default: no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Maximum number of traces. Default: `usize::MAX`.
    pub max_traces: usize,
    /// Maximum number of bytes of payload text. Default: `u64::MAX`.
    pub max_bytes: u64,
    /// Order of eviction. Default: [`Eviction::LeastRecentlyReinforced`].
    pub eviction: Eviction,
}

impl Default for Quota {
    fn default() -> Self {
        Self { max_traces: usize::MAX, max_bytes: u64::MAX, eviction: Eviction::default() }
    }
}

/// Order in which traces are evicted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Eviction {
    /// Least recently reinforced first. A time in the future, from a wrong clock, counts as now.
    #[default]
    LeastRecentlyReinforced,
    /// Lowest confidence of the agent first.
    LowestConfidence,
}

impl TraceStore {
    /// Removes traces, in the eviction order of the [quota](crate::StoreBuilder::quota), until the store is within its
    /// quota, and no more traces than necessary. Without a quota it removes none. Firmware and pinned traces count
    /// towards the quota and are never removed: the store stays over its quota if nothing else is left. Ties are removed
    /// in the order of their ids, smaller first.
    ///
    /// Visits every trace. Removed traces are counted in [`Stats::evicted`](crate::Stats::evicted) and logged at
    /// `INFO`.
    ///
    /// ```
    /// use mnemon::{NewTrace, Quota, TraceStore};
    ///
    /// let quota = Quota { max_traces: 2, ..Quota::default() };
    /// let store = TraceStore::builder().quota(quota).in_memory()?;
    /// store.insert_many((0..5).map(|n| NewTrace::episodic(serde_json::json!(n))))?;
    /// assert_eq!((store.enforce_quota()?.traces, store.len()), (3, 2));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`decay`](Self::decay).
    pub fn enforce_quota(&self) -> Result<Removed> {
        self.inner().enforce_quota()
    }
}

impl Inner {
    pub(super) fn enforce_quota(&self) -> Result<Removed> {
        self.check_writable()?;
        let Quota { max_traces, max_bytes, eviction } = self.settings.quota;
        if (max_traces, max_bytes) == (usize::MAX, u64::MAX) {
            return Ok(Removed::default());
        }
        let (mut traces, mut bytes) = (0, 0);
        self.scan(size, |_, size| {
            (traces, bytes) = (traces + 1, bytes + size);
            Ok(())
        })?;
        let (mut removed, mut removed_bytes) = (Removed::default(), 0);
        let over = |traces: usize, bytes: u64| traces > max_traces || bytes > max_bytes;
        if over(traces, bytes) {
            let done = self.evict(over, eviction, &mut removed, &mut removed_bytes);
            if removed.traces > 0 {
                self.evicted.fetch_add(removed.traces as u64, Ordering::Relaxed);
                events::evicted(&self.state.name, removed.traces, removed_bytes);
            }
            done?;
        }
        Ok(removed)
    }

    /// Removes traces until the store is within its quota. What is counted includes those removed before an error.
    fn evict(
        &self,
        over: impl Fn(usize, u64) -> bool,
        eviction: Eviction,
        removed: &mut Removed,
        removed_bytes: &mut u64,
    ) -> Result<()> {
        let now = self.now();
        // Counted again from the current content.
        let held: Vec<_> = self.traces().keys().iter().filter_map(|id| self.traces().get(id)).collect();
        let (mut traces, mut bytes) = (held.len(), held.iter().map(|trace| size(trace)).sum());
        let mut candidates: Vec<_> = held.into_iter().filter(|trace| may_go(trace)).collect();
        candidates.sort_unstable_by(|a, b| match eviction {
            Eviction::LeastRecentlyReinforced => by_age(a, b, now),
            Eviction::LowestConfidence => by_doubt(a, b),
        });
        for trace in candidates {
            if !over(traces, bytes) {
                return Ok(());
            }
            // Removed only if unchanged since it was chosen: a thread that has just used, pinned or removed it takes
            // precedence.
            let done = self.update_counted(trace.id(), removed, |now| {
                Ok(if Arc::ptr_eq(now, &trace) { Change::Remove } else { Change::Keep })
            })?;
            let is_removed = match done {
                // Removed by another thread.
                None => true,
                Some(done) if done.new.is_none() => {
                    *removed_bytes += size(&trace);
                    true
                }
                Some(_) => false,
            };
            if is_removed {
                (traces, bytes) = (traces - 1, bytes - size(&trace));
            }
        }
        Ok(())
    }
}

fn size(trace: &Trace) -> u64 {
    trace.payload().as_str().len() as u64
}

fn may_go(trace: &Trace) -> bool {
    trace.trace_type() != TraceType::Firmware && !trace.is_pinned()
}
