//! Reinforcement: what is used again grows stronger.

use super::TraceStore;
use super::engine::Engine;
use super::query::Order;
use crate::core::Change;
use crate::error::Result;
use crate::memory::constants::{AUTO_FIRE, IMPRINT_FACTOR, REINFORCEMENT, RETRIEVABLE};
use crate::trace::{MAX_REVISION, Micros, Trace, TraceId, TraceType};
use jiff::Timestamp;
use std::sync::Arc;

/// What became of a reinforcement.
#[derive(Clone, Debug)]
#[must_use = "it says whether the trace was reinforced"]
pub enum Reinforcement {
    /// The trace as it is now.
    Reinforced(Arc<Trace>),
    /// Not reinforced: firmware is as strong as it is.
    Firmware(Arc<Trace>),
    /// Not reinforced: the store does not hold it.
    NotFound,
}

impl Reinforcement {
    /// Whether the trace was reinforced.
    pub fn is_reinforced(&self) -> bool {
        matches!(self, Reinforcement::Reinforced(_))
    }

    /// The trace, reinforced or not, if the store holds it.
    pub fn trace(self) -> Option<Arc<Trace>> {
        match self {
            Reinforcement::Reinforced(trace) | Reinforcement::Firmware(trace) => Some(trace),
            Reinforcement::NotFound => None,
        }
    }
}

impl TraceStore {
    /// Makes a trace stronger, atomically: `min(1, strength now + 0.10)`, three times as much in the
    /// [imprint window](crate::StoreBuilder::imprint_until). Its peak rises with it, and it fades anew from now on.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// let id = store.insert(NewTrace::semantic(json!("the harbour silts up")))?; // starts at 0.5
    /// let trace = store.reinforce(id)?.trace().expect("it is there");
    /// assert!((trace.strength() - 0.6).abs() < 1e-3);
    /// assert_eq!(trace.reinforcement_count(), 1);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) and [`Lagging`](crate::ErrorKind::Lagging), as for
    /// [`insert`](Self::insert).
    pub fn reinforce(&self, id: TraceId) -> Result<Reinforcement> {
        let engine = self.engine();
        let done = self.alter(id, |old| Ok(engine.reinforced(old, engine.now())))?;
        Ok(match done.and_then(|done| done.new) {
            None => Reinforcement::NotFound,
            Some(trace) if trace.trace_type() == TraceType::Firmware => Reinforcement::Firmware(trace),
            Some(trace) => Reinforcement::Reinforced(trace),
        })
    }

    /// Reinforces the `limit` strongest traces that have a strength of 0.1 or more now, and answers them as they
    /// are then, in the order they were found. Firmware is among them and stays as it is.
    ///
    /// Looks at every trace.
    ///
    /// # Errors
    ///
    /// As for [`reinforce`](Self::reinforce); those before the first that failed are reinforced.
    pub fn retrieve_and_reinforce(&self, limit: usize) -> Result<Vec<Arc<Trace>>> {
        let found = self.query().min_strength(RETRIEVABLE).order(Order::Strength).limit(limit).run();
        let mut reinforced = Vec::with_capacity(found.len());
        for trace in found {
            reinforced.extend(self.reinforce(trace.id())?.trace());
        }
        Ok(reinforced)
    }

    /// How strong a trace is now, 0 to 1: what is stored, less what it has faded since.
    pub fn strength(&self, trace: &Trace) -> f64 {
        self.engine().strength(trace, self.engine().now())
    }

    /// How strong a trace, as it is, is at a time.
    pub fn strength_at(&self, trace: &Trace, at: Timestamp) -> f64 {
        self.engine().strength(trace, at.into())
    }

    /// Whether a trace acts of itself now: a procedural one with a strength of 0.85 or more.
    pub fn fires(&self, trace: &Trace) -> bool {
        trace.trace_type() == TraceType::Procedural && self.strength(trace) >= AUTO_FIRE
    }
}

impl Engine {
    fn reinforced(&self, old: &Trace, now: Micros) -> Change<Trace> {
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
