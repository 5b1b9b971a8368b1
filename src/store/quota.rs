//! The quota: the largest content of a store, and the order of eviction.

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
    /// towards the quota and are never removed: the store stays over its quota if nothing else is left. Ties are removed
    /// in the order of their ids, smaller first.
    ///
    /// Looks at the traces that go, and with [`Eviction::LowestConfidence`] at every trace if some must go. Removed traces are counted in [`Stats::evicted`](crate::Stats::evicted) and logged at
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
        let (traces, bytes) = self.totals();
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

    /// Returns the number of traces and of bytes of payload text.
    fn totals(&self) -> (usize, u64) {
        let totals = self.state.ask(|unsettled, views| {
            let (traces, bytes) = views.totals_without(unsettled.iter().map(|(id, _)| *id));
            let changed = unsettled.iter().filter_map(|(_, trace)| trace.as_ref());
            changed.fold((traces, bytes), |(traces, bytes), trace| (traces + 1, bytes + size(trace)))
        });
        totals.unwrap_or_else(|| {
            let held = self.traces().keys();
            let held = held.iter().filter_map(|id| self.traces().get(id));
            held.fold((0, 0), |(traces, bytes), trace| (traces + 1, bytes + size(&trace)))
        })
    }

    /// Removes traces until the store is within its quota, or nothing is left that may go. What is counted includes
    /// those removed before an error.
    fn evict(
        &self,
        over: impl Fn(usize, u64) -> bool,
        eviction: Eviction,
        removed: &mut Removed,
        removed_bytes: &mut u64,
    ) -> Result<()> {
        loop {
            let (mut traces, mut bytes) = self.totals();
            let candidates = self.candidates(eviction, |freed, freed_bytes| {
                over(traces.saturating_sub(freed), bytes.saturating_sub(freed_bytes))
            });
            let before = removed.traces;
            for trace in candidates {
                if !over(traces, bytes) {
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

    /// Returns traces that may go, the first to go first: at least until the store would not be over its quota any more
    /// without the number of traces and bytes that `still_over` is told.
    fn candidates(&self, eviction: Eviction, still_over: impl Fn(usize, u64) -> bool) -> Vec<Arc<Trace>> {
        let now = self.now();
        let by_recency = |unsettled: &Unsettled<_, _>, views: &TraceViews| {
            let changed = unsettled.iter().filter_map(|(_, trace)| trace.clone());
            let mut found: Vec<_> = changed.filter(|trace| may_go(trace)).collect();
            let (mut freed, mut freed_bytes) = (0, 0);
            let mut last = None;
            for trace in views.oldest().filter(|trace| !unsettled.contains(&trace.id()) && may_go(trace)) {
                let reinforced = trace.numbers.last_reinforced.min(now);
                // Of those of one time the smaller ids go first.
                if !still_over(freed, freed_bytes) && last != Some(reinforced) {
                    break;
                }
                (freed, freed_bytes, last) = (freed + 1, freed_bytes + size(trace), Some(reinforced));
                found.push(trace.clone());
            }
            found
        };
        let found = match eviction {
            Eviction::LeastRecentlyReinforced => self.state.ask(by_recency),
            Eviction::LowestConfidence => None,
        };
        let mut found = found.unwrap_or_else(|| {
            let held = self.traces().keys();
            held.iter().filter_map(|id| self.traces().get(id)).filter(|trace| may_go(trace)).collect()
        });
        found.sort_unstable_by(|a, b| match eviction {
            Eviction::LeastRecentlyReinforced => by_age(a, b, now),
            Eviction::LowestConfidence => by_doubt(a, b),
        });
        found
    }
}

fn size(trace: &Trace) -> u64 {
    trace.payload().as_str().len() as u64
}

fn may_go(trace: &Trace) -> bool {
    trace.trace_type() != TraceType::Firmware && !trace.is_pinned()
}
