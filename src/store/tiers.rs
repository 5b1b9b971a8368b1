//! Tiers: how readily available a trace is kept, by its age and strength.

use super::TraceStore;
use super::inner::Inner;
use crate::error::Result;
use crate::trace::{Micros, Tier, Trace, TraceId};

impl TraceStore {
    /// Sets the tier of each trace for the current time, and returns the number of traces whose tier has changed; only
    /// those are written, and their revision does not change. A trace that has faded to 0.01 or less is `Erased`; of
    /// the others, a trace reinforced within 86,400 s is `Hot`, within 7,776,000 s `Warm`, and otherwise `Cold`.
    ///
    /// Visits every trace, some at a time.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`decay`](Self::decay).
    pub fn update_tiers(&self) -> Result<usize> {
        self.inner().update_tiers()
    }
}

impl Inner {
    pub(super) fn update_tiers(&self) -> Result<usize> {
        self.check_writable()?;
        let (now, mut moved) = (self.now(), 0);
        self.scan(
            |trace| self.tier(trace, now) != trace.tier(),
            |id, is_due| {
                moved += usize::from(is_due && self.update_tier(id, now)?);
                Ok(())
            },
        )?;
        Ok(moved)
    }

    /// Returns whether the tier of the trace, in its current state, had to be changed.
    pub(super) fn update_tier(&self, id: TraceId, now: Micros) -> Result<bool> {
        let done = self.update(id, |trace| {
            let tier = self.tier(trace, now);
            Ok(Self::renumbered(trace, |numbers| numbers.tier = tier))
        })?;
        Ok(done.is_some_and(|done| !done.is_noop()))
    }

    pub(super) fn tier(&self, trace: &Trace, now: Micros) -> Tier {
        self.settings.curve.tier(trace.trace_type(), &trace.numbers, now)
    }
}
