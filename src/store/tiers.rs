//! Tiers: how readily available a trace is kept, by its age and strength.

use super::TraceStore;
use super::inner::Inner;
use crate::error::Result;
use crate::memory::constants::{HOT_SECONDS, PRUNE, WARM_SECONDS};
use crate::protocol::Transition;
use crate::trace::{Dynamics, Micros, Tier, TraceType};

impl TraceStore {
    /// Sets the tier of each trace for the current time, and returns the number of traces whose tier has changed; only
    /// those are written, and their revision does not change. A trace that has faded to 0.01 or less is `Erased`; of
    /// the others, a trace reinforced within 86,400 s is `Hot`, within 7,776,000 s `Warm`, and otherwise `Cold`.
    ///
    /// Visits every trace.
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
            |trace| (trace.trace_type(), trace.numbers),
            |id, (kind, numbers)| {
                if self.tier(kind, &numbers, now) == numbers.tier {
                    return Ok(());
                }
                let done = self.update(id, |trace| {
                    let tier = self.tier(trace.trace_type(), &trace.numbers, now);
                    Ok(Self::renumbered(trace, |numbers| numbers.tier = tier))
                })?;
                moved += usize::from(done.is_some_and(|done: Transition<_>| !done.is_noop()));
                Ok(())
            },
        )?;
        Ok(moved)
    }

    fn tier(&self, kind: TraceType, numbers: &Dynamics, now: Micros) -> Tier {
        let age = now.micros_since(numbers.last_reinforced);
        match () {
            () if self.settings.curve.strength(kind, numbers, now) <= PRUNE => Tier::Erased,
            () if age <= HOT_SECONDS * 1_000_000 => Tier::Hot,
            () if age <= WARM_SECONDS * 1_000_000 => Tier::Warm,
            () => Tier::Cold,
        }
    }
}
