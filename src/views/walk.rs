//! How a search goes through the views.

use super::TraceViews;
use super::search::{Best, Search, Way};
use super::sets::Sets;
use super::sorted::SortedSlots;
use super::strengths::Ranking;
use crate::memory::Order;
use crate::protocol::Unsettled;
use crate::trace::{Micros, Trace, TraceId};

/// So many steps of a walk are worth trying before another way.
const PATIENCE: usize = 1_024;

/// Slots in an order.
enum Ordered<'a> {
    Recency(&'a SortedSlots<Micros>),
    Creation(&'a SortedSlots<Micros>),
    Strength(&'a Ranking),
}

impl Ordered<'_> {
    fn len(&self) -> usize {
        match self {
            Ordered::Recency(order) | Ordered::Creation(order) => order.len(),
            Ordered::Strength(ranking) => ranking.len(),
        }
    }
}

/// A search on its way through the views.
pub(super) struct Walk<'a> {
    pub(super) search: &'a Search<'a>,
    pub(super) unsettled: &'a Unsettled<TraceId, Trace>,
    pub(super) views: &'a TraceViews,
    /// `None` if no slot can match.
    pub(super) sets: Option<Sets<'a>>,
}

impl Walk<'_> {
    pub(super) fn go(&self) -> (Best, Way) {
        let Some(sets) = &self.sets else { return (self.unsettled(), Way::Nothing) };
        let search = self.search;
        // In all sets there are as many as if the sets had nothing to do with each other.
        let all = self.views.len().max(1) as f64;
        let in_all = sets.sizes().fold(all, |matching, size| matching * size as f64 / all);
        let ordered = self.ordered();
        let in_order = ordered.as_ref().map_or(0, Ordered::len) as f64;
        let to_walk = in_order / in_all.max(1.0) * search.limit as f64;
        // In steps of a walk: a look at a trace takes some, and an intersection a part of one for each that is in a
        // set.
        let to_intersect: f64 = sets.sizes().skip(1).map(|size| size as f64 / 32.0).sum();
        let to_look = to_intersect + 3.0 * in_all;
        // Whether all in the order is in the sets.
        let is_whole = match ordered {
            Some(Ordered::Creation(_)) => sets.are_empty(),
            _ => sets.sizes().count() == search.conditions.partitions().count(),
        };
        let mut given_up = 0;
        if let Some(ordered) = ordered.filter(|_| is_whole || to_walk < to_look) {
            // An order by creation begins and ends where the times asked for do.
            let has_times = search.conditions.have_times() && search.order != Order::Created;
            let is_only_way = is_whole && !has_times;
            // Where the sets say nothing, how many were created in a time is not known before they are counted. Else a
            // walk that is given up has cost no more than the other way does.
            let most = if is_whole { in_order / 16.0 } else { to_look };
            let patience = if is_only_way { usize::MAX } else { PATIENCE.max(most as usize) };
            let mut best = self.unsettled();
            self.each_out_of_order(|slot| self.visit(&mut best, slot));
            let (is_done, way) = match ordered {
                Ordered::Strength(ranking) => {
                    (self.strongest_first(&mut best, patience, ranking), Way::Strength)
                }
                Ordered::Creation(order) => {
                    (self.latest_first(&mut best, patience, order, super::created), Way::Creation)
                }
                Ordered::Recency(order) => {
                    (self.latest_first(&mut best, patience, order, super::reinforced), Way::Recency)
                }
            };
            if is_done {
                return (best, way);
            }
            given_up = best.visited;
        }
        let mut best = self.unsettled();
        best.visited = given_up;
        let way = self.each(|slot| self.visit(&mut best, slot));
        (best, way)
    }

    /// What to walk, of the partition that is asked for or of all, if there is something in the order asked for.
    fn ordered(&self) -> Option<Ordered<'_>> {
        let (search, views) = (self.search, self.views);
        let partition = search.conditions.partitions().next();
        match search.order {
            Order::Strength if !views.strengths.are_valid(search.scoring.at) => None,
            Order::Strength => views.strengths.ranking(partition).map(Ordered::Strength),
            Order::Created => Some(Ordered::Creation(&views.created)),
            Order::Recency | Order::Score => views.recency.order(partition).map(Ordered::Recency),
            Order::Relevance => None,
        }
    }

    fn visit(&self, best: &mut Best, slot: u32) {
        best.visited += 1;
        if self.is_in_sets(slot) {
            self.look(best, slot);
        }
    }

    /// Number of settled traces that meet the conditions, and number of entries looked at.
    pub(super) fn count(&self) -> (usize, usize) {
        let Some(sets) = &self.sets else { return (0, 0) };
        let conditions = self.search.conditions;
        if !conditions.have_times() && !conditions.have_a_strength() {
            let (ends, at) = (&self.views.ends, self.search.scoring.at);
            let is_in_orders = |slot| conditions.include_invalid || !ends.ended().contains(slot);
            let slots = self.unsettled.iter().filter_map(|(id, _)| self.views.slots.find(*id));
            let unsettled = slots.filter(|slot| sets.contain(*slot) && is_in_orders(*slot)).count();
            let count = sets.len(self.views.len()) as usize - unsettled;
            if conditions.include_invalid {
                return (count, 0);
            }
            let is_counted = |slot: &u32| {
                let trace = self.views.slots.get(*slot);
                sets.contain(*slot) && trace.is_some_and(|trace| !self.unsettled.contains(&trace.id()))
            };
            let late = ends.not_yet_out(at).filter(is_counted).count();
            let early = ends.still_valid(at).filter(is_counted).count();
            return (count + early - late, late + early);
        }
        let (mut count, mut visited) = (0, 0);
        self.each(|slot| {
            visited += 1;
            let trace = self.views.slots.get(slot).filter(|_| self.is_in_sets(slot));
            let settled = trace.filter(|trace| !self.unsettled.contains(&trace.id()));
            count += usize::from(settled.is_some_and(|trace| self.search.admits(trace).is_some()));
        });
        (count, visited)
    }

    /// Visits each slot that is out of the orders and may match all the same.
    fn each_out_of_order(&self, visit: impl FnMut(u32)) {
        let ends = &self.views.ends;
        if self.search.conditions.include_invalid {
            ends.ended().iter().for_each(visit);
        } else {
            ends.still_valid(self.search.scoring.at).for_each(visit);
        }
    }

    /// The best of what the views may have wrong.
    fn unsettled(&self) -> Best {
        let mut best = Best::default();
        let changed = self.unsettled.iter().filter_map(|(_, trace)| trace.as_ref());
        changed.for_each(|trace| _ = self.search.offer(&mut best, trace));
        best
    }

    fn is_in_sets(&self, slot: u32) -> bool {
        self.sets.as_ref().is_some_and(|sets| sets.contain(slot))
    }

    /// Offers the trace of a slot, as the views have it, unless it is unsettled.
    fn look(&self, best: &mut Best, slot: u32) -> bool {
        match self.views.slots.get(slot) {
            Some(trace) if !self.unsettled.contains(&trace.id()) => self.search.offer(best, trace),
            _ => true,
        }
    }

    /// `false` if it takes more steps than that.
    fn latest_first(
        &self,
        best: &mut Best,
        patience: usize,
        by_time: &SortedSlots<Micros>,
        time: fn(&Trace) -> Micros,
    ) -> bool {
        let of_slot = |slot| self.views.slots.get(slot).map_or(Micros::MIN, |trace| time(trace));
        let bounds = Some(&self.views.strengths).filter(|bounds| bounds.are_valid(self.search.scoring.at));
        let mut latest = Micros::MAX;
        for (earliest, slots) in by_time.between(None, self.search.latest(), of_slot).rev() {
            if !self.search.late_enough(best, latest) {
                return true;
            }
            // The bands are at hand, and show of most traces that they are too weak: those need not be fetched.
            let mut needed = bounds.map_or(0.0, |_| self.search.needed_strength(best, latest));
            for slot in slots.iter().rev() {
                let is_weak = bounds.is_some_and(|strengths| strengths.most(*slot) < needed);
                let may_match = !is_weak && self.is_in_sets(*slot);
                if may_match && !self.search.late_enough(best, of_slot(*slot)) {
                    return true;
                }
                best.visited += 1;
                if best.visited > patience {
                    return false;
                }
                if may_match {
                    self.look(best, *slot);
                    needed = bounds.map_or(0.0, |_| self.search.needed_strength(best, latest));
                }
            }
            latest = earliest;
        }
        true
    }

    /// `false` if it takes more steps than that.
    fn strongest_first(&self, best: &mut Best, patience: usize, ranking: &Ranking) -> bool {
        'steady: for (strongest, slots) in ranking.steady() {
            if !self.search.strong_enough(best, strongest) {
                break;
            }
            for slot in slots {
                best.visited += 1;
                if best.visited > patience {
                    return false;
                }
                // They come in order: once one is not good enough, none is.
                if self.is_in_sets(*slot) && !self.look(best, *slot) {
                    break 'steady;
                }
            }
        }
        for slot in ranking.fading() {
            if !self.search.strong_enough(best, self.views.strengths.most(slot)) {
                break;
            }
            best.visited += 1;
            if best.visited > patience {
                return false;
            }
            if self.is_in_sets(slot) {
                self.look(best, slot);
                self.note_if_late(best, slot);
            }
        }
        true
    }

    fn note_if_late(&self, best: &mut Best, slot: u32) {
        let Some(trace) = self.views.slots.get(slot) else { return };
        if self.views.strengths.is_late(slot, trace, self.search.scoring.at) {
            best.late.push(trace.id());
        }
    }

    /// Visits each slot that may match, whichever way there are the fewest.
    fn each(&self, mut visit: impl FnMut(u32)) -> Way {
        let (Some(sets), views) = (&self.sets, self.views) else { return Way::Nothing };
        let conditions = self.search.conditions;
        let smallest = sets.sizes().next().unwrap_or(views.len() as u64);
        if conditions.have_times() {
            let of_slot = |slot| views.slots.get(slot).map_or(Micros::MIN, |trace| super::created(trace));
            let blocks = || views.created.between(conditions.since, conditions.until, of_slot);
            let created = || blocks().flat_map(|(_, slots)| slots.iter().copied());
            if (created().take(smallest as usize).count() as u64) < smallest {
                created().for_each(&mut visit);
                self.each_out_of_order(visit);
                return Way::Created;
            }
        }
        match sets.intersection() {
            Some(slots) => {
                slots.iter().for_each(&mut visit);
                // The sets have those that are out of the orders too.
                if !conditions.include_invalid {
                    self.each_out_of_order(visit);
                }
                Way::Sets
            }
            None => {
                views.recency.all().iter().for_each(&mut visit);
                self.each_out_of_order(visit);
                Way::Scan
            }
        }
    }
}
