//! All unsafe code of the crate: a push-only list and a cell that is swapped and reclaimed by epoch.

mod slot;
mod stack;

pub(crate) use slot::{Look, Pin, Slot, pin};
pub(crate) use stack::Stack;
