//! For the crate's own loom models: the protocol's parts, and the mistakes they must catch. Not part of
//! the API, and not there outside `--cfg loom`.

pub use crate::protocol::planted::{Mistake, plant};
pub use crate::protocol::{
    Adjacency, Captured, Change, Cut, CutBlock, EdgeKey, FlushOutcome, FlushProgress, GenerationGuard,
    Generations, GroupPart, GroupTry, Head, Index, List, Map, Notify, Opening, Reached, Record, Rejected,
    ShippedNotify, Tracked, Transition, Unsettled, Views, explore, hide_locks,
};

use crate::store::TraceStore;

/// The flusher's loop, to be run on a thread of the model's own; it returns when the store has closed. From
/// this call on, no caller of flush or close does the flusher's work.
pub fn flusher(store: &TraceStore) -> impl FnOnce() + Send + 'static {
    let flusher = store.take_flusher();
    move || flusher.into_iter().for_each(crate::flusher::run)
}
