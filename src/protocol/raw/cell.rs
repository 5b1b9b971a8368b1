//! The newest record of one key.

use super::epoch::{self, Pin};
use super::record::{CellState, Loaded, Pointer, Record, Successor};
use crate::protocol::planted::{Mistake, planted};
use crate::protocol::sync::{AtomicPtr, Ordering};
use std::mem::forget;
#[cfg(loom)]
use std::ptr;

/// Null, or a pointer to a record, of which the cell owns one count. A record is in a cell once, and never again.
///
/// Null is a cell of a model without locks: elsewhere a key that is absent has no cell.
pub(super) struct Cell<V: Record>(AtomicPtr<V>);

impl<V: Record> Cell<V> {
    pub(super) fn new(state: CellState<V>) -> Self {
        epoch::track(&state);
        Self(AtomicPtr::new(state.into_pointer().0))
    }

    /// Acquire pairs with the release of the compare-and-swap that put this here, or with that of the shard's lock:
    /// the record is seen whole, and what its writer did before (entering a generation) happened before what this
    /// thread does next (entering the same or a later one).
    ///
    /// # Safety
    ///
    /// The cell is not dropped while `'a` lasts. (That it may be taken out of its map is no matter.)
    pub(super) unsafe fn load<'a>(&self, pin: &'a Pin) -> Loaded<'a, V> {
        let acquire = if planted(Mistake::LoadRelaxed) { Ordering::Relaxed } else { Ordering::Acquire };
        let pointer = Pointer(epoch::read(&self.0, acquire, pin));
        // SAFETY: what leaves a cell is given up as garbage by who took it out, so after all pins of that moment are
        // gone; but for a cell that is dropped, which the caller excludes.
        unsafe { Loaded::new(pointer) }
    }

    /// Puts a record in the place of the very one that is expected; `false` if another is there by now. On success the
    /// cell's count of the old one is the caller's, or, if the new one is later, that of its image before.
    fn replace(&self, old: Pointer<V>, new: Pointer<V>) -> bool {
        // Release pairs with the Acquire in `load`. On failure the caller loads again.
        let release = if planted(Mistake::SwapRelaxed) { Ordering::Relaxed } else { Ordering::Release };
        let swapped = self.0.compare_exchange(old.0, new.0, release, Ordering::Relaxed).is_ok();
        if swapped {
            epoch::has_left(old);
        }
        swapped
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

    /// Of a model without locks: takes the record out of its cell, which stays.
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
