//! All unsafe code of the crate: a push-only list, a cell that is swapped and reclaimed by epoch, and the page by which
//! a fork is recognized.

mod process;
mod slot;
mod stack;

pub(crate) use process::Process;
pub(crate) use slot::{Look, Pin, Slot, pin};
pub(crate) use stack::Stack;
