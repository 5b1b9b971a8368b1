//! Replacing a trace as a whole.

use super::TraceStore;
use crate::error::Result;
use crate::protocol::Change;
use crate::trace::{NewTrace, Trace};
use std::sync::Arc;

impl TraceStore {
    /// Stores a trace with every field as given, in place of the one that has its id, if the store holds one; returns
    /// its new state. For a host that keeps its own copy of a trace, and for fields that an
    /// [update](Self::update) can't change, the type and the partition among them. The links stay, and the revision is
    /// the next one; if no field differs, the trace stays as it is.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// let id = store.insert(NewTrace::text("the bar is 4 m deep"))?;
    /// let trace = store.replace(NewTrace::text("the bar is 3 m deep").id(id).reinforcement_count(7))?;
    /// assert_eq!((trace.revision(), trace.reinforcement_count(), store.len()), (2, 7, 1));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`insert`](Self::insert) but [`AlreadyExists`](crate::ErrorKind::AlreadyExists). Nothing
    /// is stored or changed.
    pub fn replace(&self, new: NewTrace) -> Result<Arc<Trace>> {
        self.inner().upsert(new, |old, new| Ok(new.succeeding(old).map_or(Change::Keep, Change::put)))
    }
}
