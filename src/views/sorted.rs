//! Slots sorted by a key of their traces, such as a time.
//!
//! A `BTreeSet<(K, u32)>` that keeps few of its keys: the slots are in blocks, and only each block has one. Whoever
//! needs that of a slot gets it from the trace. So a slot takes 4 to 8 bytes, where in a set it takes some 30.

use std::collections::BTreeMap;
use std::ops::Bound;

/// A key and a slot. Slots with equal keys are in the order of their numbers.
type Place<K> = (K, u32);

/// Slots, in blocks of at most `MOST`.
///
/// Methods that compare are given `key_of`, which returns the key that a slot was inserted with.
#[derive(Clone)]
pub(super) struct SortedSlots<K, const MOST: usize = 256> {
    /// By a bound: no place in a block is before it, and none in an earlier block is at or after it. No block is empty.
    blocks: BTreeMap<Place<K>, Vec<u32>>,
    len: usize,
}

impl<K, const MOST: usize> Default for SortedSlots<K, MOST> {
    fn default() -> Self {
        Self { blocks: BTreeMap::new(), len: 0 }
    }
}

impl<K: Ord + Copy, const MOST: usize> SortedSlots<K, MOST> {
    /// Sorts them, which takes a fraction of what inserting each would.
    pub(super) fn of(mut places: Vec<Place<K>>) -> Self {
        places.sort_unstable();
        let slots = |block: &[Place<K>]| block.iter().map(|(_, slot)| *slot).collect();
        let blocks = places.chunks(MOST).map(|block| (block[0], slots(block))).collect();
        Self { blocks, len: places.len() }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, key: K, slot: u32, key_of: impl Fn(u32) -> K) {
        let place = (key, slot);
        if self.blocks.first_key_value().is_none_or(|(first, _)| place < *first) {
            let block = self.blocks.pop_first().map_or_else(Vec::new, |(_, block)| block);
            self.blocks.insert(place, block);
        }
        let Some((_, block)) = self.blocks.range_mut(..=place).next_back() else { return };
        let is_before = |other: &u32| (key_of(*other), *other) < place;
        // Most come last: a time that is now.
        let is_last = block.last().is_none_or(is_before);
        let at = if is_last { block.len() } else { block.partition_point(is_before) };
        self.len += 1;
        if block.len() < MOST {
            return block.insert(at, slot);
        }
        // What grows at its end leaves full blocks behind.
        let mut right = block.split_off(if is_last { MOST } else { MOST / 2 });
        match at.checked_sub(block.len()) {
            Some(at) => right.insert(at, slot),
            None => block.insert(at, slot),
        }
        let bound = if right[0] == slot { place } else { (key_of(right[0]), right[0]) };
        self.blocks.insert(bound, right);
    }

    /// Removes a slot that was inserted with this key.
    pub(super) fn remove(&mut self, key: K, slot: u32) {
        let Some((bound, block)) = self.blocks.range_mut(..=(key, slot)).next_back() else { return };
        let Some(at) = block.iter().position(|other| *other == slot) else { return };
        block.remove(at);
        self.len -= 1;
        if block.capacity() > 2 * block.len() {
            block.shrink_to(block.len() * 3 / 2);
        }
        if block.len() < MOST / 4 {
            let bound = *bound;
            self.merge(bound);
        }
    }

    /// Joins a small block with a neighbour, if both are small, and takes out an empty one.
    fn merge(&mut self, bound: Place<K>) {
        let bounds = || self.blocks.range(bound..).take(2).chain(self.blocks.range(..bound).next_back());
        let mut bounds: Vec<_> = bounds().map(|(bound, block)| (*bound, block.len())).collect();
        bounds.sort_unstable();
        let pair = bounds.windows(2).find(|pair| pair[0].1 + pair[1].1 <= MOST / 2);
        if let Some(&[(left, _), (right, _)]) = pair
            && let Some(slots) = self.blocks.remove(&right)
            && let Some(block) = self.blocks.get_mut(&left)
        {
            block.extend(slots);
        } else if self.blocks.get(&bound).is_some_and(Vec::is_empty) {
            self.blocks.remove(&bound);
        }
    }

    /// The slots in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.blocks.values().flatten().copied()
    }

    /// The blocks in order. Each comes with a key: none of its own is less, and none of an earlier block is more.
    pub(super) fn blocks(&self) -> impl DoubleEndedIterator<Item = (K, &[u32])> {
        self.blocks.iter().map(|((key, _), block)| (*key, &**block))
    }

    /// As [`blocks`](Self::blocks), of the slots with the keys from one to another, both included.
    pub(super) fn between(
        &self,
        from: Option<K>,
        to: Option<K>,
        key_of: impl Fn(u32) -> K,
    ) -> impl DoubleEndedIterator<Item = (K, &[u32])> {
        let first = from.and_then(|from| self.blocks.range(..(from, 0)).next_back()).map(|(bound, _)| *bound);
        let last = to.map(|to| (to, u32::MAX));
        // A map panics at a range that ends before it begins.
        let is_empty = first.zip(last).is_some_and(|(first, last)| first > last);
        let blocks = (!is_empty).then(|| {
            let from = first.map_or(Bound::Unbounded, Bound::Included);
            self.blocks.range((from, last.map_or(Bound::Unbounded, Bound::Included)))
        });
        blocks.into_iter().flatten().filter_map(move |((key, _), block)| {
            let begins = from.filter(|from| key < from);
            let begin = begins.map_or(0, |from| block.partition_point(|slot| key_of(*slot) < from));
            let ends = to.filter(|to| block.last().is_some_and(|last| key_of(*last) > *to));
            let end = ends.map_or(block.len(), |to| block.partition_point(|slot| key_of(*slot) <= to));
            Some((*key, block.get(begin..end)?))
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeSet, HashMap};

    proptest! {
        /// Small blocks, so that they split and merge: beside a set with all keys.
        #[test]
        fn slots_are_as_in_a_set(
            built in proptest::collection::hash_map(0..40_u32, 0..9_u8, 0..20),
            steps in proptest::collection::vec((0..40_u32, proptest::option::of(0..9_u8)), 0..200),
            from in proptest::option::of(0..9_u8),
            to in proptest::option::of(0..9_u8),
        ) {
            let mut keys: HashMap<u32, u8> = built;
            let mut sorted = SortedSlots::<_, 8>::of(keys.iter().map(|(slot, key)| (*key, *slot)).collect());
            for (slot, key) in steps {
                if let Some(old) = keys.remove(&slot) {
                    sorted.remove(old, slot);
                }
                if let Some(key) = key {
                    sorted.insert(key, slot, |slot| keys[&slot]);
                    keys.insert(slot, key);
                }
                let set: BTreeSet<_> = keys.iter().map(|(slot, key)| (*key, *slot)).collect();
                prop_assert!(sorted.iter().eq(set.iter().map(|(_, slot)| *slot)));
                prop_assert_eq!(sorted.len(), set.len());
                let mut most = None;
                for (bound, block) in sorted.blocks() {
                    prop_assert!(!block.is_empty() && block.len() <= 8 && most <= Some(bound));
                    prop_assert!(block.iter().all(|slot| keys[slot] >= bound));
                    most = block.iter().map(|slot| keys[slot]).max();
                }
                let is_between = |key: u8| from.is_none_or(|from| from <= key) && to.is_none_or(|to| key <= to);
                let between = sorted.between(from, to, |slot| keys[&slot]).flat_map(|(_, block)| block);
                let wanted = set.iter().filter(|(key, _)| is_between(*key)).map(|(_, slot)| slot);
                prop_assert!(between.eq(wanted));
            }
        }
    }

    #[test]
    fn blocks_stay_full_or_are_merged() {
        let mut sorted = SortedSlots::<_>::default();
        (0..100_000).for_each(|slot| sorted.insert(slot, slot, |slot| slot));
        assert_eq!(sorted.blocks.len(), 100_000_usize.div_ceil(256));
        (0..100_000).filter(|slot| slot % 100 != 0).for_each(|slot| sorted.remove(slot, slot));
        assert_eq!(sorted.len(), 1_000);
        let (blocks, room) = (sorted.blocks.len(), sorted.blocks.values().map(Vec::capacity).sum::<usize>());
        assert!(blocks <= 1_000 / 64 + 1 && room <= 2_000, "{blocks} blocks, with room for {room}");
    }
}
