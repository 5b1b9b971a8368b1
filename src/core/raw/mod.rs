//! All unsafe code of the crate: a push-only list and a cell that is swapped and reclaimed by epoch.

mod slot;
mod stack;

#[cfg(loom)]
pub use slot::let_loads_age;
pub(crate) use slot::{Look, Pin, Slot, pin};
pub(crate) use stack::Stack;
