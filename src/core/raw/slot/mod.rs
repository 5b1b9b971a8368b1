//! The cell that holds an entry's state: replaced by compare-and-swap, the old one reclaimed by epoch.
//!
//! Not `ArcSwap`: its stores cost more with each thread that ever used it, and this cell is replaced at
//! every write. The epochs are the crate's own, since a guard held long elsewhere in the process would
//! hold back our garbage. Nothing but freeing memory depends on the epoch moving.

use crate::core::version::Version;
use std::sync::Arc;

#[cfg(all(test, crossbeam_loom))]
mod model;
#[cfg(loom)]
mod modelled;
#[cfg(not(loom))]
mod real;

#[cfg(loom)]
pub use modelled::let_loads_age;
#[cfg(loom)]
pub(crate) use modelled::{Pin, Slot, pin};
#[cfg(not(loom))]
pub(crate) use real::{Pin, Slot, pin};

/// What a slot holds, as it is seen. A settled value needs no version around it, which spares each read a look
/// at another cache line and each trace at rest an allocation.
pub(crate) enum Look<'a, V> {
    /// Nothing was ever written: absent, and older than any generation. A slot is vacant only at first.
    Vacant,
    /// Written, and not settled since.
    Written(&'a Version<V>),
    /// A value older than any generation that is not committed.
    Settled(&'a Arc<V>),
    /// The entry is leaving the map: terminal.
    Retired,
}

impl<V> Clone for Look<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Look<'_, V> {}
