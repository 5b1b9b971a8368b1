//! The partitions and tags of a store, with the number of their traces.

use super::TraceStore;
use super::inner::Inner;
use crate::views::Counted;
use std::collections::BTreeMap;

impl TraceStore {
    /// Returns the partitions that have traces, each with the number of its traces, valid or not. Costs a look at each
    /// partition, and at the traces that were changed so recently that the views lack the change.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// store.insert(NewTrace::text("likes the north quay").partition("ana"))?;
    /// store.insert_many(["tide", "moon"].map(|word| NewTrace::text(word).tag("sky").partition("ben")))?;
    /// let partitions: Vec<_> = store.partitions().into_iter().collect();
    /// assert_eq!(partitions, [("ana".to_owned(), 1), ("ben".to_owned(), 2)]);
    /// assert_eq!(store.tags()["sky"], 2);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    pub fn partitions(&self) -> BTreeMap<String, usize> {
        self.inner().counts(Counted::Partitions, None)
    }

    /// Returns the tags that traces have, each with the number of its traces, in the way of
    /// [`partitions`](Self::partitions).
    pub fn tags(&self) -> BTreeMap<String, usize> {
        self.inner().counts(Counted::Tags, None)
    }
}

impl Inner {
    pub(super) fn counts(&self, counted: Counted, within: Option<&str>) -> BTreeMap<String, usize> {
        let counts = self.state.ask(|unsettled, views| views.count(unsettled, counted, within));
        counts.unwrap_or_else(|| {
            let traces: Vec<_> = self.traces().get_many(&self.traces().keys());
            counted.count(traces.iter().flatten().map(|trace| &**trace), within)
        })
    }
}
