//! What comes first: in queries, in rankings, among associated traces, and when a quota evicts.

use super::score::{Ranked, Scoring};
use crate::trace::{Micros, Trace, TraceId};
use std::cmp::Ordering;
use std::sync::Arc;

/// A trace and what it may be ordered by.
pub(crate) struct Pull {
    pub(crate) strength: f64,
    /// Where the order is by score.
    pub(crate) log_score: f64,
    /// At most now.
    pub(crate) reinforced: Micros,
    pub(crate) trace: Arc<Trace>,
}

/// What scores are compared by.
type ScoreKey = (f64, f64, Micros, TraceId);

impl Pull {
    fn score_key(&self) -> ScoreKey {
        (self.log_score, self.strength, self.reinforced, self.trace.id())
    }
}

/// The strongest first; of equals the smaller id.
pub(crate) fn by_strength(a: &Pull, b: &Pull) -> Ordering {
    b.strength.total_cmp(&a.strength).then_with(|| a.trace.id().cmp(&b.trace.id()))
}

/// The most recently reinforced first, to the microsecond; of equals the smaller id.
pub(crate) fn by_recency(a: &Pull, b: &Pull) -> Ordering {
    b.reinforced.cmp(&a.reinforced).then_with(|| a.trace.id().cmp(&b.trace.id()))
}

/// The highest score first; of equals the stronger, then the more recently reinforced, then the smaller id.
pub(crate) fn by_score(a: &Pull, b: &Pull) -> Ordering {
    by_score_key(a.score_key(), b.score_key())
}

/// As [`by_score`].
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

/// The least recently reinforced first; a time that has not come counts as now. Of equals the smaller id.
pub(crate) fn by_age(a: &Trace, b: &Trace, now: Micros) -> Ordering {
    let reinforced = |trace: &Trace| trace.numbers.last_reinforced.min(now);
    (reinforced(a), a.id()).cmp(&(reinforced(b), b.id()))
}

/// What the agent is least sure of first; of equals the smaller id.
pub(crate) fn by_doubt(a: &Trace, b: &Trace) -> Ordering {
    a.confidence().total_cmp(&b.confidence()).then_with(|| a.id().cmp(&b.id()))
}
