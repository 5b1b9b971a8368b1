//! The write-behind protocol, generic over key and value: no I/O, no traces, and nothing that makes a writer wait.
//!
//! The page [`guide::protocol`](crate::guide::protocol) has the rules, each with its memory ordering, the loom model
//! that checks it, and the planted mistake. The comments here give the reason where a rule is followed.
//!
//! - [`generations`]: the open generation, its list of keys, and the cut that closes it;
//! - [`map`]: keys and transitions, each one compare-and-swap of a cell;
//! - [`group`]: writes of several keys, of which a cut has all or none;
//! - [`raw`]: cells, records and their reclamation, and all other unsafe code of the crate;
//! - [`index`]: finding links by either end;
//! - [`views`]: finding traces by anything; [`unapplied`]: the keys that the views lack;
//! - [`progress`]: watermarks, and those who wait for them;
//! - [`sync`]: atomics, locks and maps, real ones or loom's;
//! - [`planted`]: the mistakes that models must catch.
//!
//! Writers hold no lock but that of a shard, for two look-ups. Only who cuts waits: the flusher, and the
//! indexer.

mod at_work;
mod generations;
mod group;
mod index;
mod map;
pub(crate) mod planted;
mod progress;
#[allow(unsafe_code)]
mod raw;
pub(crate) mod sync;
#[cfg(all(test, not(loom)))]
#[allow(clippy::expect_used, reason = "what can't be made fails its test")]
mod tests;
mod unapplied;
mod views;

pub(crate) use at_work::{at_work, is_at_work};
#[cfg(loom)]
pub use generations::GenerationGuard;
pub use generations::{Cut, CutBlock, Generations, Opening};
pub use group::{GroupPart, GroupTry};
#[cfg(loom)]
pub use index::Index;
pub use index::{Adjacency, EdgeKey};
pub use map::{Change, Map, Rejected, Transition};
pub(crate) use map::{fetch, fetching};
pub(crate) use progress::wake;
pub use progress::{Closing, FlushOutcome, FlushProgress, FlushTicket, Reached, WaiterId};
pub(crate) use raw::Process;
#[cfg(all(feature = "sqlite", target_os = "linux", target_pointer_width = "64", not(loom)))]
pub(crate) use raw::file_lock;
#[cfg(loom)]
pub use raw::{Captured, List, Tracked, explore};
pub use raw::{Fresh, Head, Record};
pub use sync::Notify;
#[cfg(loom)]
pub use sync::{ShippedNotify, hide_locks};
pub use views::{Unsettled, Views};
