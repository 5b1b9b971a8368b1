//! For the crate's own loom models: the protocol's parts, and the mistakes they must catch. Not part of
//! the API, and not there outside `--cfg loom`.

pub use crate::protocol::planted::{Mistake, plant};
pub use crate::protocol::{
    Adjacency, Bell, Captured, Change, Cut, CutBlock, Cutter, GenerationGuard, Generations, HasTerms, Head,
    Index, Joins, List, Map, Opening, Progress, Reached, Record, Rejected, ShippedBell, Term, Terms, Tracked,
    Transition, Wait, explore, hide_locks,
};

use crate::store::TraceStore;

/// Puts a trace back as it was, with the number of its content, which no call of the API does by now.
pub fn put_back(store: &TraceStore, trace: &crate::Trace) -> crate::Result<()> {
    store.put_back(trace)
}

/// The flusher's loop, to be run on a thread of the model's own; it returns when the store has closed. From
/// this call on, no caller of flush or close does the flusher's work.
pub fn flusher(store: &TraceStore) -> impl FnOnce() + Send + 'static {
    let driver = store.take_driver();
    move || driver.into_iter().for_each(crate::flusher::serve)
}
