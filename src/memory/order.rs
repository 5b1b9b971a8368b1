//! Sort orders: of queries, of rankings, of associated traces, and of eviction by a quota.

use super::score::{Ranked, Scoring};
use crate::trace::{Micros, Trace, TraceId};
use std::cmp::Ordering;

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
    /// Most recently created first.
    Created,
    /// Most relevant for the `text` of the query first (feature `recall`). Without one all are equal.
    Relevance,
}

impl Order {
    /// How it orders two traces: ties by smaller id.
    pub(crate) fn compare(self, a: &SortKey, b: &SortKey) -> Ordering {
        match self {
            Order::Strength => b.strength.total_cmp(&a.strength).then_with(|| a.id.cmp(&b.id)),
            Order::Recency | Order::Created => b.time.cmp(&a.time).then_with(|| a.id.cmp(&b.id)),
            Order::Score => by_score(a, b),
            Order::Relevance => b.relevance.total_cmp(&a.relevance).then_with(|| a.id.cmp(&b.id)),
        }
    }
}

/// What the place of a trace in an order depends on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct SortKey {
    pub(crate) strength: f64,
    /// Set only for an order by score.
    pub(crate) log_score: f64,
    /// Of the text of a query; 0 if it has none.
    pub(crate) relevance: f64,
    /// Of creation in an order by that, otherwise of the last reinforcement, at most now.
    pub(crate) time: Micros,
    pub(crate) id: TraceId,
}

/// Highest score first; ties by higher strength, then by later reinforcement, then by smaller id.
fn by_score(a: &SortKey, b: &SortKey) -> Ordering {
    let by_log_score = b.log_score.total_cmp(&a.log_score).then_with(|| b.strength.total_cmp(&a.strength));
    by_log_score.then_with(|| b.time.cmp(&a.time)).then_with(|| a.id.cmp(&b.id))
}

/// Orders ranked traces like [`by_score`].
pub(crate) fn by_rank(scoring: Scoring) -> impl Fn(&Ranked, &Ranked) -> Ordering {
    let key = move |Ranked { trace, log_score, strength, .. }: &Ranked| SortKey {
        strength: *strength,
        log_score: *log_score,
        relevance: 0.0,
        time: scoring.reinforced(trace),
        id: trace.id(),
    };
    move |a, b| by_score(&key(a), &key(b))
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
