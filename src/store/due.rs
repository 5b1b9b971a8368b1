//! Automatic cycles: they look at what is due, and change a bounded number of traces.

use super::decay::{Decayed, Reason};
use super::inner::Inner;
use crate::error::Result;
use crate::trace::{Micros, Trace, TraceId};
use crate::views::{DueFor, Place};

/// Number of traces that one cycle changes at most.
pub(super) const MOST_CHANGES: usize = 5_000;

/// Number of entries of views that are looked at in one hold of their lock.
const STEP: usize = 1_024;

/// What a cycle has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Cycle {
    /// Number of entries of views that it has looked at.
    pub(super) visited: usize,
    /// Number of traces that it has changed.
    pub(super) changed: usize,
}

impl Cycle {
    /// Whether more may be due.
    pub(super) fn is_full(&self) -> bool {
        self.changed >= MOST_CHANGES
    }
}

impl Inner {
    /// Removes traces that have faded away or have been invalid for long, as [`decay`](Inner::decay) does.
    pub(super) fn prune_due(&self) -> Result<Cycle> {
        self.check_writable()?;
        let (now, mut cycle, mut decayed) = (self.now(), Cycle::default(), Decayed::default());
        let dues = [(DueFor::Removal, Reason::Invalid), (DueFor::Pruning, Reason::Faded)];
        let done = dues.into_iter().try_for_each(|(due, reason)| {
            let is_due = |trace: &Trace| self.reason_to_remove(trace, now) == Some(reason);
            self.each_due(due, now, &mut cycle, is_due, |id| self.remove_decayed(id, now, &mut decayed))
        });
        self.count_decayed(&decayed);
        done.map(|()| cycle)
    }

    /// Sets tiers, as [`update_tiers`](Inner::update_tiers) does.
    pub(super) fn update_due_tiers(&self) -> Result<Cycle> {
        self.check_writable()?;
        let (now, mut cycle) = (self.now(), Cycle::default());
        for due in [DueFor::Pruning, DueFor::LaterTier, DueFor::EarlierTier] {
            let is_due = |trace: &Trace| self.tier(trace, now) != trace.tier();
            self.each_due(due, now, &mut cycle, is_due, |id| self.update_tier(id, now))?;
        }
        Ok(cycle)
    }

    /// Shows `act` the traces that are due, until the cycle is full. `act` decides again, and returns whether it has
    /// changed the trace.
    fn each_due(
        &self,
        due: DueFor,
        now: Micros,
        cycle: &mut Cycle,
        is_due: impl Fn(&Trace) -> bool,
        mut act: impl FnMut(TraceId) -> Result<bool>,
    ) -> Result<()> {
        let mut next = Some(Place::default());
        while let Some(from) = next.filter(|_| !cycle.is_full()) {
            let left = MOST_CHANGES - cycle.changed;
            let step = self.state.ask(|unsettled, views| {
                let (mut ids, mut visited) = (Vec::new(), 0);
                if from == Place::default() {
                    let changed = unsettled.iter().filter_map(|(_, trace)| trace.as_deref());
                    ids.extend(changed.filter(|trace| is_due(trace)).map(Trace::id).take(left));
                    visited = unsettled.iter().len();
                }
                for (step, (place, trace)) in views.due(due, now, from).enumerate() {
                    if step == STEP || ids.len() == left {
                        return (ids, visited, Some(place));
                    }
                    visited += 1;
                    let is_shown = !unsettled.contains(&trace.id());
                    ids.extend((is_shown && is_due(trace)).then(|| trace.id()));
                }
                (ids, visited, None)
            });
            // In a forked process, which has no views, there is no upkeep either.
            let Some((ids, visited, rest)) = step else { return Ok(()) };
            (cycle.visited, next) = (cycle.visited + visited, rest);
            for id in ids {
                cycle.changed += usize::from(act(id)?);
            }
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
