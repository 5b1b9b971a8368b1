//! The quota: how much a store may hold, and what goes first.

use super::TraceStore;
use super::engine::Engine;
use crate::core::Change;
use crate::error::Result;
use crate::trace::{Trace, TraceType};
use std::sync::Arc;

/// How much a store may hold: see [`StoreBuilder::quota`](crate::StoreBuilder::quota).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Traces: 10,000 unless set.
    pub max_traces: usize,
    /// Bytes of payload text: 50 MiB unless set.
    pub max_bytes: u64,
    /// What goes first: [`Eviction::LeastRecentlyReinforced`] unless set.
    pub eviction: Eviction,
}

impl Default for Quota {
    fn default() -> Self {
        Self { max_traces: 10_000, max_bytes: 50 << 20, eviction: Eviction::default() }
    }
}

/// What goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Eviction {
    /// What has not been reinforced for longest.
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
    /// more than it may, and not one more than that takes. Firmware and pinned traces count, and never go. Of
    /// traces that are equal in that order the smaller id goes first.
    ///
    /// Looks at every trace.
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
        let (mut traces, mut bytes) = (0, 0);
        self.scan(size, |_, size| {
            (traces, bytes) = (traces + 1, bytes + size);
            Ok(())
        })?;
        let mut report = EvictionReport::default();
        let over = |traces: usize, bytes: u64| traces > max_traces || bytes > max_bytes;
        if !over(traces, bytes) {
            return Ok(report);
        }
        // Counted anew, with what is there by now.
        let held: Vec<_> = self.traces().keys().iter().filter_map(|id| self.traces().get(id)).collect();
        (traces, bytes) = (held.len(), held.iter().map(|trace| size(trace)).sum());
        let mut candidates: Vec<_> = held.into_iter().filter(|trace| may_go(trace)).collect();
        candidates.sort_unstable_by(|a, b| match eviction {
            Eviction::LeastRecentlyReinforced => {
                (a.numbers.last_reinforced, a.id()).cmp(&(b.numbers.last_reinforced, b.id()))
            }
            Eviction::LowestConfidence => a.confidence().total_cmp(&b.confidence()).then(a.id().cmp(&b.id())),
        });
        for trace in candidates {
            if !over(traces, bytes) {
                return Ok(report);
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
                (report.evicted, report.bytes) = (report.evicted + 1, report.bytes + size(&trace));
            }
        }
        Ok(EvictionReport { over: over(traces, bytes), ..report })
    }
}

fn size(trace: &Trace) -> u64 {
    trace.payload().as_str().len() as u64
}

fn may_go(trace: &Trace) -> bool {
    trace.trace_type() != TraceType::Firmware && !trace.is_pinned()
}
