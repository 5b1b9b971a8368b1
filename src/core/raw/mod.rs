//! All unsafe code of the crate: a push-only list, a cell that is swapped and reclaimed by epoch, the page by which a
//! fork is recognized, and locks of open files.

#[cfg(all(feature = "sqlite", target_os = "linux", target_pointer_width = "64", not(loom)))]
pub(crate) mod file_lock;
mod process;
mod slot;
mod stack;

pub(crate) use process::Process;
#[cfg(loom)]
pub use slot::let_loads_age;
pub(crate) use slot::{Look, Pin, Slot, pin};
pub(crate) use stack::Stack;
