//! Reinforcement: traces grow stronger when they are used again.

use super::TraceStore;
use super::inner::Inner;
use crate::error::Result;
use crate::memory::Order;
use crate::memory::constants::{IMPRINT_FACTOR, REINFORCEMENT, RETRIEVABLE};
use crate::protocol::Change;
use crate::trace::{MAX_REVISION, Micros, Trace, TraceId, TraceType};
use jiff::Timestamp;
use std::sync::Arc;

impl TraceStore {
    /// Makes a trace stronger, atomically: to `min(1, strength now + 0.10)`, with three times the increment in the
    /// [imprint window](crate::StoreBuilder::imprint_until). Its peak strength rises accordingly, and its decay
    /// restarts now. Returns its new state; that of firmware never changes. `None` if the store does not hold the
    /// trace.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// let id = store.insert(NewTrace::semantic(json!("the harbour silts up")))?; // starts at 0.5
    /// let trace = store.reinforce(id)?.expect("it is there");
    /// assert!((trace.strength() - 0.6).abs() < 1e-3);
    /// assert_eq!(trace.reinforcement_count(), 1);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) and [`Lagging`](crate::ErrorKind::Lagging), under the conditions of
    /// [`insert`](Self::insert).
    pub fn reinforce(&self, id: TraceId) -> Result<Option<Arc<Trace>>> {
        let inner = self.inner();
        let done = self.alter(id, |old| Ok(inner.reinforced(old, inner.now())))?;
        Ok(done.and_then(|done| done.new))
    }

    /// Reinforces the `limit` strongest valid traces with a strength of 0.1 or more now, and returns their new states,
    /// in the order they were found. Firmware is included and stays unchanged. Costs a [query](Self::query) for them.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`reinforce`](Self::reinforce); traces before the first that failed are reinforced.
    pub fn retrieve_and_reinforce(&self, limit: usize) -> Result<Vec<Arc<Trace>>> {
        let found = self.query().min_strength(RETRIEVABLE).order(Order::Strength).limit(limit).run();
        let mut reinforced = Vec::with_capacity(found.len());
        for trace in found {
            reinforced.extend(self.reinforce(trace.id())?);
        }
        Ok(reinforced)
    }

    /// Returns the strength of a trace now, 0 to 1: the stored strength, less its decay since then.
    pub fn strength(&self, trace: &Trace) -> f64 {
        self.inner().strength(trace, self.inner().now())
    }

    /// Returns the strength of a trace, in its given state, at a given time.
    pub fn strength_at(&self, trace: &Trace, at: Timestamp) -> f64 {
        self.inner().strength(trace, at.into())
    }
}

impl Inner {
    pub(super) fn reinforced(&self, old: &Trace, now: Micros) -> Change<Trace> {
        if old.trace_type() == TraceType::Firmware {
            return Change::Keep;
        }
        let factor = if self.is_imprinting(now) { IMPRINT_FACTOR } else { 1.0 };
        let strength = (self.strength(old, now) + REINFORCEMENT * factor).min(1.0);
        Self::renumbered(old, |numbers| {
            numbers.strength = strength;
            numbers.peak_strength = numbers.peak_strength.max(strength);
            (numbers.last_reinforced, numbers.last_decayed) = (now, now);
            numbers.reinforcement_count = numbers.reinforcement_count.saturating_add(1);
            numbers.revision = numbers.revision.saturating_add(1).min(MAX_REVISION);
        })
    }
}
