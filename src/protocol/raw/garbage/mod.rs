//! Records that have left their cells, or been taken out as images, until nobody can see them any more.
//!
//! They belong to the map that they are from, and not to the threads that replaced them, which may never come back.
//! What such a thread leaves, some lists of 64 KiB, the flusher frees at its next cut, or at a later one if a thread is
//! pinned just then; and nothing outlives the map.

#[cfg(loom)]
mod modelled;
#[cfg(not(loom))]
mod real;

#[cfg(loom)]
pub(super) use modelled::Garbage;
#[cfg(not(loom))]
pub(super) use real::Garbage;

use super::epoch::Pin;
use super::record::{CellState, Pointer, Record, Successor};
use crate::protocol::planted::{Mistake, planted};

impl<V: Record> Garbage<V> {
    /// What becomes of a record when another one was published in its place, with a pin from before that.
    ///
    /// Of a later generation, the new record has got the cell's count of the old one, which is its image before. The
    /// image before that is of no use any more: a capture looks for one only in a record of the open generation.
    ///
    /// Of the same generation, the new record has got the old one's image. What the old one points to is an alias now,
    /// and stays: the flusher may have found the old one and be about to read it.
    pub(super) fn add_replaced(&self, old: &CellState<V>, new: &Successor<V>, pin: &Pin) {
        let replaced = old.pointer();
        if replaced.is_null() || planted(Mistake::ImageLeftToTheHolder) && new.is_later {
            return;
        }
        #[cfg(loom)]
        if self.add_wrongly(replaced, new.is_later, pin) {
            return;
        }
        if new.is_later {
            // SAFETY: `old` holds it, and one of a later generation has taken its place.
            return self.add_image(unsafe { replaced.take_image() }, pin);
        }
        let bytes = old.value().map_or(0, |value| value.freed_bytes(new.value()));
        // SAFETY: the count is the cell's, which the swap has given to us, and the record has left.
        unsafe { self.add(replaced, bytes, pin) };
    }

    /// Takes over the count of an image that was taken out of its record, if it is not null.
    pub(super) fn add_image(&self, image: Pointer<V>, pin: &Pin) {
        if image.is_null() {
            return;
        }
        // SAFETY: the count is ours now.
        let bytes = unsafe { image.value() }.map_or(0, |value| value.freed_bytes(None));
        // SAFETY: the count is ours, the image left its cell before, and its record's `previous` now.
        unsafe { self.add(image, bytes, pin) };
    }

    /// The planted mistakes. A hostile collector keeps the memory.
    #[cfg(loom)]
    fn add_wrongly(&self, replaced: Pointer<V>, is_later: bool, pin: &Pin) -> bool {
        if is_later && planted(Mistake::DeferralTouchesUnowned) {
            // SAFETY: none, that is the mistake.
            pin.defer(move || unsafe { replaced.take_image().release() });
            return true;
        }
        if !is_later && planted(Mistake::ReleasedAtOnce) {
            // SAFETY: none, that is the mistake.
            unsafe { replaced.release() };
            return true;
        }
        if !is_later && planted(Mistake::EmptiedAtOnce) {
            // SAFETY: the caller holds it.
            unsafe { replaced.take_image() };
        }
        false
    }
}
