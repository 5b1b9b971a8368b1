//! Answers of a query: the traces that come first among those that meet its conditions.

use super::TraceViews;
use super::strengths::most;
use crate::memory::{DecayCurve, Order, Scoring, Weighted};
use crate::protocol::Unsettled;
use crate::trace::{Micros, Tier, Trace, TraceId, TraceType};
use roaring::RoaringBitmap;
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

/// What a result must meet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    /// One of these; any, if empty.
    pub(crate) types: Vec<TraceType>,
    /// All of these.
    pub(crate) tags: Vec<Box<str>>,
    pub(crate) partition: Option<Box<str>>,
    /// One of these; any, if empty.
    pub(crate) tiers: Vec<Tier>,
    pub(crate) unresolved: Option<bool>,
    pub(crate) since: Option<Micros>,
    pub(crate) until: Option<Micros>,
    pub(crate) min_strength: f64,
}

impl Conditions {
    /// Whether a trace meets them, but for its strength.
    fn are_met_by(&self, trace: &Trace) -> bool {
        (self.types.is_empty() || self.types.contains(&trace.trace_type()))
            && self.tags.iter().all(|tag| trace.has_tag(tag))
            && self.partition.as_deref().is_none_or(|partition| trace.partition() == partition)
            && (self.tiers.is_empty() || self.tiers.contains(&trace.tier()))
            && self.unresolved.is_none_or(|unresolved| trace.is_unresolved() == unresolved)
            && self.since.is_none_or(|since| trace.content.created_at >= since)
            && self.until.is_none_or(|until| trace.content.created_at <= until)
    }

    fn have_times(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }
}

/// A question of the views, at one time.
pub(crate) struct Search<'a> {
    pub(crate) conditions: &'a Conditions,
    pub(crate) order: Order,
    pub(crate) limit: usize,
    pub(crate) curve: DecayCurve,
    pub(crate) scoring: Scoring,
}

/// What a search has found, and how.
pub(crate) struct Answer {
    /// In the order asked for.
    pub(crate) traces: Vec<Arc<Trace>>,
    /// Number of entries of views, and of traces, that were looked at.
    pub(crate) visited: usize,
    /// Number of these that were read because the views may lack their last change.
    pub(crate) unsettled: usize,
    pub(crate) way: Way,
    /// Traces whose place in the order of strengths is out of date.
    pub(crate) late: Vec<TraceId>,
    /// The strengths are those of a time that has not come, by more than a step of a clock that is corrected.
    pub(crate) is_out_of_time: bool,
}

/// How a search went through the traces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// None of the traces in the views can meet the conditions, or none is asked for.
    Nothing,
    /// From the most recently reinforced on.
    Recency,
    /// From the strongest on.
    Strength,
    /// Each that is in all the sets asked for.
    Sets,
    /// Each that was created in the time asked for.
    Created,
    /// Each trace of the store.
    Scan,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Nothing => "nothing in the views can match",
            Way::Recency => "from the most recent on",
            Way::Strength => "from the strongest on",
            Way::Sets => "each with the terms",
            Way::Created => "each of the time of creation",
            Way::Scan => "each trace",
        })
    }
}

/// One of the best so far; the worst of them is the greatest.
struct Held {
    weighted: Weighted,
    order: Order,
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.compare(&self.weighted, &other.weighted)
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
struct Best {
    held: BinaryHeap<Held>,
    visited: usize,
    late: Vec<TraceId>,
}

/// Slots that meet one condition: those in any of these sets.
struct AnyOf<'a>(Vec<&'a RoaringBitmap>);

impl AnyOf<'_> {
    fn len(&self) -> u64 {
        self.0.iter().map(|set| set.len()).sum()
    }

    fn contains(&self, slot: u32) -> bool {
        self.0.iter().any(|set| set.contains(slot))
    }
}

/// By so much a clock is set back when it is corrected, in microseconds.
const A_CORRECTION: i64 = 1_000_000;

/// So many steps of a walk are worth trying before another way.
const PATIENCE: usize = 1_024;

impl Search<'_> {
    /// Asks the views, and takes unsettled traces as they are.
    pub(crate) fn ask(&self, unsettled: &Unsettled<TraceId, Trace>, views: &TraceViews) -> Answer {
        let walk = Walk { search: self, unsettled, views, sets: self.sets(views) };
        let (mut best, way) = if self.limit == 0 { (Best::default(), Way::Nothing) } else { walk.go() };
        best.visited += unsettled.iter().len();
        let is_out_of_time =
            self.order == Order::Strength && views.strengths.are_ahead_of(self.scoring.at, A_CORRECTION);
        Answer { is_out_of_time, ..self.answer(best, unsettled.iter().len(), way) }
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

    fn answer(&self, best: Best, unsettled: usize, way: Way) -> Answer {
        let held = best.held.into_sorted_vec();
        let traces = held.into_iter().map(|held| held.weighted.trace).collect();
        Answer { traces, visited: best.visited, unsettled, way, late: best.late, is_out_of_time: false }
    }

    /// The sets that a result must be in; `None` if one of them is empty.
    fn sets<'a>(&self, views: &'a TraceViews) -> Option<Vec<AnyOf<'a>>> {
        let Conditions { types, tags, partition, tiers, unresolved, since, until, .. } = self.conditions;
        if since.zip(*until).is_some_and(|(since, until)| since > until) {
            return None;
        }
        let mut sets = Vec::new();
        if !types.is_empty() {
            let wanted = TraceType::ALL.iter().filter(|kind| types.contains(kind));
            sets.push(AnyOf(wanted.map(|kind| &views.types[*kind as usize]).collect()));
        }
        if !tiers.is_empty() {
            let wanted = Tier::ALL.iter().filter(|tier| tiers.contains(tier));
            sets.push(AnyOf(wanted.map(|tier| &views.tiers[*tier as usize]).collect()));
        }
        for tag in tags {
            sets.push(AnyOf(vec![views.tags.get(tag)?]));
        }
        if let Some(partition) = partition {
            sets.push(AnyOf(vec![views.partitions.get(partition)?]));
        }
        if *unresolved == Some(true) {
            sets.push(AnyOf(vec![&views.unresolved]));
        }
        sets.sort_by_key(AnyOf::len);
        sets.first().is_none_or(|smallest| smallest.len() > 0).then_some(sets)
    }

    /// Takes a trace in, if it meets the conditions and is among the best so far; `false` if it meets them and is not.
    fn offer(&self, best: &mut Best, trace: &Arc<Trace>) -> bool {
        if !self.conditions.are_met_by(trace) {
            return true;
        }
        let min_strength = self.conditions.min_strength;
        // Computing a strength takes longer than all the rest.
        let strength = if self.order == Order::Recency && min_strength <= 0.0 {
            0.0
        } else {
            self.curve.strength(trace.trace_type(), &trace.numbers, self.scoring.at)
        };
        // NaN matches nothing.
        if strength < min_strength || min_strength.is_nan() || self.limit == 0 {
            return true;
        }
        let log_score = match self.order {
            Order::Strength | Order::Recency => 0.0,
            Order::Score => self.scoring.log_score(trace, strength, 1.0),
        };
        let reinforced = self.scoring.reinforced(trace);
        let weighted = Weighted { strength, log_score, reinforced, trace: trace.clone() };
        let held = Held { weighted, order: self.order };
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

    /// The worst of the best, if there are as many as asked for.
    fn worst<'b>(&self, best: &'b Best) -> Option<&'b Weighted> {
        best.held.peek().filter(|_| best.held.len() >= self.limit).map(|worst| &worst.weighted)
    }

    /// Whether a trace that was last reinforced then could be among the best.
    fn recent_enough(&self, best: &Best, reinforced: Micros) -> bool {
        self.worst(best).is_none_or(|worst| match self.order {
            Order::Score => self.scoring.highest_log_score(reinforced) >= worst.log_score,
            Order::Recency | Order::Strength => reinforced.min(self.scoring.at) >= worst.reinforced,
        })
    }

    /// Whether a trace of this strength could be among the best.
    fn strong_enough(&self, best: &Best, strength: f64) -> bool {
        strength >= self.conditions.min_strength
            && self.worst(best).is_none_or(|worst| strength >= worst.strength)
    }
}

/// A search on its way through the views.
struct Walk<'a> {
    search: &'a Search<'a>,
    unsettled: &'a Unsettled<TraceId, Trace>,
    views: &'a TraceViews,
    sets: Option<Vec<AnyOf<'a>>>,
}

impl Walk<'_> {
    fn go(&self) -> (Best, Way) {
        let Some(sets) = &self.sets else { return (self.unsettled(), Way::Nothing) };
        let search = self.search;
        // In all sets there are as many as if the sets had nothing to do with each other.
        let all = self.views.len().max(1) as f64;
        let in_all = sets.iter().fold(all, |matching, set| matching * set.len() as f64 / all);
        let to_walk = all / in_all.max(1.0) * search.limit as f64;
        // In steps of a walk: a look at a trace takes some, and an intersection a part of one for each that is in a set.
        let to_intersect: f64 = sets.iter().skip(1).map(|set| set.len() as f64 / 32.0).sum();
        let to_look = to_intersect + 3.0 * in_all;
        let can_walk = search.order != Order::Strength || self.views.strengths.are_valid(search.scoring.at);
        let mut given_up = 0;
        if can_walk && (sets.is_empty() || to_walk < to_look) {
            let is_only_way = sets.is_empty() && !search.conditions.have_times();
            // Where there are no sets, how many were created in a time is not known before they are counted.
            let most = if sets.is_empty() { self.views.len() / 16 } else { usize::MAX };
            let patience =
                if is_only_way { usize::MAX } else { PATIENCE.max(most.min((2.0 * to_walk) as usize)) };
            let mut best = self.unsettled();
            let (is_done, way) = match search.order {
                Order::Strength => (self.strongest_first(&mut best, patience), Way::Strength),
                Order::Recency | Order::Score => (self.latest_first(&mut best, patience), Way::Recency),
            };
            if is_done {
                return (best, way);
            }
            given_up = best.visited;
        }
        let mut best = self.unsettled();
        best.visited = given_up;
        let way = self.each(&mut best);
        (best, way)
    }

    /// The best of what the views may have wrong.
    fn unsettled(&self) -> Best {
        let mut best = Best::default();
        let changed = self.unsettled.iter().filter_map(|(_, trace)| trace.as_ref());
        changed.for_each(|trace| _ = self.search.offer(&mut best, trace));
        best
    }

    fn is_in_sets(&self, slot: u32) -> bool {
        self.sets.iter().flatten().all(|set| set.contains(slot))
    }

    /// Offers the trace of a slot, as the views have it, unless it is unsettled.
    fn look(&self, best: &mut Best, slot: u32) -> bool {
        match self.views.slots.get(slot) {
            Some(trace) if !self.unsettled.contains(&trace.id()) => self.search.offer(best, trace),
            _ => true,
        }
    }

    /// `false` if it takes more steps than that.
    fn latest_first(&self, best: &mut Best, patience: usize) -> bool {
        for (reinforced, slot) in self.views.recency.iter().rev() {
            if !self.search.recent_enough(best, *reinforced) {
                return true;
            }
            best.visited += 1;
            if best.visited > patience {
                return false;
            }
            if self.is_in_sets(*slot) {
                self.look(best, *slot);
            }
        }
        true
    }

    /// `false` if it takes more steps than that.
    fn strongest_first(&self, best: &mut Best, patience: usize) -> bool {
        for (strength, slot) in self.views.strengths.steady() {
            if !self.search.strong_enough(best, strength) {
                break;
            }
            best.visited += 1;
            if best.visited > patience {
                return false;
            }
            // They come in order: once one is not good enough, none is.
            if self.is_in_sets(slot) && !self.look(best, slot) {
                break;
            }
        }
        let sets = self.sets.as_deref().unwrap_or_default();
        for (band, slots) in self.views.strengths.bands() {
            if !self.search.strong_enough(best, most(band)) {
                break;
            }
            let narrowed = match sets {
                [set, ..] if set.0.len() == 1 && slots.len() > FEW => Some(slots & set.0[0]),
                _ => None,
            };
            // To narrow a band takes about as long as some steps.
            best.visited += if narrowed.is_some() { (slots.len() / 64) as usize + 1 } else { 0 };
            for slot in narrowed.as_ref().unwrap_or(slots) {
                best.visited += 1;
                if best.visited > patience {
                    return false;
                }
                if self.is_in_sets(slot) {
                    self.look(best, slot);
                    self.note_if_late(best, slot);
                }
            }
        }
        true
    }

    fn note_if_late(&self, best: &mut Best, slot: u32) {
        let Some(trace) = self.views.slots.get(slot) else { return };
        let strength = self.search.curve.strength(trace.trace_type(), &trace.numbers, self.search.scoring.at);
        if self.views.strengths.is_late(slot, strength) {
            best.late.push(trace.id());
        }
    }

    /// Looks at each trace that may match, whichever way there are the fewest.
    fn each(&self, best: &mut Best) -> Way {
        let Conditions { since, until, .. } = *self.search.conditions;
        let (sets, views) = (self.sets.as_deref().unwrap_or_default(), self.views);
        let smallest = sets.first().map_or(views.len() as u64, AnyOf::len);
        if self.search.conditions.have_times() {
            let from = since.map_or(Bound::Unbounded, |since| Bound::Included((since, 0)));
            let to = until.map_or(Bound::Unbounded, |until| Bound::Included((until, u32::MAX)));
            let created = || views.created.range((from, to)).map(|(_, slot)| *slot);
            if (created().take(smallest as usize).count() as u64) < smallest {
                created().for_each(|slot| self.step(best, slot));
                return Way::Created;
            }
        }
        match sets {
            [] => {
                views.recency.iter().for_each(|(_, slot)| self.step(best, *slot));
                Way::Scan
            }
            [only] => {
                only.0.iter().flat_map(|set| set.iter()).for_each(|slot| self.step(best, slot));
                Way::Sets
            }
            [smallest, rest @ ..] => {
                let union = |set: &AnyOf<'_>| match &set.0[..] {
                    [one] => RoaringBitmap::clone(one),
                    sets => sets.iter().fold(RoaringBitmap::new(), |all, set| all | *set),
                };
                let in_all = rest.iter().fold(union(smallest), |left, set| match &set.0[..] {
                    [one] => left & *one,
                    _ => left & union(set),
                });
                in_all.iter().for_each(|slot| self.step(best, slot));
                Way::Sets
            }
        }
    }

    fn step(&self, best: &mut Best, slot: u32) {
        best.visited += 1;
        if self.is_in_sets(slot) {
            self.look(best, slot);
        }
    }
}

/// So few slots of a band are asked one by one whether they are in a set.
const FEW: u64 = 16;
