//! How much a trace matters now.

use super::constants::{ASSOCIATION_BONUS, RECENCY_HALF_LIFE_SECONDS};
use crate::trace::{Micros, Trace};
use std::cmp::Ordering;
use std::sync::Arc;

/// A trace with its retrieval score and what that is made of:
/// `strength × recency × emotion × association`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ranked {
    /// The trace.
    pub trace: Arc<Trace>,
    /// The product of the rest, 0 to 2.3.
    pub score: f64,
    /// How strong it is at the time of the ranking, 0 to 1.
    pub strength: f64,
    /// `2^(-t / 3600 s)`, where `t` is the time since it was last reinforced: 0 to 1.
    pub recency: f64,
    /// 1 + its emotional intensity: 1 to 2.
    pub emotion: f64,
    /// 1.15 if another trace of the list is associated with it, else 1.
    pub association: f64,
}

impl Ranked {
    pub(crate) fn new(trace: Arc<Trace>, strength: f64, at: Micros, associated: bool) -> Self {
        let recency = recency(&trace, at);
        let emotion = 1.0 + trace.emotional_intensity();
        let association = if associated { 1.0 + ASSOCIATION_BONUS } else { 1.0 };
        Self {
            score: strength * recency * emotion * association,
            trace,
            strength,
            recency,
            emotion,
            association,
        }
    }
}

/// One half after each half-life since the last reinforcement; 1 before it.
fn recency(trace: &Trace, at: Micros) -> f64 {
    let age = at.seconds_since(trace.numbers.last_reinforced).max(0.0);
    (-age / RECENCY_HALF_LIFE_SECONDS).exp2()
}

/// A trace and what it is ordered by, the greatest first; of equals the smaller id.
pub(crate) struct Pull {
    pub(crate) weight: f64,
    pub(crate) trace: Arc<Trace>,
}

pub(crate) fn by_rank(a: &Pull, b: &Pull) -> Ordering {
    b.weight.total_cmp(&a.weight).then_with(|| a.trace.id().cmp(&b.trace.id()))
}

/// The most recently reinforced first, to the microsecond; of equals the smaller id.
pub(crate) fn by_recency(a: &Pull, b: &Pull) -> Ordering {
    let at = |pull: &Pull| pull.trace.numbers.last_reinforced;
    at(b).cmp(&at(a)).then_with(|| a.trace.id().cmp(&b.trace.id()))
}

pub(crate) fn by_score(a: &Ranked, b: &Ranked) -> Ordering {
    b.score.total_cmp(&a.score).then_with(|| a.trace.id().cmp(&b.trace.id()))
}
