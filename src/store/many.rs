//! Groups of one kind of change.

use super::TraceStore;
use super::inner::Inner;
use crate::error::Result;
use crate::trace::{NewTrace, TraceEdit, TraceId};
use std::cell::RefCell;
use std::sync::Arc;

impl TraceStore {
    /// Stores several new traces, all or none, and returns their ids in order: a [group](Self::apply) of insertions, so
    /// at most [`MAX_STEPS`](crate::Group::MAX_STEPS).
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// let birds = ["heron", "dunlin", "curlew"].map(|bird| NewTrace::episodic(json!(bird)).tag("birds"));
    /// let ids = store.insert_many(birds)?;
    /// assert_eq!((ids.len(), store.len()), (3, 3));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`insert`](Self::insert), for the first trace that can't be stored, and those of
    /// [`apply`](Self::apply). Nothing is stored.
    pub fn insert_many(&self, new: impl IntoIterator<Item = NewTrace>) -> Result<Vec<TraceId>> {
        self.inner().insert_many(None, new)
    }

    /// Changes several traces, all or none: a [group](Self::apply) of updates, with one closure for all. A trace whose
    /// id is given twice is changed twice; an id that the store does not hold is an error.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// let ids = store.insert_many(["ebb", "flood"].map(NewTrace::text))?;
    /// store.update_many(ids, |trace| trace.tag("tides"))?;
    /// assert_eq!(store.tags()["tides"], 2);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`apply`](Self::apply). Nothing is changed.
    pub fn update_many(
        &self,
        ids: impl IntoIterator<Item = TraceId>,
        change: impl FnMut(TraceEdit<'_>) -> TraceEdit<'_>,
    ) -> Result<()> {
        self.inner().update_many(None, ids, change)
    }

    /// Removes several traces with their links, all or none: a [group](Self::apply) of removals. An id that is given
    /// twice, or that the store does not hold, is an error.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`apply`](Self::apply). Nothing is removed.
    pub fn remove_many(&self, ids: impl IntoIterator<Item = TraceId>) -> Result<()> {
        self.inner().remove_many(None, ids)
    }
}

/// Of the traces of one partition, if that is given.
type Within<'a> = Option<&'a Arc<str>>;

impl Inner {
    pub(super) fn insert_many(
        &self,
        within: Within<'_>,
        new: impl IntoIterator<Item = NewTrace>,
    ) -> Result<Vec<TraceId>> {
        self.apply_group(within, |group| new.into_iter().map(|new| group.insert(new)).collect())
    }

    pub(super) fn update_many(
        &self,
        within: Within<'_>,
        ids: impl IntoIterator<Item = TraceId>,
        change: impl FnMut(TraceEdit<'_>) -> TraceEdit<'_>,
    ) -> Result<()> {
        // The steps run one after the other.
        let change = &RefCell::new(change);
        self.apply_group(within, |group| {
            ids.into_iter().for_each(|id| group.update(id, move |trace| (change.borrow_mut())(trace)));
            Ok(())
        })
    }

    pub(super) fn remove_many(
        &self,
        within: Within<'_>,
        ids: impl IntoIterator<Item = TraceId>,
    ) -> Result<()> {
        self.apply_group(within, |group| {
            ids.into_iter().for_each(|id| group.remove(id));
            Ok(())
        })
    }
}
