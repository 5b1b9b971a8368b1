//! The map of cells, and every step of the protocol that touches one.
//!
//! A cell is in the bucket of its key. It is touched under the shared lock of its shard, for a load, in which what is
//! found is held by count, or for a compare-and-swap, and never while code of the caller or an index runs. Who makes a
//! cell or takes one out has the exclusive lock, so nobody holds a cell that the map has let go.

use super::cell::{Cell, Cleaned, Removal, Unsettled};
use super::garbage::{Garbage, Locks};
use super::group::Entry;
use super::reading::Reading;
use super::record::{CellState, Record, Successor};
use crate::protocol::planted::{Mistake, planted};
use crate::protocol::sync::ShardedMap;
use std::hash::Hash;
use std::sync::Arc;

/// A key's newest record, and what the sink remembers of it.
struct Slot<V: Record, S> {
    cell: Cell<V>,
    sink: S,
}

/// The cells of a map, by key. Dropped in this order: what the cells own, and then the garbage.
pub(crate) struct Cells<K, V: Record, S> {
    table: ShardedMap<K, Slot<V, S>>,
    garbage: Garbage<V>,
}

impl<K: Eq + Ord + Hash + Clone, T> Locks for ShardedMap<K, T> {
    fn is_free(&self, shard: usize) -> bool {
        self.is_free(shard)
    }
}

/// The state of a key as of a cut.
pub struct Captured<V> {
    /// The generation that it was written in: 0 if it is absent, or was loaded.
    pub generation: u64,
    /// `None` is absence.
    pub value: Option<Arc<V>>,
}

/// What settling a key has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Settled {
    /// The key has a value, or has been written since.
    Stays,
    /// The cell of the removed key was taken out.
    Left,
}

impl<K, V, S> Cells<K, V, S>
where
    K: Eq + Ord + Hash + Clone,
    V: Record,
    S: Default,
{
    pub(crate) fn new() -> Self {
        let table = ShardedMap::new();
        let garbage = Garbage::new(table.shards());
        Self { table, garbage }
    }

    /// With a cell for each of these keys from the beginning to the end, and no lock, which would hide a missing
    /// ordering.
    #[cfg(loom)]
    pub(crate) fn without_locks(keys: impl IntoIterator<Item = K>) -> Self {
        let slot = || Slot { cell: Cell::new(CellState::Absent), sink: S::default() };
        let table = ShardedMap::without_locks(keys.into_iter().map(|key| (key, slot())));
        let garbage = Garbage::new(table.shards());
        Self { table, garbage }
    }

    /// Runs `work` on what there is of a key, if there is a cell, in the lock of its shard.
    fn look<R>(&self, key: &K, work: impl FnOnce(&Slot<V, S>, &Reading) -> R) -> Option<R> {
        self.table.with(key, |slot| work(slot, &Reading::new()))
    }

    /// The state of a key, held by count.
    pub(crate) fn load(&self, key: &K) -> CellState<V> {
        // SAFETY: `look` is in the lock of the cell's shard.
        let load = |slot: &Slot<V, S>, reading: &Reading| unsafe { slot.cell.load(reading) }.hold();
        self.look(key, load).unwrap_or(CellState::Absent)
    }

    /// Has the processor fetch the record of a key, and waits for it no more than for the cell.
    pub(crate) fn prefetch(&self, key: &K) {
        // In the models it would be steps that change nothing.
        if cfg!(all(target_arch = "x86_64", not(loom))) {
            self.look(key, |slot, reading| slot.cell.load_unresolved(reading).prefetch());
        }
    }

    /// Whether there is a cell for a key, with a value or not.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.table.with(key, |_| ()).is_some()
    }

    /// The keys of all cells, copied shard by shard.
    pub(crate) fn keys(&self) -> Vec<K> {
        self.table.keys()
    }

    /// Shows what the sink remembers of a key, if there is a cell.
    pub(crate) fn sink<R>(&self, key: &K, work: impl FnOnce(&S) -> R) -> Option<R> {
        self.table.with(key, |slot| work(&slot.sink))
    }

    /// Makes a cell for a loaded value; `false` if there is one.
    pub(crate) fn insert(&self, key: K, value: V, sink: S) -> bool {
        let value = CellState::Value(Arc::new(value));
        self.table.insert_new(key, || Slot { cell: Cell::new(value), sink })
    }

    #[cfg(loom)]
    fn makes_cells(&self) -> bool {
        !self.table.is_without_locks()
    }

    #[cfg(not(loom))]
    fn makes_cells(&self) -> bool {
        true
    }

    /// Puts a record in the place of the very one that it is the successor of; `false` if another is there by now.
    /// On success the caller calls [`give_up`](Self::give_up) for what was replaced.
    pub(crate) fn publish(&self, key: &K, old: &CellState<V>, new: &Successor<V>) -> bool {
        match old {
            CellState::Absent if self.makes_cells() => {
                let make = || {
                    // SAFETY: `new` holds it.
                    let counted = unsafe { new.state.pointer().hold() };
                    Slot { cell: Cell::new(counted), sink: S::default() }
                };
                self.table.insert_new(key.clone(), make)
            }
            _ => self.table.with(key, |slot| slot.cell.publish(old, new)).unwrap_or(false),
        }
    }

    /// What follows when `new` was [published](Self::publish) in the place of `old`.
    pub(crate) fn give_up(&self, key: &K, old: &CellState<V>, new: &Successor<V>) {
        self.garbage.add_replaced(old, new, self.table.shard(key), &self.table);
    }

    /// Puts a group into the cell of one of its keys, over the very record that it expects, or makes the cell; `false`
    /// if another record is there by now. Another group that is in the way is given up. For the owner of the group,
    /// who [tracks](super::track) its entries before, and [cleans](Self::clean) each cell after the group is decided.
    pub(crate) fn install(&self, key: &K, entry: &Entry<V>) -> bool {
        loop {
            let is_installed = match entry.expected {
                CellState::Absent if self.makes_cells() => {
                    let make = || Slot { cell: Cell::of_group(entry), sink: S::default() };
                    self.table.insert_new(key.clone(), make)
                }
                _ => self.table.with(key, |slot| slot.cell.install(entry)) == Some(true),
            };
            if is_installed || !self.get_past(key) {
                return is_installed;
            }
        }
    }

    /// Gives up the group that is in the cell of a key, unless it is decided, and takes it out of this cell; `false`
    /// if there is none. Whoever calls this has no entry of a group there that he means to keep.
    pub(crate) fn get_past(&self, key: &K) -> bool {
        let cleaned = self.look(key, |slot, reading| {
            let pointer = slot.cell.load_unresolved(reading);
            // SAFETY: it was in its cell, in the lock of its shard.
            let entry = pointer.is_group().then(|| unsafe { pointer.entry() })?;
            if planted(Mistake::RestoredBeforeGivenUp) {
                slot.cell.clean(entry, false, false);
            }
            let is_committed = entry.give_up();
            Some(slot.cell.clean(entry, is_committed, self.makes_cells()))
        });
        let Some(cleaned) = cleaned.flatten() else { return false };
        self.after(key, cleaned);
        true
    }

    /// Takes a decided group out of the cell of one of its keys, unless another has done so.
    pub(crate) fn clean(&self, key: &K, entry: &Entry<V>, is_committed: bool) {
        let clean = |slot: &Slot<V, S>, _: &_| slot.cell.clean(entry, is_committed, self.makes_cells());
        if let Some(cleaned) = self.look(key, clean) {
            self.after(key, cleaned);
        }
    }

    fn after(&self, key: &K, cleaned: Cleaned<V>) {
        match cleaned {
            Cleaned::Done => {}
            Cleaned::Replaced(expected, new) => self.give_up(key, &expected, &new),
            // By what it is and not by its address, which may be that of another group by now.
            Cleaned::OfGroupAlone => {
                let taken = self.table.remove_if(key, |slot| slot.cell.holds_group_alone());
                taken.into_iter().for_each(|slot| _ = slot.cell.into_pointer());
            }
        }
    }

    /// Takes over a group that has left all cells of this map, of which these are the keys.
    pub(crate) fn free_group<'a>(&self, keys: impl Iterator<Item = &'a K>, group: Arc<[Entry<V>]>)
    where
        K: 'a,
    {
        let mut asked = vec![false; self.table.shards()];
        for shard in keys.map(|key| self.table.shard(key)) {
            if !std::mem::replace(&mut asked[shard], true) {
                self.garbage.add_group(&group, shard, &self.table);
            }
        }
    }

    /// The state of a key as of `cut`, the last one made, and what `work` makes of what the sink remembers; for the
    /// flusher, before it cuts again. `None` if there is no cell.
    pub(crate) fn capture<R>(
        &self,
        key: &K,
        cut: u64,
        work: impl FnOnce(&S) -> R,
    ) -> Option<(Captured<V>, R)> {
        self.look(key, |slot, reading| {
            // SAFETY: `look` is in the lock of the cell's shard.
            let image = unsafe { slot.cell.load(reading) }.as_of(cut);
            let captured = Captured { generation: image.generation(), value: image.hold().into_value() };
            (captured, work(&slot.sink))
        })
    }

    /// After the commit of `cut`: gives up the image that only its capture needed, and takes out the cell of a key
    /// whose removal is in the sink by now. A key that was written since is left to the next settling, as it is listed
    /// again. `work` is shown what the sink remembers.
    ///
    /// A group over a tombstone is given up, unless it is decided: else it might be given up later, and put the
    /// tombstone back with nobody left to settle it.
    pub(crate) fn settle(&self, key: &K, cut: u64, work: impl FnOnce(&S)) -> Settled {
        let mut work = Some(work);
        loop {
            let found = self.look(key, |slot, reading| {
                work.take().into_iter().for_each(|work| work(&slot.sink));
                slot.cell.settle(cut, reading)
            });
            let Some(Unsettled { image, removal }) = found.flatten() else { return Settled::Stays };
            let shard = self.table.shard(key);
            self.garbage.add_image(image, shard, &self.table);
            match removal {
                Removal::None => return Settled::Stays,
                Removal::UnderGroup if planted(Mistake::GroupNotSettled) => return Settled::Stays,
                Removal::UnderGroup => _ = self.get_past(key),
                Removal::Of(tombstone) => {
                    if self.take_out(key, &tombstone) {
                        // SAFETY: the count was the cell's, which we have taken out.
                        let of_the_cell = unsafe { tombstone.pointer().into_state() };
                        self.garbage.add(of_the_cell, |_| 0, shard, &self.table);
                        return Settled::Left;
                    }
                }
            }
            // Something has come between, or been cleaned away.
        }
    }

    /// Takes the cell out, if it still holds this very tombstone.
    fn take_out(&self, key: &K, tombstone: &CellState<V>) -> bool {
        #[cfg(loom)]
        if self.table.is_without_locks() {
            return self.table.with(key, |slot| slot.cell.vacate(tombstone)) == Some(true);
        }
        let is_it = |slot: &Slot<V, S>| slot.cell.holds(tombstone) || planted(Mistake::NoIdentityCheck);
        self.table.remove_if(key, is_it).map(|slot| slot.cell.into_pointer()) == Some(tombstone.pointer())
    }

    /// Frees what nobody can see any more: for the flusher.
    pub(crate) fn collect(&self) {
        self.garbage.collect(&self.table);
    }
}
