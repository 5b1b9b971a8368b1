//! The decay cycle: removes traces that have faded away, or have been invalid for long.

use super::inner::Inner;
use super::settings::{Settings, micros};
use super::{Removed, TraceStore, events};
use crate::error::Result;
use crate::memory::constants::PRUNE;
use crate::protocol::Change;
use crate::trace::{Micros, Trace, TraceId, TraceType};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl TraceStore {
    /// Runs a full decay cycle: removes the traces that have faded to 0.01 or less, unless
    /// [pruning is off](crate::StoreBuilder::prune), and those that have not been valid for
    /// [longer than these are kept](crate::StoreBuilder::keep_invalid). Firmware and pinned traces are never removed.
    ///
    /// Visits every trace, some at a time, and writes only removals: the store computes every strength that it reads or
    /// compares for the current time. [`Stats::pruned`](crate::Stats::pruned) and
    /// [`Stats::expired`](crate::Stats::expired) count removed traces, and they are logged at `INFO`.
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

/// Why a decay cycle removes a trace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    Faded,
    Invalid,
}

/// What a decay cycle has removed, for each reason.
#[derive(Default)]
pub(super) struct Decayed([Removed; 2]);

impl Decayed {
    fn all(&self) -> Removed {
        let [faded, invalid] = self.0;
        Removed { traces: faded.traces + invalid.traces, links: faded.links + invalid.links, rows: 0 }
    }
}

impl Inner {
    pub(super) fn decay(&self) -> Result<Removed> {
        self.check_writable()?;
        let mut decayed = Decayed::default();
        if !self.settings.prune && self.settings.keep_invalid.is_none() {
            return Ok(Removed::default());
        }
        let now = self.now();
        let done = self.scan(
            |trace| self.reason_to_remove(trace, now).is_some(),
            |id, is_due| {
                if is_due {
                    self.remove_decayed(id, now, &mut decayed)?;
                }
                Ok(())
            },
        );
        self.count_decayed(&decayed);
        done.map(|()| decayed.all())
    }

    /// Counts and logs what a cycle has removed, also before an error.
    pub(super) fn count_decayed(&self, decayed: &Decayed) {
        let [faded, invalid] = decayed.0.map(|removed| removed.traces);
        if faded > 0 {
            self.pruned.fetch_add(faded as u64, Ordering::Relaxed);
            events::pruned(&self.state.name, faded, "what had faded away");
        }
        if invalid > 0 {
            self.expired.fetch_add(invalid as u64, Ordering::Relaxed);
            events::pruned(&self.state.name, invalid, "what was not valid any more");
        }
    }

    /// Removes a trace if there is a reason in its current state: it may have been reinforced, made valid again, or
    /// removed. Returns whether it did.
    pub(super) fn remove_decayed(&self, id: TraceId, now: Micros, decayed: &mut Decayed) -> Result<bool> {
        let (mut reason, mut removed) = (None, Removed::default());
        let decide = |trace: &Arc<Trace>| {
            reason = self.reason_to_remove(trace, now);
            Ok(if reason.is_some() { Change::Remove } else { Change::Keep })
        };
        let done = self.update_counted(id, &mut removed, decide);
        if let Some(reason) = reason {
            let all = &mut decayed.0[reason as usize];
            (all.traces, all.links) = (all.traces + removed.traces, all.links + removed.links);
        }
        done.map(|_| removed.traces > 0)
    }

    pub(super) fn reason_to_remove(&self, trace: &Trace, now: Micros) -> Option<Reason> {
        let Settings { prune, keep_invalid, .. } = &self.settings;
        let has_faded = || self.strength(trace, now) <= PRUNE;
        let was_invalid = || {
            let removal = trace.end().zip(*keep_invalid).map(|(end, keep)| end.plus(micros(keep)));
            removal.is_some_and(|removal| removal <= now)
        };
        match trace {
            trace if trace.trace_type() == TraceType::Firmware || trace.is_pinned() => None,
            _ if *prune && has_faded() => Some(Reason::Faded),
            _ => was_invalid().then_some(Reason::Invalid),
        }
    }
}
