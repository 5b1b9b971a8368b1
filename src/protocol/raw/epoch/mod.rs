//! When a record that has left its cell can't be seen any more: once all pins of that moment are gone.
//!
//! The epochs are the crate's own, since a pin held long elsewhere in the process would hold back our garbage. Nothing
//! but freeing memory depends on the epoch moving.

#[cfg(loom)]
mod modelled;
#[cfg(not(loom))]
mod real;

#[cfg(loom)]
pub use modelled::explore;
#[cfg(loom)]
pub(crate) use modelled::*;
#[cfg(not(loom))]
pub(crate) use real::*;
