//! Superseding: a new trace in the place of one that is not valid any more.

use super::inner::Inner;
use super::{Partition, TraceStore};
use crate::error::Result;
use crate::trace::{NewTrace, TraceId};
use std::sync::Arc;

impl TraceStore {
    /// Inserts a new trace and marks an earlier one as [superseded](crate::Trace::superseded_by) by it, as a
    /// [group](Self::apply): both or none. Returns the id of the new trace. The earlier one stays in the store, with
    /// its links, and is not [valid](crate::guide::memory#validity) any more.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// let shallow = store.insert(NewTrace::text("the bar is 4 m deep"))?;
    /// let deeper = store.supersede(shallow, NewTrace::text("the bar is 6 m deep: it was dredged"))?;
    /// let found: Vec<_> = store.query().iter().map(|trace| trace.id()).collect();
    /// assert_eq!(found, [deeper]);
    /// assert_eq!(store.get(shallow).and_then(|trace| trace.superseded_by()), Some(deeper));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`apply`](Self::apply); nothing is changed.
    pub fn supersede(&self, earlier: TraceId, new: NewTrace) -> Result<TraceId> {
        self.inner().supersede(None, earlier, new)
    }
}

impl Partition {
    /// See [`TraceStore::supersede`]. Both traces are of this partition.
    pub fn supersede(&self, earlier: TraceId, new: NewTrace) -> Result<TraceId> {
        self.store.inner().supersede(Some(&self.name), earlier, new)
    }
}

impl Inner {
    fn supersede(&self, within: Option<&Arc<str>>, earlier: TraceId, new: NewTrace) -> Result<TraceId> {
        self.apply_group(within, |group| {
            let successor = group.insert(new)?;
            group.update(earlier, move |trace| trace.superseded_by(successor));
            Ok(successor)
        })
    }
}
