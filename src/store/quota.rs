//! The quota: how much a store may hold, and what goes first.

use super::engine::Engine;
use super::{TraceStore, tell};
use crate::core::Change;
use crate::error::Result;
use crate::memory::{by_age, by_doubt};
use crate::trace::{Trace, TraceType};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How much a store may hold: see [`StoreBuilder::quota`](crate::StoreBuilder::quota). The default is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Number of traces: `usize::MAX` unless set.
    pub max_traces: usize,
    /// Bytes of payload text: `u64::MAX` unless set.
    pub max_bytes: u64,
    /// What goes first: [`Eviction::LeastRecentlyReinforced`] unless set.
    pub eviction: Eviction,
}

impl Default for Quota {
    fn default() -> Self {
        Self { max_traces: usize::MAX, max_bytes: u64::MAX, eviction: Eviction::default() }
    }
}

/// What goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Eviction {
    /// What has not been reinforced for longest. A time that has not come, as of a wrong clock, counts as now.
    #[default]
    LeastRecentlyReinforced,
    /// What the agent is least sure of.
    LowestConfidence,
}

/// What an enforcement of the quota did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct EvictionReport {
    /// Traces removed.
    pub evicted: usize,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// Whether the store is still over its quota: all that is left is firmware or pinned.
    pub over: bool,
}

impl TraceStore {
    /// Removes traces, in the order of the [quota's](crate::StoreBuilder::quota) eviction, until the store holds no
    /// more than it may, and not one more than that takes. Without a quota it removes none. Firmware and pinned traces
    /// count, and never go. Of traces that are equal in that order the smaller id goes first.
    ///
    /// Looks at every trace. What is removed is counted in [`Stats::evicted`](crate::Stats::evicted), and told at
    /// `INFO`.
    ///
    /// ```
    /// use mnemon::{NewTrace, Quota, TraceStore};
    ///
    /// let quota = Quota { max_traces: 2, ..Quota::default() };
    /// let store = TraceStore::builder().quota(quota).in_memory()?;
    /// store.insert_many((0..5).map(|n| NewTrace::episodic(serde_json::json!(n))))?;
    /// assert_eq!((store.enforce_quota()?.evicted, store.len()), (3, 2));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`decay`](Self::decay).
    pub fn enforce_quota(&self) -> Result<EvictionReport> {
        self.engine().enforce_quota()
    }
}

impl Engine {
    pub(super) fn enforce_quota(&self) -> Result<EvictionReport> {
        self.admit()?;
        let Quota { max_traces, max_bytes, eviction } = self.settings.quota;
        if (max_traces, max_bytes) == (usize::MAX, u64::MAX) {
            return Ok(EvictionReport::default());
        }
        let (mut traces, mut bytes) = (0, 0);
        self.survey(size, |_, size| {
            (traces, bytes) = (traces + 1, bytes + size);
            Ok(())
        })?;
        let mut report = EvictionReport::default();
        let over = |traces: usize, bytes: u64| traces > max_traces || bytes > max_bytes;
        if over(traces, bytes) {
            let done = self.evict(over, eviction, &mut report);
            if report.evicted > 0 {
                self.evicted.fetch_add(report.evicted as u64, Ordering::Relaxed);
                tell::evicted(&self.shared.name, &report);
            }
            done?;
        }
        Ok(report)
    }

    /// Removes traces until the store is not over its quota. The report counts those before an error too.
    fn evict(
        &self,
        over: impl Fn(usize, u64) -> bool,
        eviction: Eviction,
        report: &mut EvictionReport,
    ) -> Result<()> {
        let now = self.now();
        // Counted anew, with what is there by now.
        let held: Vec<_> = self.traces().entries().iter().filter_map(|entry| entry.value()).collect();
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
            // Only as it was when it was chosen: who has just used, pinned or removed it is right.
            let done = self.alter(trace.id(), |now| match Arc::ptr_eq(now, &trace) {
                true => Ok(Change::Remove),
                false => Ok(Change::Keep),
            })?;
            let Some(done) = done else {
                // Removed by another thread.
                (traces, bytes) = (traces - 1, bytes - size(&trace));
                continue;
            };
            if done.new.is_none() {
                (traces, bytes) = (traces - 1, bytes - size(&trace));
                report.evicted += 1;
                report.bytes += size(&trace);
            }
        }
        report.over = over(traces, bytes);
        Ok(())
    }
}

fn size(trace: &Trace) -> u64 {
    trace.payload().as_str().len() as u64
}

fn may_go(trace: &Trace) -> bool {
    trace.trace_type() != TraceType::Firmware && !trace.is_pinned()
}
