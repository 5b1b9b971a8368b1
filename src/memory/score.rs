//! Retrieval scores.
//!
//! A score is a product, `strength × recency × emotion × association`, and is compared as its base-2 logarithm,
//!
//! ```text
//! log_score = log2(strength × emotion × association) - age / half-life
//! ```
//!
//! because as an `f64` the product of a trace that was reinforced 45 days ago is 0. The first term is at most
//! log2(1 × 2 × 1.15), so recency alone bounds a score: a trace last reinforced at or before a given time scores at
//! most that maximum minus the second term of that time. A scan from the most recent trace on can therefore stop once
//! no remaining trace can score higher.

use super::constants::ASSOCIATION_BONUS;
use crate::trace::{Micros, Trace};
use std::sync::Arc;
use std::time::Duration;

/// A trace with its retrieval score and the factors of the score: `strength × recency × emotion × association`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ranked {
    /// The trace.
    pub trace: Arc<Trace>,
    /// The product of strength, recency, emotion and association, 0 to 2.3. It is 0 for a trace last reinforced more
    /// than about 1,075 half-lives ago: compare logarithms instead.
    pub score: f64,
    /// The base-2 logarithm of the score, from negative infinity (strength 0) to log2(2.3). Traces are ordered by it.
    pub log_score: f64,
    /// The strength at the time of the ranking, 0 to 1.
    pub strength: f64,
    /// `2^(-t / h)`, 0 to 1, where `t` is the time since the last reinforcement and `h` the
    /// [half-life](crate::StoreBuilder::recency_half_life).
    pub recency: f64,
    /// 1 + the emotional intensity: 1 to 2.
    pub emotion: f64,
    /// 1.15 if another trace of the list is associated with this one, otherwise 1.
    pub association: f64,
}

impl Ranked {
    pub(crate) fn new(trace: Arc<Trace>, strength: f64, scoring: Scoring, associated: bool) -> Self {
        let association = if associated { 1.0 + ASSOCIATION_BONUS } else { 1.0 };
        let (recency, emotion) = (scoring.log_recency(&trace).exp2(), emotion(&trace));
        Self {
            score: strength * recency * emotion * association,
            log_score: scoring.log_score(&trace, strength, association),
            trace,
            strength,
            recency,
            emotion,
            association,
        }
    }
}

const MAX_INTENSITY: f64 = 1.0;

fn emotion(trace: &Trace) -> f64 {
    1.0 + trace.emotional_intensity()
}

/// The time for which scores are computed, and the half-life of recency.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scoring {
    pub(crate) at: Micros,
    half_life_seconds: f64,
}

impl Scoring {
    /// The half-life must be more than 0.
    pub(crate) fn new(at: Micros, half_life: Duration) -> Self {
        Self { at, half_life_seconds: half_life.as_secs_f64() }
    }

    pub(crate) fn log_score(self, trace: &Trace, strength: f64, association: f64) -> f64 {
        (strength * emotion(trace) * association).log2() + self.log_recency(trace)
    }

    /// The time of the last reinforcement. A time in the future comes from a wrong clock, and counts as now.
    pub(crate) fn reinforced(self, trace: &Trace) -> Micros {
        trace.numbers.last_reinforced.min(self.at)
    }

    /// The base-2 logarithm of the highest score that a trace can have that was last reinforced then.
    pub(crate) fn highest_log_score(self, reinforced: Micros) -> f64 {
        (1.0 + MAX_INTENSITY).log2() + self.log_recency_of(reinforced)
    }

    /// The base-2 logarithm of the recency: 0 or less.
    fn log_recency(self, trace: &Trace) -> f64 {
        self.log_recency_of(trace.numbers.last_reinforced)
    }

    /// The recency, as in [`Ranked`].
    #[cfg(all(feature = "recall", not(loom)))]
    pub(crate) fn recency(self, trace: &Trace) -> f64 {
        self.log_recency(trace).exp2()
    }

    fn log_recency_of(self, reinforced: Micros) -> f64 {
        -(self.at.seconds_since(reinforced.min(self.at)) / self.half_life_seconds)
    }
}
