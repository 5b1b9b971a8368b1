//! The newest record of one key.

use super::epoch::{self, Pin};
use super::group::Entry;
use super::record::{CellState, Loaded, Pointer, Record, Successor};
use crate::protocol::planted::{Mistake, planted};
use crate::protocol::sync::{AtomicPtr, Ordering};
use std::mem::forget;
#[cfg(loom)]
use std::ptr;

/// Null, or a pointer to a record, of which the cell owns one count, or to an entry of a group, which leaves the count
/// of the record that it is installed over to the cell. A record is in a cell once, and never again, but for one that
/// a group leaves there that was given up or that only checked it.
///
/// Null is a cell of a model without locks: elsewhere a key that is absent has no cell.
pub(super) struct Cell<V: Record>(AtomicPtr<V>);

impl<V: Record> Cell<V> {
    pub(super) fn new(state: CellState<V>) -> Self {
        epoch::track(&state);
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
    /// The cell is not dropped while `'a` lasts. (That it may be taken out of its map is no matter.)
    pub(super) unsafe fn load<'a>(&self, pin: &'a Pin) -> Loaded<'a, V> {
        // SAFETY: what leaves a cell is given up as garbage by who took it out, and a group by its owner after that, so
        // after all pins of that moment are gone; but for a cell that is dropped, which the caller excludes.
        unsafe { Loaded::new(self.load_unresolved(pin).resolve()) }
    }

    /// What is there, be it a group.
    ///
    /// Acquire pairs with the release of the compare-and-swap that put this here, or with that of the shard's lock:
    /// the record is seen whole, and what its writer did before (entering a generation) happened before what this
    /// thread does next (entering the same or a later one).
    pub(super) fn load_unresolved(&self, pin: &Pin) -> Pointer<V> {
        let acquire = if planted(Mistake::LoadRelaxed) { Ordering::Relaxed } else { Ordering::Acquire };
        Pointer(epoch::read(&self.0, acquire, pin))
    }

    /// Puts a record in the place of the very one that is expected; `false` if another is there by now. On success the
    /// cell's count of the old one is the caller's, or, if the new one is later, that of its image before.
    fn replace(&self, old: Pointer<V>, new: Pointer<V>) -> bool {
        let swapped = self.swap(old, new);
        if swapped {
            epoch::has_left(old);
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

    /// Puts the new record in the place of a group that is committed; `false` if that has been done. On success the
    /// cell's count of the expected record is the caller's, or, if the new one is later, that of its image before.
    pub(super) fn complete(&self, entry: &Entry<V>, new: &Successor<V>) -> bool {
        // SAFETY: `new` holds it.
        let counted = unsafe { new.state.pointer().hold() };
        let swapped = self.replace(entry.pointer(), counted.pointer());
        if swapped {
            // The count is the cell's.
            counted.into_pointer();
            epoch::has_left(entry.expected.pointer());
        }
        swapped
    }

    /// Leaves the expected record where it was.
    pub(super) fn restore(&self, entry: &Entry<V>) {
        self.replace(entry.pointer(), entry.expected.pointer());
    }

    /// Puts a successor in the place of its predecessor, which the caller holds; `false` if another is there by now:
    /// then nothing has changed. The caller has been pinned since before the call, and gives up what has been replaced
    /// with the same pin when this has succeeded.
    pub(super) fn publish(&self, old: &CellState<V>, new: &Successor<V>) -> bool {
        // SAFETY: `new` holds it.
        let counted = unsafe { new.state.pointer().hold() };
        epoch::track(&counted);
        let swapped = self.replace(old.pointer(), counted.pointer());
        if swapped {
            // The count is the cell's.
            counted.into_pointer();
        }
        swapped
    }

    /// Whether this is what the cell holds. Relaxed: under the exclusive lock, which ordered all that was done before.
    pub(super) fn holds(&self, pointer: Pointer<V>) -> bool {
        Pointer(self.0.load(Ordering::Relaxed)) == pointer
    }

    /// Of a model without locks: takes this pointer out of the cell, which stays.
    #[cfg(loom)]
    pub(super) fn vacate(&self, pointer: Pointer<V>) -> bool {
        self.replace(pointer, Pointer(ptr::null_mut()))
    }

    /// After the cell was taken out of its map, under the exclusive lock: its count of the record is the caller's.
    pub(super) fn into_pointer(self) -> Pointer<V> {
        let pointer = Pointer(self.0.load(Ordering::Relaxed));
        forget(self);
        epoch::has_left(pointer);
        pointer
    }
}

/// With its map: nobody can see the record any more but who holds it by count, and that keeps no image alive.
impl<V: Record> Drop for Cell<V> {
    fn drop(&mut self) {
        let pointer = Pointer(self.0.load(Ordering::Relaxed));
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
