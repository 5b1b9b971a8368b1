//! The write-behind protocol, generic over key and value: no I/O, no domain, and nothing that
//! makes a writer wait.
//!
//! # Words
//!
//! A *generation* is a number and the list of the entries first written in it, the *dirty set*.
//! One generation is open at a time ([`Clock`]). An *entry* ([`map`]) stands for one key and holds
//! one immutable *version* ([`version`]): the generation it was written in, its state, and the
//! *image before* that generation. A *cut* closes the open generation by swapping in the next; the
//! *grace period* is the wait until no writer is inside the closed one; a *capture* reads an entry
//! as it was at the cut; *settling* drops what only the capture needed and unlinks what was removed.
//!
//! # Invariants
//!
//! 1. `version.generation <= number of the open generation`, always: a transition loads the version
//!    before it enters. The other order would stamp a write with a generation older than the state
//!    it was computed from, and a cut would show the effect without its cause.
//! 2. An entry is listed in generation `g` exactly once, by the transition whose compare-and-swap
//!    moved its stamp from below `g` to `g`. The stamp is the membership test: there is no dirty
//!    flag that could be cleared too early.
//! 3. A closed generation's list is complete once the flusher owns it alone: every pusher holds it.
//! 4. While generation `n` is being captured only `n + 1` is open, so an entry's state at cut `n` is
//!    its value if it is stamped `<= n`, and its image before otherwise.
//! 5. An entry leaves the map only in the state *retired*, which no transition leaves; a writer that
//!    meets it looks its key up again. So a write never lands on an entry that the map forgot.
//!
//! # Threads
//!
//! Writers: lock-free but for the lookup in the sharded map. The flusher alone holds the [`Cutter`]
//! and is the only one that waits. Memory orderings are justified where they stand, by the event
//! they pair with. loom checks all of it: see the models in `loom-tests`.

mod at_work;
mod clock;
mod index;
mod map;
pub(crate) mod planted;
mod progress;
#[allow(unsafe_code)]
mod raw;
pub(crate) mod sync;
#[cfg(all(test, not(any(loom, crossbeam_loom))))]
mod tests;
pub(crate) mod version;

pub(crate) use at_work::{at_work, is_at_work};
pub use clock::{Clock, Cutter, Hold, Opening};
#[cfg(loom)]
pub use clock::{Cut, Inside};
#[cfg(loom)]
pub use index::Index;
pub use index::{Adjacency, HasTerms, Joins, Term, Terms};
pub use map::{Change, Entry, Map, Refused, Transition};
pub(crate) use progress::wake;
pub use progress::{Closing, Goal, Progress, Reached, Wait, WaiterId};
pub(crate) use raw::Process;
#[cfg(all(feature = "sqlite", target_os = "linux", target_pointer_width = "64", not(loom)))]
pub(crate) use raw::file_lock;
#[cfg(loom)]
pub use raw::let_loads_age;
pub use sync::Bell;
#[cfg(loom)]
pub use sync::ShippedBell;
