//! Records that have left their cells, or been taken out as images, until nobody can see them any more.
//!
//! Mostly that is at once. What has to wait belongs to the map, and not to the thread that replaced it, which may never
//! come back: the next writer in the shard that has something to free frees it too, or the flusher at its next cut; and
//! nothing outlives the map.

#[cfg(loom)]
mod modelled;
mod shipped;

#[cfg(loom)]
pub(super) use modelled::Garbage;
#[cfg(not(loom))]
pub(super) use shipped::Garbage;

use super::record::{CellState, Pointer, Record, Successor};
use crate::protocol::planted::{Mistake, planted};

/// The locks of the shards.
pub(super) trait Locks {
    /// Whether the lock of a shard is free. If it is, whoever had it before has given it up, which happened before this
    /// returns, and this happened before whoever takes it next. Waits for nobody.
    fn is_free(&self, shard: usize) -> bool;
}

impl<V: Record> Garbage<V> {
    /// What becomes of a record when another one was published in its place.
    ///
    /// Of a later generation, the new record has got the cell's count of the old one, which is its image before. The
    /// image before that is of no use any more: a capture looks for one only in a record of the open generation.
    ///
    /// Of the same generation, the new record has got the old one's image. What the old one points to is an alias now,
    /// and stays: the flusher may have found the old one and be about to read it.
    pub(super) fn add_replaced(
        &self,
        old: &CellState<V>,
        new: &Successor<V>,
        shard: usize,
        locks: &impl Locks,
    ) {
        let replaced = old.pointer();
        if replaced.is_null() || planted(Mistake::ImageLeftToTheHolder) && new.is_later {
            return;
        }
        #[cfg(loom)]
        if Self::add_wrongly(replaced, new.is_later) {
            return;
        }
        if new.is_later {
            // SAFETY: `old` holds it, and one of a later generation has taken its place.
            return self.add_image(unsafe { replaced.take_image() }, shard, locks);
        }
        // SAFETY: the count is the cell's, which the swap has given to us.
        let replaced = unsafe { replaced.into_state() };
        let bytes = |old: &CellState<V>| old.value().map_or(0, |old| old.freed_bytes(new.value()));
        self.add(replaced, bytes, shard, locks);
    }

    /// Takes over the count of an image that was taken out of its record, if it is not null.
    pub(super) fn add_image(&self, image: Pointer<V>, shard: usize, locks: &impl Locks) {
        if image.is_null() {
            return;
        }
        // SAFETY: the count is ours now.
        let image = unsafe { image.into_state() };
        let bytes = |image: &CellState<V>| image.value().map_or(0, |image| image.freed_bytes(None));
        self.add(image, bytes, shard, locks);
    }

    /// The planted mistakes. A hostile collector keeps the memory.
    #[cfg(loom)]
    fn add_wrongly(replaced: Pointer<V>, is_later: bool) -> bool {
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
