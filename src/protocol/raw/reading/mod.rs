//! What keeps a record alive from the load of its cell until it is counted: the shared lock of its shard.
//!
//! What leaves a cell is freed once the lock of its shard has been free for a moment: whoever was in it has counted by
//! then what it holds, and who takes it later finds what has come into the cell.

#[cfg(loom)]
mod modelled;
#[cfg(not(loom))]
mod shipped;

#[cfg(loom)]
pub use modelled::explore;
#[cfg(loom)]
pub(super) use modelled::*;
#[cfg(not(loom))]
pub(super) use shipped::*;
