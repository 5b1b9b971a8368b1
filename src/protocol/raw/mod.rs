//! All unsafe code of the crate: a list that grows while it is read, the cells of a map, whose records are swapped by
//! compare-and-swap and freed once nobody can see them, the page by which a fork is recognized, and locks of open files.
//!
//! - [`list`]: the keys of a generation;
//! - [`record`]: what a record carries for the protocol, and pointers to records;
//! - [`cell`]: the newest record of one key;
//! - [`group`]: what stands in a cell while a group is carried out;
//! - [`cells`]: the map of cells, and every step that touches one;
//! - [`reading`]: what keeps a record that was found in a cell;
//! - [`garbage`]: the records that have left theirs;
//! - [`process`]: which process this is;
//! - `file_lock`: locks of a range of a file.

mod cell;
mod cells;
#[cfg(all(feature = "sqlite", target_os = "linux", target_pointer_width = "64", not(loom)))]
pub(crate) mod file_lock;
mod garbage;
mod group;
mod list;
mod process;
mod reading;
mod record;
#[cfg(loom)]
mod tracked;

pub use cells::Captured;
pub(crate) use cells::{Cells, Settled};
pub(crate) use group::{Decision, Entry, track};
#[cfg(loom)]
pub use list::List;
#[cfg(not(loom))]
pub(crate) use list::List;
pub(crate) use process::Process;
#[cfg(loom)]
pub use reading::explore;
pub(crate) use record::CellState;
pub use record::{Fresh, Head, Record};
#[cfg(loom)]
pub use tracked::Tracked;
