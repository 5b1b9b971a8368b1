//! Which traces are no longer valid.
//!
//! The views keep those out of the orders that queries walk, so that a query does not pass them one by one however many
//! there are. Time alone ends a validity: the indexer takes a trace out of the orders some time after that, and puts it
//! back after the clock was set back. So whoever asks for a time looks up the traces in between, and decides by the
//! trace itself.

use crate::trace::{Micros, Trace};
use roaring::RoaringBitmap;
use std::collections::BTreeSet;
use std::ops::Range;

/// A place in the order of ends.
type Place = (Micros, u32);

pub(super) struct Ends {
    all: BTreeSet<Place>,
    /// Slots of the ends before `taken_out`.
    ended: RoaringBitmap,
    taken_out: Place,
}

impl Default for Ends {
    fn default() -> Self {
        Self { all: BTreeSet::new(), ended: RoaringBitmap::new(), taken_out: (Micros::MIN, 0) }
    }
}

/// The ends up to this time come before it.
fn after(at: Micros) -> Place {
    (at.plus(1), 0)
}

impl Ends {
    /// None yet, where those up to a time are to be out of the orders.
    pub(super) fn up_to(now: Micros) -> Self {
        Self { taken_out: after(now), ..Self::default() }
    }

    pub(super) fn put(&mut self, slot: u32, old: Option<&Trace>, new: Option<&Trace>) {
        let [old, new] = [old, new].map(|trace| trace.and_then(Trace::end));
        if old == new {
            return;
        }
        old.map(|old| self.all.remove(&(old, slot)));
        new.map(|new| self.all.insert((new, slot)));
        if new.is_some_and(|end| (end, slot) < self.taken_out) {
            self.ended.insert(slot);
        } else {
            self.ended.remove(slot);
        }
    }

    /// Slots that are out of the orders.
    pub(super) fn ended(&self) -> &RoaringBitmap {
        &self.ended
    }

    /// Slots that are still in the orders, though their validity has ended by that time.
    pub(super) fn not_yet_out(&self, at: Micros) -> impl Iterator<Item = u32> {
        self.between(self.taken_out..after(at))
    }

    /// Slots that are out of the orders, though they are valid at that time, which is past.
    pub(super) fn still_valid(&self, at: Micros) -> impl Iterator<Item = u32> {
        self.between(after(at)..self.taken_out)
    }

    fn between(&self, places: Range<Place>) -> impl Iterator<Item = u32> {
        // A set panics at a range that ends before it begins.
        let places = (places.start < places.end).then(|| self.all.range(places));
        places.into_iter().flatten().map(|(_, slot)| *slot)
    }

    /// Whether the orders are not as they should be at that time.
    pub(super) fn are_behind(&self, at: Micros) -> bool {
        self.not_yet_out(at).chain(self.still_valid(at)).next().is_some()
    }

    /// Returns at most so many slots that are to leave the orders by now, and then those that are to be back in them.
    pub(super) fn go_on(&mut self, now: Micros, most: usize) -> (Vec<u32>, Vec<u32>) {
        let to = after(now);
        let slots = |places: Vec<Place>| places.into_iter().map(|(_, slot)| slot).collect::<Vec<_>>();
        if self.taken_out <= to {
            let leaving: Vec<_> = self.all.range(self.taken_out..to).take(most).copied().collect();
            self.taken_out = match leaving.last() {
                Some((end, slot)) if leaving.len() == most => (*end, slot + 1),
                _ => to,
            };
            let leaving = slots(leaving);
            self.ended.extend(&leaving);
            (leaving, Vec::new())
        } else {
            let coming: Vec<_> = self.all.range(to..self.taken_out).rev().take(most).copied().collect();
            self.taken_out = coming.last().filter(|_| coming.len() == most).copied().unwrap_or(to);
            let coming = slots(coming);
            coming.iter().for_each(|slot| _ = self.ended.remove(*slot));
            (Vec::new(), coming)
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::NewTrace;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A slot gets an end or none; or the time moves, and some are moved.
    #[derive(Clone, Debug)]
    enum Step {
        Put(u32, Option<i64>),
        GoOn(i64, usize),
    }

    fn steps() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..12_u32, proptest::option::of(0..20_i64)).prop_map(|(slot, end)| Step::Put(slot, end)),
            2 => (0..20_i64, 1..4_usize).prop_map(|(now, most)| Step::GoOn(now, most)),
        ]
    }

    proptest! {
        #[test]
        fn what_has_ended_leaves_and_comes_back(steps in proptest::collection::vec(steps(), 0..80), at in 0..20_i64) {
            let mut ends = Ends::up_to(Micros::clamped(10));
            let mut model = BTreeMap::new();
            let trace = |end: Option<i64>| {
                let new = NewTrace::semantic(serde_json::json!(1));
                let end = end.map(|end| jiff::Timestamp::from(Micros::clamped(end)));
                end.into_iter().fold(new, |new, end| new.valid_until(end)).into_trace().ok()
            };
            let check = |ends: &Ends, model: &BTreeMap<u32, Option<i64>>, at: i64| {
                let out = |slot: &u32| ends.ended().contains(*slot);
                let has_ended = |slot: &u32| model.get(slot).copied().flatten().is_some_and(|end| end <= at);
                let slots = |which: &dyn Fn(&u32) -> bool| (0..12).filter(which).collect::<BTreeSet<_>>();
                let micros = Micros::clamped(at);
                let late: BTreeSet<_> = ends.not_yet_out(micros).collect();
                let early: BTreeSet<_> = ends.still_valid(micros).collect();
                assert_eq!(late, slots(&|slot| has_ended(slot) && !out(slot)));
                assert_eq!(early, slots(&|slot| !has_ended(slot) && out(slot)));
                assert_eq!(ends.are_behind(micros), !late.is_empty() || !early.is_empty());
            };
            for step in steps {
                match step {
                    Step::Put(slot, end) => {
                        let old = model.insert(slot, end).and_then(&trace);
                        ends.put(slot, old.as_ref(), trace(end).as_ref());
                    }
                    Step::GoOn(now, most) => {
                        let was = ends.ended().clone();
                        let (leaving, coming) = ends.go_on(Micros::clamped(now), most);
                        assert!(leaving.len() + coming.len() <= most && (leaving.is_empty() || coming.is_empty()));
                        assert!(leaving.iter().all(|slot| !was.contains(*slot)));
                        assert!(coming.iter().all(|slot| was.contains(*slot)));
                        let expected = (was | RoaringBitmap::from_iter(leaving)) - RoaringBitmap::from_iter(coming);
                        assert_eq!(ends.ended(), &expected);
                    }
                }
                check(&ends, &model, at);
            }
            while ends.are_behind(Micros::clamped(at)) {
                ends.go_on(Micros::clamped(at), 1);
                check(&ends, &model, at);
            }
        }
    }
}
