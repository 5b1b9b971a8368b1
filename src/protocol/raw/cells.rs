//! The map of cells, and every step of the protocol that touches one.
//!
//! A cell is in the bucket of its key. It is touched under the shared lock of its shard, for one load or one
//! compare-and-swap, and never while code of the caller, an allocator or an index runs. Who makes a cell or takes one
//! out has the exclusive lock, so nobody holds a cell that the map has let go.

use super::cell::Cell;
use super::epoch::{Pin, pin};
use super::garbage::Garbage;
use super::group::Entry;
use super::record::{CellState, Loaded, Pointer, Record, Successor};
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
        Self { table: ShardedMap::new(), garbage: Garbage::new() }
    }

    /// With a cell for each of these keys from the beginning to the end, and no lock, which would hide a missing
    /// ordering.
    #[cfg(loom)]
    pub(crate) fn without_locks(keys: impl IntoIterator<Item = K>) -> Self {
        let slot = || Slot { cell: Cell::new(CellState::Absent), sink: S::default() };
        let table = ShardedMap::without_locks(keys.into_iter().map(|key| (key, slot())));
        Self { table, garbage: Garbage::new() }
    }

    /// What a key holds, and what `work` makes of what the sink remembers.
    fn load_with<'a, R>(
        &'a self,
        key: &K,
        pin: &'a Pin,
        work: impl FnOnce(&S) -> R,
    ) -> Option<(Loaded<'a, V>, R)> {
        // SAFETY: the cell is dropped with this map, which is borrowed for as long, or is taken out of it.
        self.table.with(key, |slot| (unsafe { slot.cell.load(pin) }, work(&slot.sink)))
    }

    /// What a key holds. Null is a key without a cell.
    pub(crate) fn load<'a>(&'a self, key: &K, pin: &'a Pin) -> Loaded<'a, V> {
        let found = self.load_with(key, pin, |_| ());
        // SAFETY: null is never freed.
        found.map_or_else(|| unsafe { Loaded::new(Pointer(std::ptr::null_mut())) }, |(loaded, ())| loaded)
    }

    /// The state of a key, held by count.
    pub(crate) fn load_owned(&self, key: &K) -> CellState<V> {
        // Pinned before the shard is locked: pinning may run deferrals, which takes its time.
        let pin = pin();
        self.load(key, &pin).hold()
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
    /// On success the caller, pinned since before the call, [gives up](Self::give_up) what was replaced.
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

    /// What follows when `new` was [published](Self::publish) in the place of `old`, with a pin from before.
    pub(crate) fn give_up(&self, old: &CellState<V>, new: &Successor<V>, pin: &Pin) {
        self.garbage.add_replaced(old, new, pin);
    }

    /// Puts a group into the cell of one of its keys, over the very record that it expects, or makes the cell; `false`
    /// if another record is there by now. Another group that is in the way is given up. For the owner of the group,
    /// who [tracks](super::track) its entries before, and [cleans](Self::clean) each cell after the group is decided.
    pub(crate) fn install(&self, key: &K, entry: &Entry<V>, pin: &Pin) -> bool {
        loop {
            let is_installed = match entry.expected {
                CellState::Absent if self.makes_cells() => {
                    let make = || Slot { cell: Cell::of_group(entry), sink: S::default() };
                    self.table.insert_new(key.clone(), make)
                }
                _ => self.table.with(key, |slot| slot.cell.install(entry)) == Some(true),
            };
            if is_installed || !self.get_past(key, pin) {
                return is_installed;
            }
        }
    }

    /// Gives up the group that is in the cell of a key, unless it is decided, and takes it out of this cell; `false`
    /// if there is none. Whoever calls this has no entry of a group there that he means to keep.
    pub(crate) fn get_past(&self, key: &K, pin: &Pin) -> bool {
        let found = self.table.with(key, |slot| slot.cell.load_unresolved(pin));
        let Some(group) = found.filter(|pointer| pointer.is_group()) else { return false };
        // SAFETY: it was in its cell while we were pinned, and its owner gives it up after it has left all cells.
        let entry = unsafe { group.entry() };
        if planted(Mistake::RestoredBeforeGivenUp) {
            self.clean(key, entry, false, pin);
        }
        let is_committed = entry.give_up();
        self.clean(key, entry, is_committed, pin);
        true
    }

    /// Takes a decided group out of the cell of one of its keys, unless another has done so.
    pub(crate) fn clean(&self, key: &K, entry: &Entry<V>, is_committed: bool, pin: &Pin) {
        match (&entry.new, &entry.expected) {
            (Some(new), expected) if is_committed => {
                if self.table.with(key, |slot| slot.cell.complete(entry, new)) == Some(true) {
                    self.give_up(expected, new, pin);
                }
            }
            (_, CellState::Absent) => {
                self.take_out(key, entry.pointer());
            }
            _ => {
                self.table.with(key, |slot| slot.cell.restore(entry));
            }
        }
    }

    /// Takes over a group that has left all cells of this map, and the pin that its owner has had since before it
    /// installed it.
    pub(crate) fn free_group(&self, entries: Arc<[Entry<V>]>, pin: &Pin) {
        self.garbage.add_group(entries, pin);
    }

    /// The state of a key as of `cut`, the last one made, and what `work` makes of what the sink remembers; for the
    /// flusher, before it cuts again. `None` if there is no cell.
    pub(crate) fn capture<R>(
        &self,
        key: &K,
        cut: u64,
        work: impl FnOnce(&S) -> R,
    ) -> Option<(Captured<V>, R)> {
        let pin = pin();
        let (newest, remembered) = self.load_with(key, &pin, work)?;
        let image = newest.as_of(cut);
        Some((Captured { generation: image.generation(), value: image.hold().into_value() }, remembered))
    }

    /// After the commit of `cut`: gives up the image that only its capture needed, and takes out the cell of a key
    /// whose removal is in the sink by now. A key that was written since is left to the next settling, as it is listed
    /// again. `work` is shown what the sink remembers.
    ///
    /// A group over a tombstone is given up, unless it is decided: else it might be given up later, and put the
    /// tombstone back with nobody left to settle it.
    pub(crate) fn settle(&self, key: &K, cut: u64, work: impl FnOnce(&S)) -> Settled {
        let pin = pin();
        let look = |slot: &Slot<V, S>| slot.cell.load_unresolved(&pin);
        let mut found = self.table.with(key, |slot| {
            work(&slot.sink);
            look(slot)
        });
        while let Some(pointer) = found {
            let is_group = pointer.is_group();
            // SAFETY: it was in its cell while we were pinned.
            let record = if is_group { unsafe { pointer.entry() }.expected.pointer() } else { pointer };
            // SAFETY: as above; an entry holds what it expects.
            if record.is_null() || unsafe { record.generation() } > cut {
                break;
            }
            // Of a tombstone as well: a writer may hold it for as long as its caller's code runs. A writer that has
            // just replaced the record may be at the same; one of the two gets the image.
            if !(record.is_tombstone() && planted(Mistake::ImageLeftToATombstone)) {
                // SAFETY: the pin keeps it. It is the newest, or one of a later generation has taken its place
                // meanwhile, or will: nobody writes in its generation any more.
                self.garbage.add_image(unsafe { record.take_image() }, &pin);
            }
            if !record.is_tombstone() || is_group && planted(Mistake::GroupNotSettled) {
                break;
            }
            if is_group {
                self.get_past(key, &pin);
            } else if self.take_out(key, record) {
                // SAFETY: the count was the cell's, which we have taken out.
                unsafe { self.garbage.add(record, 0, &pin) };
                return Settled::Left;
            }
            // Something has come between, or been cleaned away.
            found = self.table.with(key, look);
        }
        Settled::Stays
    }

    /// Takes the cell out, if it still holds this very tombstone, or entry of a group.
    fn take_out(&self, key: &K, pointer: Pointer<V>) -> bool {
        #[cfg(loom)]
        if self.table.is_without_locks() {
            return self.table.with(key, |slot| slot.cell.vacate(pointer)) == Some(true);
        }
        let is_it = |slot: &Slot<V, S>| slot.cell.holds(pointer) || planted(Mistake::NoIdentityCheck);
        self.table.remove_if(key, is_it).map(|slot| slot.cell.into_pointer()) == Some(pointer)
    }

    /// Frees what nobody can see any more: for the flusher.
    pub(crate) fn collect(&self) {
        self.garbage.collect(pin);
    }
}
