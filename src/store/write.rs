//! Writing: each write is one transition of one entry in memory; the flusher does the rest.

use super::TraceStore;
use super::inner::Inner;
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::{Change, Transition};
use crate::trace::{NewTrace, Trace, TraceEdit, TraceId};
use std::sync::Arc;

impl TraceStore {
    /// Stores a new trace and returns its id. Every thread can see the trace when this returns; the next flush writes
    /// it.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// let id = store.insert(NewTrace::episodic(json!({"saw": "a heron"})).tag("birds").confidence(0.8))?;
    /// assert!(store.contains(id));
    ///
    /// let again = store.insert(NewTrace::episodic(json!("the same id")).id(id));
    /// assert_eq!(again.unwrap_err().kind(), mnemon::ErrorKind::AlreadyExists);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) names the invalid field; [`AlreadyExists`](ErrorKind::AlreadyExists)
    /// if the store holds the id; [`Closed`](ErrorKind::Closed) if the store is closed;
    /// [`Lagging`](ErrorKind::Lagging) if it lags and was opened to reject writes while it does. Nothing is stored.
    pub fn insert(&self, new: NewTrace) -> Result<TraceId> {
        self.inner().insert(new)
    }

    /// Stores several new traces, all or none, and returns their ids in order: a [group](Self::apply) of insertions, so
    /// at most [`MAX_STEPS`](crate::Group::MAX_STEPS). Store more of them in several calls.
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
        self.apply(|group| new.into_iter().map(|new| group.insert(new)).collect())
    }

    /// Changes a trace atomically, and returns its new state, or `None` if the store does not hold it. A change that
    /// leaves every field unchanged makes nothing dirty.
    ///
    /// The closure receives the current state of the trace and returns the change. It runs outside any lock, and runs
    /// again if another thread changed the trace in the meantime, so it must not have side effects. If it panics, the
    /// panic is passed on to the caller and nothing has changed.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// # let id = store.insert(NewTrace::semantic(serde_json::json!("tide")).confidence(0.25))?;
    /// let surer = store.update(id, |trace| {
    ///     let confidence = trace.before().confidence() * 2.0;
    ///     trace.confidence(confidence).tag("checked")
    /// })?;
    /// assert_eq!(surer.map(|trace| (trace.confidence(), trace.revision())), Some((0.5, 2)));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`insert`](Self::insert); nothing is changed.
    pub fn update(
        &self,
        id: TraceId,
        mut change: impl FnMut(TraceEdit<'_>) -> TraceEdit<'_>,
    ) -> Result<Option<Arc<Trace>>> {
        self.alter(id, |old| self.inner().edited(old, &mut change)).map(|done| done?.new)
    }

    /// Changes a trace like [`update`](Self::update), but only if it has the given revision: compare-and-set.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// # let id = store.insert(NewTrace::semantic(json!("the bar moves")))?;
    /// let seen = store.get(id).expect("it is there").revision();
    /// store.update(id, |trace| trace.tag("checked"))?; // somebody is faster
    /// let late = store.update_if(id, seen, |trace| trace.tag("mine"));
    /// assert_eq!(late.unwrap_err().kind(), mnemon::ErrorKind::RevisionConflict);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RevisionConflict`](ErrorKind::RevisionConflict) if the trace now has another revision, which the message
    /// names; otherwise the errors of [`update`](Self::update). Nothing is changed.
    pub fn update_if(
        &self,
        id: TraceId,
        revision: u64,
        mut change: impl FnMut(TraceEdit<'_>) -> TraceEdit<'_>,
    ) -> Result<Option<Arc<Trace>>> {
        let changed = self.alter(id, |old| {
            check_revision(old, revision)?;
            self.inner().edited(old, &mut change)
        });
        changed.map(|done| done?.new)
    }

    /// Removes a trace with its links, and returns its last state, or `None` if the store does not hold it. The cost
    /// is proportional to the number of its links.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// # let id = store.insert(NewTrace::sensory(json!("gulls")))?;
    /// let was = store.remove(id)?;
    /// assert_eq!(was.map(|trace| trace.id()), Some(id));
    /// assert_eq!(store.remove(id)?, None);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) and [`Lagging`](ErrorKind::Lagging), under the conditions of
    /// [`insert`](Self::insert).
    pub fn remove(&self, id: TraceId) -> Result<Option<Arc<Trace>>> {
        self.alter(id, |_| Ok(Change::Remove)).map(|done| done?.old)
    }

    /// Applies one transition to an existing trace.
    pub(super) fn alter(
        &self,
        id: TraceId,
        change: impl FnMut(&Arc<Trace>) -> Result<Change<Trace>>,
    ) -> Result<Option<Transition<Trace>>> {
        let state = self.state();
        state.check_lag()?;
        let done = self.inner().update(id, change)?;
        // Without a change no write was rejected either; a closed store still returns its error.
        if done.as_ref().is_none_or(Transition::is_noop) && state.generations.enter().is_sealed() {
            Err(Self::closed())
        } else {
            Ok(done)
        }
    }
}

pub(super) fn check_revision(old: &Trace, revision: u64) -> Result<()> {
    match old.revision() {
        found if found == revision => Ok(()),
        found => Err(Error::new(
            ErrorKind::RevisionConflict,
            format!("trace {} has revision {found}, not {revision}: get it again and decide anew", old.id()),
        )),
    }
}

impl Inner {
    /// Returns what an update makes of a trace.
    pub(super) fn edited(
        &self,
        old: &Arc<Trace>,
        change: &mut impl FnMut(TraceEdit<'_>) -> TraceEdit<'_>,
    ) -> Result<Change<Trace>> {
        let Some(mut new) = change(TraceEdit::of(old)).finish()? else { return Ok(Change::Keep) };
        if new.numbers.strength != old.numbers.strength {
            // A checkpoint in the future would have no effect.
            new.numbers.last_decayed = new.numbers.last_decayed.min(self.now());
        }
        if !Arc::ptr_eq(&new.content, &old.content) {
            self.check_size(&new)?;
        }
        Ok(Change::Put(new))
    }
}
