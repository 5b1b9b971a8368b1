//! For the models: a number whose reading races, to loom, with its making, unless whoever reads it has found it
//! properly.

use loom::cell::UnsafeCell;

/// Immutable.
pub struct Tracked(UnsafeCell<u64>);

// SAFETY: it is written when it is made; that no read races with that is what the models check.
unsafe impl Sync for Tracked {}

impl Tracked {
    /// Made now, by this thread.
    pub fn new(number: u64) -> Self {
        Self(UnsafeCell::new(number))
    }

    /// Reads it.
    pub fn get(&self) -> u64 {
        // SAFETY: as for `Sync`.
        self.0.with(|number| unsafe { *number })
    }
}

impl Clone for Tracked {
    fn clone(&self) -> Self {
        Self::new(self.get())
    }
}
