//! For the crate's own loom models: the protocol's parts, and the mistakes they must catch. Not part of
//! the API, and not there outside `--cfg loom`.

pub use crate::core::planted::{Mistake, plant};
pub use crate::core::{
    Bell, Change, Clock, Cut, Cutter, Entry, Inside, Map, Opening, Progress, Refused, Transition, Wait,
};

use crate::store::TraceStore;

/// The flusher's loop, for a model that runs it on a thread of its own. Returns when the store has closed.
pub fn serve(store: &TraceStore) {
    let driver = store.take_driver();
    if let Some(driver) = driver {
        crate::flusher::serve(driver);
    }
}
