//! Groups of one kind of change.

use super::{Group, TraceStore};
use crate::error::Result;
use crate::trace::{NewTrace, TraceEdit, TraceId};
use std::cell::RefCell;

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
        self.apply(|group| insert_all(group, new))
    }

    /// Changes several traces, all or none: a [group](Self::apply) of updates, with one closure for all. A trace whose id
    /// is given twice is changed twice; an id that the store does not hold is an error.
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
        let change = RefCell::new(change);
        self.apply(|group| {
            update_all(group, ids, &change);
            Ok(())
        })
    }

    /// Removes several traces with their links, all or none: a [group](Self::apply) of removals. An id that is given
    /// twice, or that the store does not hold, is an error.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`apply`](Self::apply). Nothing is removed.
    pub fn remove_many(&self, ids: impl IntoIterator<Item = TraceId>) -> Result<()> {
        self.apply(|group| {
            ids.into_iter().for_each(|id| group.remove(id));
            Ok(())
        })
    }
}

pub(super) fn insert_all(
    group: &mut Group<'_>,
    new: impl IntoIterator<Item = NewTrace>,
) -> Result<Vec<TraceId>> {
    new.into_iter().map(|new| group.insert(new)).collect()
}

/// The steps of a group run one after the other.
pub(super) fn update_all<'a>(
    group: &mut Group<'a>,
    ids: impl IntoIterator<Item = TraceId>,
    change: &'a RefCell<impl FnMut(TraceEdit<'_>) -> TraceEdit<'_>>,
) {
    for id in ids {
        group.update(id, move |trace| (change.borrow_mut())(trace));
    }
}
