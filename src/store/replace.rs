//! Replacing a trace as a whole.

use super::TraceStore;
use super::inner::{not_found, reason};
use crate::error::Result;
use crate::protocol::Change;
use crate::trace::{NewTrace, Trace};
use std::sync::Arc;

impl TraceStore {
    /// Stores a trace with every field as given, in place of the one that has its id, if the store holds one; returns
    /// its new state. For a host that keeps its own copy of a trace, and for fields that an
    /// [update](Self::update) can't change. The links stay, and the revision is the next one; if no field differs, the
    /// trace stays as it is.
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
        let (inner, state) = (self.inner(), self.state());
        let trace = inner.checked(new)?;
        state.check_lag()?;
        let done = inner.traces().upsert(&state.generations, &trace.id(), |old| {
            Ok(match old {
                None => Change::Put(trace.clone()),
                Some(old) => trace.succeeding(old).map_or(Change::Keep, Change::Put),
            })
        });
        let done = done.map_err(reason)?;
        if done.is_noop() {
            inner.check_open()?;
        }
        // The change does not remove it.
        done.new.ok_or_else(|| not_found(trace.id()))
    }
}
