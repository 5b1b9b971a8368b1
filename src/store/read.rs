//! Reading: from memory only, never from the disk.

use super::TraceStore;
use crate::trace::{Trace, TraceId};
use std::sync::Arc;

impl TraceStore {
    /// Returns the newest state of a trace, [valid](crate::guide::memory#validity) or not; `None` if the store does not
    /// hold it. The returned trace never changes.
    ///
    /// Costs a lookup in a sharded map and a reference count; never waits for a flush.
    pub fn get(&self, id: TraceId) -> Option<Arc<Trace>> {
        self.state().traces.get(&id)
    }

    /// Returns the newest states of several traces, in the order of the ids; `None` for each that the store does not
    /// hold. Each is as it is at some moment of the call, and these moments differ: a change of several traces by
    /// another thread may be seen in some and not yet in others.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceId, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// let id = store.insert(NewTrace::text("slack water at six"))?;
    /// let found: Vec<_> = store.get_many([id, TraceId::new()]).iter().map(Option::is_some).collect();
    /// assert_eq!(found, [true, false]);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    pub fn get_many(&self, ids: impl IntoIterator<Item = TraceId>) -> Vec<Option<Arc<Trace>>> {
        self.state().traces.get_many(&ids.into_iter().collect::<Vec<_>>())
    }

    /// Whether the store holds the trace.
    pub fn contains(&self, id: TraceId) -> bool {
        self.get(id).is_some()
    }

    /// Returns the number of traces in the store: one load.
    pub fn len(&self) -> usize {
        self.state().traces.len()
    }

    /// Returns the path of the store's file, with symbolic links resolved; `None` if the store has no file of this
    /// crate.
    #[cfg(all(feature = "sqlite", not(loom)))]
    pub fn path(&self) -> Option<&std::path::Path> {
        self.inner().home.as_ref()?.file.as_deref()
    }

    /// Whether the store holds no traces.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Iterates over every trace, in no particular order. No lock is held while your code runs, so other threads can
    /// write. A trace that exists from before the call until the end of the iteration is returned once, in its state
    /// at the moment it is reached; a trace inserted or removed in the meantime may be returned or not.
    ///
    /// The call copies the id of each trace, shard by shard.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// store.insert_many(["ebb", "flood"].map(|tide| NewTrace::semantic(json!(tide))))?;
    /// let mean = store.iter().map(|trace| trace.confidence()).sum::<f64>() / store.len() as f64;
    /// assert_eq!(mean, 0.5);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    pub fn iter(&self) -> impl Iterator<Item = Arc<Trace>> + use<> {
        let inner = self.owner.inner.clone();
        self.state().traces.keys().into_iter().filter_map(move |id| inner.traces().get(&id))
    }
}
