//! The write-behind protocol, generic over key and value: no I/O, no domain, and nothing that
//! makes a writer wait.
//!
//! # Words
//!
//! A *generation* is a number and the list of the keys first written in it, the *dirty set*. One generation is open at
//! a time ([`Generations`]). A key that was written has a *cell* in its map ([`map`]), which points to its newest
//! *record*: an immutable value, or a *tombstone* where the key was removed. A record is stamped with the generation it
//! was written in, and points to the *image before* that generation. A *cut* closes the open generation by swapping in
//! the next; the *grace period* is the wait until no writer is inside the closed one; a *capture* reads a key as it was
//! at the cut; *settling* gives up the image that only the capture needed, and takes out the cells of removed keys.
//!
//! # Invariants
//!
//! 1. A record's generation is at most the number of the open one, always: a transition loads the record that it
//!    replaces before it enters. The other order would stamp a write with a generation older than the state it was
//!    computed from, and a cut would show the effect without its cause.
//! 2. A key is listed in generation `g` before a record stamped `g` is in its cell. Whoever replaces a record that is
//!    stamped below `g` lists the key; so it may be listed twice, or in vain, and the flusher takes it once. The stamp
//!    is the membership test: there is no dirty flag that could be cleared too early.
//! 3. A closed generation's list is complete once the flusher owns it alone: every pusher holds it.
//! 4. While generation `n` is being captured only `n + 1` is open, so a key's state at cut `n` is its record if that is
//!    stamped `<= n`, and its image before otherwise.
//! 5. A record is in a cell once. The cell owns a count of it, and so does the record that it is the image before of:
//!    a later one takes over the cell's count, and another one of the same generation its predecessor's image.
//! 6. What leaves a cell, or ceases to be an image, is given up when nobody can see it any more, by who took it out.
//!    Whoever holds a record by count keeps nothing but that record.
//! 7. A cell is made, and taken out, under the exclusive lock of its shard; taken out only with the tombstone in it
//!    whose removal is committed. So nobody holds a cell that the map has let go.
//!
//! # Threads
//!
//! Writers: lock-free but for the lookup in the sharded map. The flusher alone holds the [`Cutter`]
//! and is the only one that waits. Memory orderings are justified where they stand, by the event
//! they pair with. loom checks all of it: see the models in `loom-tests`.

mod at_work;
mod generations;
mod index;
mod map;
pub(crate) mod planted;
mod progress;
#[allow(unsafe_code)]
mod raw;
pub(crate) mod sync;
#[cfg(all(test, not(any(loom, crossbeam_loom))))]
#[allow(clippy::expect_used, reason = "what can't be made fails its test")]
mod tests;

pub(crate) use at_work::{at_work, is_at_work};
#[cfg(loom)]
pub use generations::{Cut, GenerationGuard};
pub use generations::{CutBlock, Cutter, Generations, Opening};
#[cfg(loom)]
pub use index::Index;
pub use index::{Adjacency, EdgeKey, HasTerms, Term, Terms};
pub use map::{Change, Map, Rejected, Transition};
pub(crate) use progress::wake;
pub use progress::{Closing, FlushOutcome, FlushProgress, FlushTicket, Reached, WaiterId};
pub(crate) use raw::Process;
#[cfg(all(feature = "sqlite", target_os = "linux", target_pointer_width = "64", not(loom)))]
pub(crate) use raw::file_lock;
#[cfg(loom)]
pub use raw::{Captured, List, Tracked, explore};
pub use raw::{Head, Record};
pub use sync::Notify;
#[cfg(loom)]
pub use sync::{ShippedNotify, hide_locks};
