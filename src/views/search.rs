//! Answers of a query: the traces that come first among those that meet its conditions.

use super::TraceViews;
use super::conditions::Conditions;
use super::sets::Sets;
use super::walk::Walk;
use crate::memory::{DecayCurve, Order, Scoring, SortKey};
use crate::protocol::Unsettled;
use crate::trace::{Micros, Trace, TraceId};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Arc;

/// A question of the views, at one time.
pub(crate) struct Search<'a> {
    pub(crate) conditions: &'a Conditions,
    pub(crate) order: Order,
    pub(crate) limit: usize,
    /// The results come after this one in the order.
    pub(crate) after: Option<SortKey>,
    pub(crate) curve: DecayCurve,
    pub(crate) scoring: Scoring,
}

/// What a search has found, and how.
pub(crate) struct Answer {
    /// In the order asked for.
    pub(crate) found: Vec<Held>,
    /// Number of entries of views, and of traces, that were looked at.
    pub(crate) visited: usize,
    /// Number of these that were read because the views may lack their last change.
    pub(crate) unsettled: usize,
    pub(crate) way: Way,
    /// Traces whose place in the order of strengths is out of date.
    pub(crate) late: Vec<TraceId>,
    /// The strengths are those of a time that has not come, by more than a step of a clock that is corrected.
    pub(crate) is_out_of_time: bool,
    /// The orders have traces that are no longer valid, or lack some that are.
    pub(crate) ends_are_behind: bool,
}

/// How a search went through the traces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// None of the traces in the views can meet the conditions, or none is asked for.
    Nothing,
    /// From the most recently reinforced on.
    Recency,
    /// From the most recently created on.
    Creation,
    /// From the strongest on.
    Strength,
    /// Each that is in all the sets asked for.
    Sets,
    /// Each that was created in the time asked for.
    Created,
    /// Each that has something of the text.
    #[cfg(all(feature = "recall", not(loom)))]
    Text,
    /// Each trace of the store.
    Scan,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Nothing => "nothing in the views can match",
            Way::Recency => "from the most recent on",
            Way::Creation => "from the newest on",
            Way::Strength => "from the strongest on",
            Way::Sets => "each with the terms",
            Way::Created => "each of the time of creation",
            #[cfg(all(feature = "recall", not(loom)))]
            Way::Text => "each with a word of the text",
            Way::Scan => "each trace",
        })
    }
}

/// One of the best so far; the worst of them is the greatest.
pub(crate) struct Held {
    pub(crate) key: SortKey,
    pub(crate) trace: Arc<Trace>,
    order: Order,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.compare(&self.key, &other.key)
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Held {}

/// The best so far.
#[derive(Default)]
pub(super) struct Best {
    held: BinaryHeap<Held>,
    pub(super) visited: usize,
    pub(super) late: Vec<TraceId>,
}

/// By so much a clock is set back when it is corrected, in microseconds.
const A_CORRECTION: i64 = 1_000_000;

impl Search<'_> {
    /// Asks the views, and takes unsettled traces as they are.
    pub(crate) fn ask(&self, unsettled: &Unsettled<TraceId, Trace>, views: &TraceViews) -> Answer {
        let walk = Walk { search: self, unsettled, views, sets: Sets::of(self.conditions, views) };
        let (mut best, way) = if self.limit == 0 { (Best::default(), Way::Nothing) } else { walk.go() };
        best.visited += unsettled.iter().len();
        // A page after another one is of that one's time, which is past.
        let is_out_of_time = self.order == Order::Strength
            && self.after.is_none()
            && views.strengths.are_ahead_of(self.scoring.at, A_CORRECTION);
        let ends_are_behind = views.ends_are_behind(self.scoring.at);
        Answer { is_out_of_time, ends_are_behind, ..self.answer(best, unsettled.iter().len(), way) }
    }

    /// Number of traces that meet the conditions, whatever the limit, and number of those looked at.
    pub(crate) fn count(&self, unsettled: &Unsettled<TraceId, Trace>, views: &TraceViews) -> (usize, usize) {
        let walk = Walk { search: self, unsettled, views, sets: Sets::of(self.conditions, views) };
        let changed = unsettled.iter().filter_map(|(_, trace)| trace.as_ref());
        let (settled, visited) = walk.count();
        (
            settled + changed.filter(|trace| self.admits(trace).is_some()).count(),
            visited + unsettled.iter().len(),
        )
    }

    /// Looks at each of these traces.
    pub(crate) fn scan(&self, traces: impl Iterator<Item = Arc<Trace>>) -> Answer {
        let mut best = Best::default();
        for trace in traces {
            best.visited += 1;
            self.offer(&mut best, &trace);
        }
        self.answer(best, 0, Way::Scan)
    }

    /// Looks at each of these traces, which have something of a text, and how much.
    #[cfg(all(feature = "recall", not(loom)))]
    pub(crate) fn rank(&self, traces: Vec<(Arc<Trace>, f64)>) -> Answer {
        let mut best = Best::default();
        for (trace, relevance) in traces {
            best.visited += 1;
            self.offer_relevant(&mut best, &trace, relevance);
        }
        self.answer(best, 0, Way::Text)
    }

    fn answer(&self, best: Best, unsettled: usize, way: Way) -> Answer {
        let found = best.held.into_sorted_vec();
        let (visited, late) = (best.visited, best.late);
        Answer { found, visited, unsettled, way, late, is_out_of_time: false, ends_are_behind: false }
    }

    /// The strength of a trace that meets the conditions, or 0 if nobody asks for it.
    pub(crate) fn admits(&self, trace: &Trace) -> Option<f64> {
        if !self.conditions.are_met_by(trace, self.scoring.at) {
            return None;
        }
        // Computing a strength takes longer than all the rest.
        if matches!(self.order, Order::Recency | Order::Created) && !self.conditions.have_a_strength() {
            return Some(0.0);
        }
        let strength = self.curve.strength(trace.trace_type(), &trace.numbers, self.scoring.at);
        // Not with NaN.
        (strength >= self.conditions.min_strength).then_some(strength)
    }

    /// Takes a trace in, if it meets the conditions and is among the best so far; `false` if it meets them and is not.
    pub(super) fn offer(&self, best: &mut Best, trace: &Arc<Trace>) -> bool {
        self.offer_relevant(best, trace, 0.0)
    }

    fn offer_relevant(&self, best: &mut Best, trace: &Arc<Trace>, relevance: f64) -> bool {
        let Some(strength) = self.admits(trace) else { return true };
        let key = SortKey { relevance, ..self.key(trace, strength) };
        if self.after.is_some_and(|after| self.order.compare(&key, &after) != Ordering::Greater) {
            return true;
        }
        let held = Held { key, trace: trace.clone(), order: self.order };
        if best.held.len() < self.limit {
            best.held.push(held);
            return true;
        }
        let is_better = best.held.peek().is_some_and(|worst| held < *worst);
        if is_better {
            best.held.pop();
            best.held.push(held);
        }
        is_better
    }

    fn key(&self, trace: &Trace, strength: f64) -> SortKey {
        let log_score = match self.order {
            Order::Score => self.scoring.log_score(trace, strength, 1.0),
            Order::Strength | Order::Recency | Order::Created | Order::Relevance => 0.0,
        };
        let time = match self.order {
            Order::Created => trace.content.created_at,
            _ => self.scoring.reinforced(trace),
        };
        SortKey { strength, log_score, relevance: 0.0, time, id: trace.id() }
    }

    /// The worst of the best, if there are as many as asked for.
    fn worst<'b>(&self, best: &'b Best) -> Option<&'b SortKey> {
        best.held.peek().filter(|_| best.held.len() >= self.limit).map(|worst| &worst.key)
    }

    /// No later time needs to be looked at: of creation in an order by that, otherwise of the last reinforcement.
    pub(super) fn latest(&self) -> Option<Micros> {
        let after = self.after.map(|after| after.time);
        match self.order {
            Order::Created => self.conditions.until.into_iter().chain(after).min(),
            // Any later one counts as of now.
            Order::Recency => after.filter(|time| *time < self.scoring.at),
            Order::Strength | Order::Score | Order::Relevance => None,
        }
    }

    /// Whether a trace of this time could be among the best.
    pub(super) fn late_enough(&self, best: &Best, time: Micros) -> bool {
        if self.order == Order::Created && self.conditions.since.is_some_and(|since| time < since) {
            return false;
        }
        self.worst(best).is_none_or(|worst| match self.order {
            Order::Score => self.scoring.highest_log_score(time) >= worst.log_score,
            Order::Recency | Order::Strength => time.min(self.scoring.at) >= worst.time,
            Order::Created => time >= worst.time,
            Order::Relevance => true,
        })
    }

    /// The strength that a trace must have to be among the best, if it was last reinforced by then; or a little less.
    pub(super) fn needed_strength(&self, best: &Best, reinforced: Micros) -> f64 {
        let worst = self.worst(best).filter(|_| self.order == Order::Score);
        let needed =
            worst.map_or(0.0, |worst| (worst.log_score - self.scoring.highest_log_score(reinforced)).exp2());
        // Less what computing loses.
        self.conditions.min_strength.max(needed * (1.0 - 1e-9))
    }

    /// Whether a trace of this strength could be among the best.
    pub(super) fn strong_enough(&self, best: &Best, strength: f64) -> bool {
        strength >= self.conditions.min_strength
            && self.worst(best).is_none_or(|worst| strength >= worst.strength)
    }
}
