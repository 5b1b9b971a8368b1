//! The quota: the largest content of a store, and the order of eviction.

use super::due::{Cycle, MOST_CHANGES};
use super::inner::Inner;
use super::{Removed, TraceStore, events};
use crate::error::Result;
use crate::memory::{by_age, by_doubt};
use crate::protocol::{Change, Unsettled};
use crate::trace::{Trace, TraceType};
use crate::views::TraceViews;
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
    /// towards the quota and are never removed: the store stays over its quota if nothing else is left. Ties are
    /// removed in the order of their ids, smaller first.
    ///
    /// Looks at the traces that go and at those before them in that order that may not; with
    /// [`Eviction::LowestConfidence`], at every trace if the store is over its quota. Removed traces are counted in
    /// [`Stats::evicted`](crate::Stats::evicted) and logged at `INFO`.
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
        self.inner().enforce_quota(usize::MAX)
    }
}

impl Inner {
    /// Runs an automatic cycle.
    pub(super) fn evict_due(&self) -> Result<Cycle> {
        let removed = self.enforce_quota(MOST_CHANGES)?;
        Ok(Cycle { changed: removed.traces, ..Cycle::default() })
    }

    /// Removes at most this number of traces.
    pub(super) fn enforce_quota(&self, most: usize) -> Result<Removed> {
        self.check_writable()?;
        let Quota { max_traces, max_bytes, eviction } = self.settings.quota;
        if (max_traces, max_bytes) == (usize::MAX, u64::MAX) {
            return Ok(Removed::default());
        }
        let (mut removed, mut removed_bytes) = (Removed::default(), 0);
        let over = |traces: usize, bytes: u64| traces > max_traces || bytes > max_bytes;
        let done = self.evict(over, eviction, most, &mut removed, &mut removed_bytes);
        if removed.traces > 0 {
            self.evicted.fetch_add(removed.traces as u64, Ordering::Relaxed);
            events::evicted(&self.state.name, removed.traces, removed_bytes);
        }
        done?;
        Ok(removed)
    }

    /// Removes traces until the store is within its quota, or as many as it may, or nothing is left that may go. What
    /// is counted includes those removed before an error.
    pub(super) fn evict(
        &self,
        over: impl Fn(usize, u64) -> bool,
        eviction: Eviction,
        most: usize,
        removed: &mut Removed,
        removed_bytes: &mut u64,
    ) -> Result<()> {
        loop {
            let Surplus { mut traces, mut bytes, candidates } =
                self.surplus(&over, eviction, most - removed.traces);
            let before = removed.traces;
            for trace in candidates {
                if !over(traces, bytes) || removed.traces == most {
                    return Ok(());
                }
                // Removed only if unchanged since it was chosen: a thread that has just used, pinned or removed it
                // takes precedence.
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
            // Those that were used meanwhile are chosen again, or others instead.
            if removed.traces == before {
                return Ok(());
            }
        }
    }

    /// Returns what there is, and which traces may go: the first `most` of them at least, or enough, all as of one look
    /// at the store.
    fn surplus(&self, over: impl Fn(usize, u64) -> bool, eviction: Eviction, most: usize) -> Surplus {
        let now = self.now();
        let of_views = |unsettled: &Unsettled<_, _>, views: &TraceViews| {
            let changed: Vec<_> = unsettled.iter().filter_map(|(_, trace)| trace.clone()).collect();
            let settled = views.totals_without(unsettled.iter().map(|(id, _)| *id));
            let (traces, bytes) = totals(settled, changed.iter());
            if !over(traces, bytes) {
                return Some(Surplus { traces, bytes, candidates: Vec::new() });
            }
            if eviction == Eviction::LowestConfidence {
                return None;
            }
            let mut candidates: Vec<_> = changed.into_iter().filter(may_go).collect();
            let unsettled_candidates = candidates.len();
            // From the oldest on, as many as must go if none of the others does.
            let (mut left, mut last) = ((traces, bytes), None);
            let shown = views.oldest().filter(|trace| !unsettled.contains(&trace.id()) && may_go(trace));
            for trace in shown {
                let reinforced = trace.numbers.last_reinforced.min(now);
                let is_enough = !over(left.0, left.1) || candidates.len() - unsettled_candidates >= most;
                // Of those of one time the smaller ids go first.
                if is_enough && last != Some(reinforced) {
                    break;
                }
                (left, last) = ((left.0 - 1, left.1 - size(trace)), Some(reinforced));
                candidates.push(trace.clone());
            }
            Some(Surplus { traces, bytes, candidates })
        };
        let mut found = self.state.ask(of_views).flatten().unwrap_or_else(|| {
            let held = self.traces().keys();
            let held: Vec<_> = held.iter().filter_map(|id| self.traces().get(id)).collect();
            let (traces, bytes) = totals((0, 0), held.iter());
            Surplus { traces, bytes, candidates: held.into_iter().filter(may_go).collect() }
        });
        found.candidates.sort_unstable_by(|a, b| match eviction {
            Eviction::LeastRecentlyReinforced => by_age(a, b, now),
            Eviction::LowestConfidence => by_doubt(a, b),
        });
        found
    }
}

/// What a store holds, and which of it may go, the first to go first.
struct Surplus {
    traces: usize,
    bytes: u64,
    candidates: Vec<Arc<Trace>>,
}

fn totals<'a>(settled: (usize, u64), others: impl Iterator<Item = &'a Arc<Trace>>) -> (usize, u64) {
    others.fold(settled, |(traces, bytes), trace| (traces + 1, bytes + size(trace)))
}

fn size(trace: &Trace) -> u64 {
    trace.payload().as_str().len() as u64
}

fn may_go(trace: &Arc<Trace>) -> bool {
    trace.trace_type() != TraceType::Firmware && !trace.is_pinned()
}
