//! The views of the traces: by what they have in common, and in the orders in which they are asked for.
//!
//! Fed with the traces of each cut and never by a write: see [`protocol`](crate::protocol).
//!
//! - [`slots`]: a small number for each trace, which is all that the views hold of it;
//! - [`sorted`]: slots in the order of a time or a strength;
//! - [`due`]: when which of them needs upkeep;
//! - [`validity`]: which of them are out of the orders, as they are no longer valid;
//! - [`recency`]: the order of last reinforcement;
//! - [`strengths`]: the order of strengths, which time changes;
//! - [`conditions`], [`sets`]: what the results of a query meet, and where they therefore are;
//! - [`counts`]: of partitions and tags;
//! - `text`: what the traces say, with the feature `recall`;
//! - [`search`], [`walk`]: the answers of a query, and how they are found.

mod by_partition;
mod conditions;
mod counts;
mod due;
mod recency;
mod search;
mod sets;
mod slots;
mod sorted;
mod strengths;
#[cfg(all(feature = "recall", not(loom)))]
mod text;
mod validity;
mod walk;

pub(crate) use conditions::Conditions;
pub(crate) use counts::Counted;
pub(crate) use due::{DueFor, Place, Upkept};
pub(crate) use search::{Answer, Search};
#[cfg(all(feature = "recall", not(loom)))]
pub(crate) use text::ReadWords;

use crate::memory::DecayCurve;
use crate::protocol::fetch;
use crate::trace::{Micros, SharedContent, Tier, Trace, TraceId, TraceType};
use due::DueTimes;
use recency::{Recency, reinforced};
use roaring::RoaringBitmap;
use slots::Slots;
use sorted::SortedSlots;
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use strengths::Strengths;
use validity::Ends;

/// All of them. Whatever is not asked for by a name is a set of slots. The orders are without the traces that are no
/// longer valid: see [`validity`].
pub(crate) struct TraceViews {
    slots: Slots,
    types: Sets<{ TraceType::ALL.len() }>,
    tiers: Sets<{ Tier::ALL.len() }>,
    unresolved: RoaringBitmap,
    partitions: SetOf<Box<str>>,
    tags: SetOf<Box<str>>,
    parents: SetOf<TraceId>,
    recency: Recency,
    created: SortedSlots<Micros>,
    strengths: Strengths,
    due: DueTimes,
    ends: Ends,
    /// The part of `recency` that is not valid any more.
    ended_recency: SortedSlots<Micros>,
    /// Of payload text.
    bytes: u64,
    #[cfg(all(feature = "recall", not(loom)))]
    text: Option<text::TextView>,
}

type Sets<const N: usize> = [RoaringBitmap; N];

type SetOf<K> = HashMap<K, RoaringBitmap, foldhash::fast::RandomState>;

impl TraceViews {
    pub(crate) fn new(curve: DecayCurve, upkept: Upkept) -> Self {
        Self::empty(Strengths::new(curve), DueTimes::new(curve, upkept, Micros::clamped(0)))
    }

    fn empty(strengths: Strengths, due: DueTimes) -> Self {
        Self {
            slots: Slots::default(),
            types: Default::default(),
            tiers: Default::default(),
            unresolved: RoaringBitmap::new(),
            partitions: SetOf::default(),
            tags: SetOf::default(),
            parents: SetOf::default(),
            recency: Recency::default(),
            created: SortedSlots::default(),
            strengths,
            due,
            ends: Ends::default(),
            ended_recency: SortedSlots::default(),
            bytes: 0,
            #[cfg(all(feature = "recall", not(loom)))]
            text: None,
        }
    }

    /// Views of the same kind, of these traces: built by sorting, which takes a fraction of what putting in each would.
    pub(crate) fn built(&self, traces: Vec<Arc<Trace>>, now: Micros) -> Self {
        let mut views = Self::empty(Strengths::new(self.strengths.curve()), self.due.emptied(now));
        // Slots in the order of recency: what is asked for together lies together. The times are sorted and not the
        // traces, each of which would have to be fetched for each comparison.
        let mut traces: Vec<_> =
            traces.into_iter().map(|trace| (trace.numbers.last_reinforced, trace)).collect();
        traces.sort_unstable_by_key(|(reinforced, _)| *reinforced);
        views.slots = Slots::with_capacity(traces.len());
        views.ends = Ends::up_to(now);
        let valid = || traces.iter().zip(0..).filter(|((_, trace), _)| trace.is_valid(now));
        views.recency = Recency::of(valid().map(|((_, trace), slot)| (slot, &**trace)));
        views.created = SortedSlots::of(valid().map(|((_, trace), slot)| (created(trace), slot)).collect());
        let mut ended = Vec::new();
        for (reinforced, trace) in traces {
            let slot = views.slots.add(trace.clone());
            views.change_sets(Membership::Enter, slot, &trace, None);
            views.ends.put(slot, None, Some(&trace));
            if views.ends.ended().contains(slot) {
                ended.push((reinforced, slot));
            }
            views.due.put(slot, None, Some(&trace));
            views.bytes += size(&trace);
        }
        views.ended_recency = SortedSlots::of(ended);
        views.rank(now);
        #[cfg(all(feature = "recall", not(loom)))]
        {
            views.text = self.text.as_ref().map(|text| text.emptied(Vec::new()));
            views.read_again();
        }
        views
    }

    /// Has the orders that time changes be those of now, after the clock was set back. What the traces say stays read.
    pub(crate) fn set_back(&mut self, now: Micros) {
        let Self { slots, due, .. } = self;
        *due = due.emptied(now);
        slots.iter().for_each(|(slot, trace)| due.put(slot, None, Some(trace)));
        self.rank(now);
    }

    fn rank(&mut self, now: Micros) {
        let ended = self.ends.ended();
        let valid = self.slots.iter().filter(|(slot, _)| !ended.contains(*slot));
        let valid = valid.map(|(slot, trace)| (slot, &**trace));
        self.strengths = Strengths::of(self.strengths.curve(), valid, now);
    }

    /// Number of traces.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Reads the traces shown of these ids, so that the processor fetches them side by side, and not one by one where
    /// each is put.
    pub(crate) fn fetch(&self, ids: &[TraceId]) {
        fetch(ids.iter().filter_map(|id| self.shown(*id)), |trace| trace.numbers.touch());
    }

    /// Shows what the store has of an id, in the place of what was shown of it, which is returned.
    pub(crate) fn put(&mut self, id: TraceId, new: Option<Arc<Trace>>, now: Micros) -> Option<Arc<Trace>> {
        let found = self.slots.find(id);
        let (slot, old) = match (found, &new) {
            (None, None) => return None,
            (None, Some(new)) => (self.slots.add(new.clone()), None),
            (Some(slot), Some(new)) => (slot, self.slots.replace(slot, new.clone())),
            (Some(slot), None) => (slot, self.slots.remove(slot)),
        };
        let (was, is) = (old.as_deref(), new.as_deref());
        if let Some(was) = was {
            self.change_sets(Membership::Leave, slot, was, is);
        }
        if let Some(is) = is {
            self.change_sets(Membership::Enter, slot, is, was);
        }
        let had_ended = self.ends.ended().contains(slot);
        self.ends.put(slot, was, is);
        let has_ended = self.ends.ended().contains(slot);
        self.change_orders(slot, (was, had_ended), (is, has_ended), now);
        self.due.put(slot, was, is);
        #[cfg(all(feature = "recall", not(loom)))]
        self.text.iter_mut().for_each(|text| text.put(slot, is));
        self.bytes = self.bytes + is.map_or(0, size) - was.map_or(0, size);
        old
    }

    /// Puts a slot into the orders, or takes it out of them, each time with whether the trace is no longer valid.
    fn change_orders(
        &mut self,
        slot: u32,
        (was, had_ended): (Option<&Trace>, bool),
        (is, has_ended): (Option<&Trace>, bool),
        now: Micros,
    ) {
        let slots = &self.slots;
        let (was_out, is_out) = (was.filter(|_| had_ended), is.filter(|_| has_ended));
        reorder(&mut self.ended_recency, slots, slot, reinforced, was_out, is_out);
        let (was_in, is_in) = (was.filter(|_| !had_ended), is.filter(|_| !has_ended));
        self.recency.put(slots, slot, was_in, is_in);
        reorder(&mut self.created, slots, slot, created, was_in, is_in);
        self.strengths.put(slots, slot, was_in, is_in, now);
    }

    /// Takes some traces out of the orders whose validity has ended by now, or puts some back after the clock was set
    /// back. `false` if there was none.
    pub(crate) fn end_some(&mut self, now: Micros) -> bool {
        /// In one hold of the lock of the views.
        const MOST: usize = 256;
        let (leaving, coming) = self.ends.go_on(now, MOST);
        for (slots, has_ended) in [(&leaving, true), (&coming, false)] {
            for slot in slots {
                if let Some(trace) = self.slots.get(*slot).cloned() {
                    let trace = Some(&*trace);
                    self.change_orders(*slot, (trace, !has_ended), (trace, has_ended), now);
                }
            }
        }
        !leaving.is_empty() || !coming.is_empty()
    }

    /// Whether [`end_some`](Self::end_some) has something to do.
    pub(crate) fn ends_are_behind(&self, now: Micros) -> bool {
        self.ends.are_behind(now)
    }

    /// Puts a slot into the sets of what `trace` has and `other` has not, or takes it out of them.
    fn change_sets(&mut self, membership: Membership, slot: u32, trace: &Trace, other: Option<&Trace>) {
        let is_new = |has: fn(&Trace, &Trace) -> bool| other.is_none_or(|other| !has(trace, other));
        if is_new(|a, b| a.trace_type() == b.trace_type()) {
            membership.of(&mut self.types[trace.trace_type() as usize], slot);
        }
        if is_new(|a, b| a.tier() == b.tier()) {
            membership.of(&mut self.tiers[trace.tier() as usize], slot);
        }
        if trace.is_unresolved() && is_new(|a, b| a.is_unresolved() == b.is_unresolved()) {
            membership.of(&mut self.unresolved, slot);
        }
        if other.is_some_and(|other| SharedContent::ptr_eq(&other.content, &trace.content)) {
            return;
        }
        if is_new(|a, b| a.partition() == b.partition()) {
            membership.of_one(&mut self.partitions, trace.partition(), |name| name.into(), slot);
        }
        for tag in trace.tags().filter(|tag| other.is_none_or(|other| !other.has_tag(tag))) {
            membership.of_one(&mut self.tags, tag, |tag| tag.into(), slot);
        }
        if let Some(parent) = trace.parent().filter(|_| is_new(|a, b| a.parent() == b.parent())) {
            membership.of_one(&mut self.parents, &parent, |id| *id, slot);
        }
    }

    /// Number of traces and of bytes of payload text, without the traces of these ids.
    pub(crate) fn totals_without(&self, ids: impl Iterator<Item = TraceId>) -> (usize, u64) {
        let shown = ids.filter_map(|id| self.shown(id));
        shown.fold((self.len(), self.bytes), |(traces, bytes), trace| (traces - 1, bytes - size(trace)))
    }

    /// The trace that the views show of an id.
    pub(crate) fn shown(&self, id: TraceId) -> Option<&Arc<Trace>> {
        self.slots.get(self.slots.find(id)?)
    }

    /// The ids of the traces of a type.
    pub(crate) fn of_type(&self, kind: TraceType) -> impl Iterator<Item = TraceId> {
        self.types[kind as usize].iter().filter_map(|slot| Some(self.slots.get(slot)?.id()))
    }

    /// The ids of the traces of a partition.
    pub(crate) fn of_partition(&self, partition: &str) -> impl Iterator<Item = TraceId> {
        let slots = self.partitions.get(partition).into_iter().flatten();
        slots.filter_map(|slot| Some(self.slots.get(slot)?.id()))
    }

    /// The traces that may be due at a time, from a place on, and some that are due soon.
    pub(crate) fn due(
        &self,
        due: DueFor,
        at: Micros,
        from: Place,
    ) -> impl Iterator<Item = (Place, &Arc<Trace>)> {
        self.due.slots(due, at, from).filter_map(|place| Some((place, self.slots.get(place.slot())?)))
    }

    /// The traces, valid or not, least recently reinforced first.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = &Arc<Trace>> {
        let trace = |slot| self.slots.get(slot);
        let mut valid = self.recency.all().iter().filter_map(trace).peekable();
        let mut ended = self.ended_recency.iter().filter_map(trace).peekable();
        std::iter::from_fn(move || match (valid.peek(), ended.peek()) {
            (Some(a), Some(b)) if reinforced(b) < reinforced(a) => ended.next(),
            (None, _) => ended.next(),
            _ => valid.next(),
        })
    }
}

fn created(trace: &Trace) -> Micros {
    trace.content.created_at
}

fn size(trace: &Trace) -> u64 {
    trace.payload().as_str().len() as u64
}

#[derive(Clone, Copy)]
enum Membership {
    Enter,
    Leave,
}

impl Membership {
    fn of(self, set: &mut RoaringBitmap, slot: u32) {
        match self {
            Membership::Enter => set.insert(slot),
            Membership::Leave => set.remove(slot),
        };
    }

    /// An empty set does not stay.
    fn of_one<K, Q>(self, sets: &mut SetOf<K>, key: &Q, owned: impl FnOnce(&Q) -> K, slot: u32)
    where
        K: Borrow<Q> + Hash + Eq,
        Q: Hash + Eq + ?Sized,
    {
        match (sets.get_mut(key), self) {
            (None, Membership::Leave) => {}
            (None, Membership::Enter) => _ = sets.insert(owned(key), RoaringBitmap::from_iter([slot])),
            (Some(set), _) => {
                self.of(set, slot);
                if set.is_empty() {
                    sets.remove(key);
                }
            }
        }
    }
}

/// Moves a slot in an order by a time of its trace, as it was and as the slots have it.
fn reorder(
    order: &mut SortedSlots<Micros>,
    slots: &Slots,
    slot: u32,
    time: impl Fn(&Trace) -> Micros,
    was: Option<&Trace>,
    is: Option<&Trace>,
) {
    let (was, is) = (was.map(&time), is.map(&time));
    if was != is {
        was.iter().for_each(|was| order.remove(*was, slot));
        is.iter().for_each(|is| {
            order.insert(*is, slot, |slot| slots.get(slot).map_or(Micros::MIN, |trace| time(trace)))
        });
    }
}
