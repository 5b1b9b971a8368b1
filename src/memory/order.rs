//! Sort orders: of queries, of rankings, of associated traces, and of eviction by a quota.

use super::score::{Ranked, Scoring};
use crate::trace::{Micros, Trace, TraceId};
use std::cmp::Ordering;
use std::sync::Arc;

/// Sort order of the results.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Order {
    /// Strongest first, by current strength.
    #[default]
    Strength,
    /// Most recently reinforced first. A time in the future, from a wrong clock, counts as now.
    Recency,
    /// Highest current retrieval score first: see [`Ranked`](crate::Ranked). Ties are ordered by strength, then by how
    /// recently the trace was reinforced.
    Score,
}

impl Order {
    /// How it orders two traces.
    pub(crate) fn compare(self, a: &Weighted, b: &Weighted) -> Ordering {
        match self {
            Order::Strength => by_strength(a, b),
            Order::Recency => by_recency(a, b),
            Order::Score => by_score(a, b),
        }
    }
}

/// A trace and its sort keys.
pub(crate) struct Weighted {
    pub(crate) strength: f64,
    /// Set only for an order by score.
    pub(crate) log_score: f64,
    /// The last reinforcement, at most now.
    pub(crate) reinforced: Micros,
    pub(crate) trace: Arc<Trace>,
}

/// Sort key of an order by score.
type ScoreKey = (f64, f64, Micros, TraceId);

impl Weighted {
    fn score_key(&self) -> ScoreKey {
        (self.log_score, self.strength, self.reinforced, self.trace.id())
    }
}

/// Strongest first; ties by smaller id.
pub(crate) fn by_strength(a: &Weighted, b: &Weighted) -> Ordering {
    b.strength.total_cmp(&a.strength).then_with(|| a.trace.id().cmp(&b.trace.id()))
}

/// Most recently reinforced first, to the microsecond; ties by smaller id.
fn by_recency(a: &Weighted, b: &Weighted) -> Ordering {
    b.reinforced.cmp(&a.reinforced).then_with(|| a.trace.id().cmp(&b.trace.id()))
}

/// Highest score first; ties by higher strength, then by later reinforcement, then by smaller id.
fn by_score(a: &Weighted, b: &Weighted) -> Ordering {
    by_score_key(a.score_key(), b.score_key())
}

/// Orders ranked traces like [`by_score`].
pub(crate) fn by_rank(scoring: Scoring) -> impl Fn(&Ranked, &Ranked) -> Ordering {
    let key = move |ranked: &Ranked| {
        (ranked.log_score, ranked.strength, scoring.reinforced(&ranked.trace), ranked.trace.id())
    };
    move |a, b| by_score_key(key(a), key(b))
}

fn by_score_key(a: ScoreKey, b: ScoreKey) -> Ordering {
    let by_log_score = b.0.total_cmp(&a.0).then_with(|| b.1.total_cmp(&a.1));
    by_log_score.then_with(|| b.2.cmp(&a.2)).then_with(|| a.3.cmp(&b.3))
}

/// Least recently reinforced first; a time in the future counts as now. Ties by smaller id.
pub(crate) fn by_age(a: &Trace, b: &Trace, now: Micros) -> Ordering {
    let reinforced = |trace: &Trace| trace.numbers.last_reinforced.min(now);
    (reinforced(a), a.id()).cmp(&(reinforced(b), b.id()))
}

/// Lowest confidence first; ties by smaller id.
pub(crate) fn by_doubt(a: &Trace, b: &Trace) -> Ordering {
    a.confidence().total_cmp(&b.confidence()).then_with(|| a.id().cmp(&b.id()))
}
