//! The newest record of one key.

use super::group::Entry;
use super::reading::{self, Reading};
use super::record::{CellState, Loaded, Pointer, Record, Successor};
use crate::protocol::planted::{Mistake, planted};
use crate::protocol::sync::{AtomicPtr, Ordering};
use std::mem::forget;

/// Null, or a pointer to a record, of which the cell owns one count, or to an entry of a group, which leaves the count
/// of the record that it is installed over to the cell. A record is in a cell once, and never again, but for one that
/// a group leaves there that was given up or that only checked it.
///
/// Null is a cell of a model without locks: elsewhere a key that is absent has no cell.
pub(super) struct Cell<V: Record>(AtomicPtr<V>);

/// What is left to do when a decided group was taken out of a cell.
pub(super) enum Cleaned<V> {
    /// Nothing.
    Done,
    /// The first was replaced by the second, see [`publish`](Cell::publish).
    Replaced(CellState<V>, Successor<V>),
    /// The group is there still: it has made the cell, which is to be taken out of the map.
    OfGroupAlone,
}

/// What settling has found in a cell.
pub(super) struct Unsettled<V> {
    /// The image before, which was taken out of the record: the caller's, or null.
    pub(super) image: Pointer<V>,
    pub(super) removal: Removal<V>,
}

/// Whether a cell is to be taken out of the map.
pub(super) enum Removal<V> {
    None,
    Of(CellState<V>),
    /// First the group must leave it.
    UnderGroup,
}

impl<V: Record> Cell<V> {
    pub(super) fn new(state: CellState<V>) -> Self {
        reading::track(&state);
        Self(AtomicPtr::new(state.into_pointer().0))
    }

    /// In a cell that a group inserts.
    pub(super) fn of_group(entry: &Entry<V>) -> Self {
        Self(AtomicPtr::new(entry.pointer().0))
    }

    /// The record, or the one that a group stands for.
    ///
    /// # Safety
    ///
    /// `reading` is being in the lock of the cell's shard.
    pub(super) unsafe fn load<'a>(&self, reading: &'a Reading) -> Loaded<'a, V> {
        // SAFETY: what leaves a cell is freed after the lock was free, and a group is, which holds its records.
        unsafe { Loaded::new(self.load_unresolved(reading).resolve()) }
    }

    /// What is there, be it a group.
    ///
    /// Acquire pairs with the release of the compare-and-swap that put this here, or with that of the shard's lock:
    /// the record is seen whole, and what its writer did before (entering a generation) happened before what this
    /// thread does next (entering the same or a later one).
    pub(super) fn load_unresolved(&self, reading: &Reading) -> Pointer<V> {
        let acquire = if planted(Mistake::LoadRelaxed) { Ordering::Relaxed } else { Ordering::Acquire };
        Pointer(reading::read(&self.0, acquire, reading))
    }

    /// Puts a record in the place of the very one that is expected; `false` if another is there by now. On success the
    /// cell's count of the old one is the caller's, or, if the new one is later, that of its image before.
    fn replace(&self, old: Pointer<V>, new: Pointer<V>) -> bool {
        let swapped = self.swap(old, new);
        if swapped {
            reading::has_left(old);
        }
        swapped
    }

    fn swap(&self, old: Pointer<V>, new: Pointer<V>) -> bool {
        // Release pairs with the Acquire in `load_unresolved`. On failure the caller loads again.
        let release = if planted(Mistake::SwapRelaxed) { Ordering::Relaxed } else { Ordering::Release };
        self.0.compare_exchange(old.0, new.0, release, Ordering::Relaxed).is_ok()
    }

    /// Puts a group over the very record that it expects; `false` if another is there by now, or another group.
    pub(super) fn install(&self, entry: &Entry<V>) -> bool {
        self.swap(entry.expected.pointer(), entry.pointer())
    }

    /// Takes a decided group out of this cell, unless another has done so. `is_whole`: the map has no cell of a key that
    /// is absent.
    pub(super) fn clean(&self, entry: &Entry<V>, is_committed: bool, is_whole: bool) -> Cleaned<V> {
        match (&entry.new, &entry.expected) {
            (Some(new), expected) if is_committed => {
                if self.complete(entry, new) {
                    Cleaned::Replaced(expected.clone(), new.clone())
                } else {
                    Cleaned::Done
                }
            }
            (_, CellState::Absent) if is_whole => Cleaned::OfGroupAlone,
            _ => {
                self.restore(entry);
                Cleaned::Done
            }
        }
    }

    /// Puts the new record in the place of a group that is committed; `false` if that has been done. On success the
    /// cell's count of the expected record is the caller's, or, if the new one is later, that of its image before.
    fn complete(&self, entry: &Entry<V>, new: &Successor<V>) -> bool {
        // SAFETY: `new` holds it.
        let counted = unsafe { new.state.pointer().hold() };
        let swapped = self.replace(entry.pointer(), counted.pointer());
        if swapped {
            // The count is the cell's.
            counted.into_pointer();
            reading::has_left(entry.expected.pointer());
        }
        swapped
    }

    /// Leaves the expected record where it was.
    pub(super) fn restore(&self, entry: &Entry<V>) {
        self.replace(entry.pointer(), entry.expected.pointer());
    }

    /// Puts a successor in the place of its predecessor, which the caller holds; `false` if another is there by now:
    /// then nothing has changed. When this has succeeded the caller gives up what has been replaced.
    pub(super) fn publish(&self, old: &CellState<V>, new: &Successor<V>) -> bool {
        // SAFETY: `new` holds it.
        let counted = unsafe { new.state.pointer().hold() };
        reading::track(&counted);
        let swapped = self.replace(old.pointer(), counted.pointer());
        if swapped {
            // The count is the cell's.
            counted.into_pointer();
        }
        swapped
    }

    /// Takes the image before out of a record of `cut`, or before; `None` if the record is later, or there is none.
    ///
    /// Of a tombstone as well: a writer may hold it for as long as its caller's code runs. A writer that has just
    /// replaced the record may be at the same; one of the two gets the image.
    pub(super) fn settle(&self, cut: u64, reading: &Reading) -> Option<Unsettled<V>> {
        let pointer = self.load_unresolved(reading);
        let is_group = pointer.is_group();
        // SAFETY: it was in its cell, in the lock of the shard.
        let record = if is_group { unsafe { pointer.entry() }.expected.pointer() } else { pointer };
        // SAFETY: as above; an entry holds what it expects.
        if record.is_null() || unsafe { record.generation() } > cut {
            return None;
        }
        let is_left = record.is_tombstone() && planted(Mistake::ImageLeftToATombstone);
        // SAFETY: as above. It is the newest, or one of a later generation has taken its place meanwhile, or will:
        // nobody writes in its generation any more.
        let image = if is_left { CellState::Absent.pointer() } else { unsafe { record.take_image() } };
        let removal = match (record.is_tombstone(), is_group) {
            (false, _) => Removal::None,
            (true, true) => Removal::UnderGroup,
            // SAFETY: as above.
            (true, false) => Removal::Of(unsafe { record.hold() }),
        };
        Some(Unsettled { image, removal })
    }

    /// What the cell holds. Relaxed: under the exclusive lock, which ordered all that was done before.
    fn get(&self) -> Pointer<V> {
        Pointer(self.0.load(Ordering::Relaxed))
    }

    /// Whether this is what the cell holds. Under the exclusive lock.
    pub(super) fn holds(&self, state: &CellState<V>) -> bool {
        self.get() == state.pointer()
    }

    /// Whether the cell holds nothing but a group that is decided and stands for no record. Under the exclusive lock.
    pub(super) fn holds_group_alone(&self) -> bool {
        let pointer = self.get();
        // SAFETY: while the entry is in its cell it is not freed.
        pointer.is_group() && unsafe { pointer.entry() }.leaves_nothing()
    }

    /// Of a model without locks: takes this out of the cell, which stays.
    #[cfg(loom)]
    pub(super) fn vacate(&self, state: &CellState<V>) -> bool {
        self.replace(state.pointer(), CellState::Absent.pointer())
    }

    /// After the cell was taken out of its map, under the exclusive lock: its count of the record is the caller's.
    pub(super) fn into_pointer(self) -> Pointer<V> {
        let pointer = self.get();
        forget(self);
        reading::has_left(pointer);
        pointer
    }
}

/// With its map: nobody can see the record any more but who holds it by count, and that keeps no image alive.
impl<V: Record> Drop for Cell<V> {
    fn drop(&mut self) {
        let pointer = self.get();
        if pointer.is_null() {
            return;
        }
        debug_assert!(
            !pointer.is_group(),
            "who carries out a group borrows its map until the group is in no cell"
        );
        // SAFETY: the cell has a count of the record; the record is the newest of its cell, so its image before is
        // its own. `&mut` says that nobody is about to read either of them by way of this cell.
        unsafe {
            if !planted(Mistake::ImageLeftAtTheClose) {
                pointer.take_image().release();
            }
            pointer.release();
        }
    }
}
