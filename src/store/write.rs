//! Writing: each write is one transition of one entry in memory; the flusher does the rest.

use super::inner::{Inner, not_found, reason};
use super::{Removed, TraceStore};
use crate::error::{Error, ErrorKind, Result};
use crate::protocol::{Change, Transition};
use crate::trace::{NewTrace, SharedContent, Trace, TraceEdit, TraceId};
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
        self.alter(id, |old| self.inner().edited(old, &mut |trace| Ok(change(trace)))).map(|done| done?.new)
    }

    /// Changes a trace like [`update`](Self::update), unless the closure returns an error, which is passed on:
    /// nothing is then changed. The error can be of your own type, if it can be made from an [`Error`].
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// # let id = store.insert(NewTrace::semantic(serde_json::json!({"depth": 4})))?;
    /// let deeper = store.try_update(id, |trace| -> Result<_, Box<dyn std::error::Error>> {
    ///     let depth = trace.before().payload().get("depth")?.and_then(|depth| depth.as_u64()).ok_or("no depth")?;
    ///     Ok(trace.payload(serde_json::json!({"depth": depth + 1})))
    /// })?;
    /// assert_eq!(deeper.map(|trace| trace.payload().to_string()), Some(r#"{"depth":5}"#.to_owned()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of the closure, and the errors of [`update`](Self::update).
    pub fn try_update<E: From<Error>>(
        &self,
        id: TraceId,
        mut change: impl FnMut(TraceEdit<'_>) -> Result<TraceEdit<'_>, E>,
    ) -> Result<Option<Arc<Trace>>, E> {
        refusable(&mut change, |change| {
            self.alter(id, |old| self.inner().edited(old, change)).map(|done| done?.new)
        })
    }

    /// Stores a new trace, or changes the one that has its id, and returns its new state. The closure is that of
    /// [`update`](Self::update); if it changes no field, the trace stays as it is.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceId, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// let seen = |what: &str| {
    ///     let new = NewTrace::text(what).id(TraceId::from_reference(what));
    ///     store.upsert(new, |trace| {
    ///         let surer = (trace.before().confidence() + 0.1).min(1.0);
    ///         trace.confidence(surer)
    ///     })
    /// };
    /// assert_eq!((seen("a heron")?.revision(), seen("a heron")?.revision()), (1, 2));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the errors of [`insert`](Self::insert) but [`AlreadyExists`](ErrorKind::AlreadyExists). Nothing is
    /// stored or changed.
    pub fn upsert(
        &self,
        new: NewTrace,
        mut change: impl FnMut(TraceEdit<'_>) -> TraceEdit<'_>,
    ) -> Result<Arc<Trace>> {
        self.inner().upsert(new, |old, _| self.inner().edited(old, &mut |trace| Ok(change(trace))))
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
    /// [`RevisionConflict`](ErrorKind::RevisionConflict) if the trace now has another revision, which
    /// [`found_revision`](Error::found_revision) returns; otherwise the errors of [`update`](Self::update). Nothing is
    /// changed.
    pub fn update_if(
        &self,
        id: TraceId,
        revision: u64,
        mut change: impl FnMut(TraceEdit<'_>) -> TraceEdit<'_>,
    ) -> Result<Option<Arc<Trace>>> {
        self.alter(id, |old| {
            check_revision(old, revision)?;
            self.inner().edited(old, &mut |trace| Ok(change(trace)))
        })
        .map(|done| done?.new)
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

    /// Removes a trace like [`remove`](Self::remove), but only if it has the given revision.
    ///
    /// # Errors
    ///
    /// [`RevisionConflict`](ErrorKind::RevisionConflict) if the trace now has another revision, which
    /// [`found_revision`](Error::found_revision) returns; otherwise the errors of [`remove`](Self::remove). Nothing is
    /// removed.
    pub fn remove_if(&self, id: TraceId, revision: u64) -> Result<Option<Arc<Trace>>> {
        self.alter(id, |old| check_revision(old, revision).map(|()| Change::Remove)).map(|done| done?.old)
    }

    /// Removes each trace that the closure returns `false` for, with its links, and returns the number of both. A
    /// trace that another thread changes before it is removed is judged again.
    ///
    /// Looks at every trace. The closure runs outside any lock, and may run more than once for a trace. To remove all
    /// that meets some conditions, remove what a [query](Self::query) finds.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// store.insert_many(["ebb", "flood"].map(NewTrace::text))?;
    /// let removed = store.retain(|trace| trace.payload().as_str().contains("flood"))?;
    /// assert_eq!((removed.traces, store.len()), (1, 1));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) and [`Lagging`](ErrorKind::Lagging), under the conditions of
    /// [`insert`](Self::insert). What was removed before that stays removed.
    pub fn retain(&self, keep: impl FnMut(&Trace) -> bool) -> Result<Removed> {
        self.inner().retain(self.iter(), keep)
    }

    /// Applies one transition to an existing trace.
    pub(super) fn alter(
        &self,
        id: TraceId,
        change: impl FnMut(&Arc<Trace>) -> Result<Change<Trace>>,
    ) -> Result<Option<Transition<Trace>>> {
        self.state().check_lag()?;
        let done = self.inner().update(id, change)?;
        if done.as_ref().is_none_or(Transition::is_noop) {
            // Without a change no write was rejected either; a closed store still returns its error.
            self.inner().check_open()?;
        }
        Ok(done)
    }
}

impl Inner {
    pub(super) fn edited(
        &self,
        old: &Arc<Trace>,
        change: &mut (impl FnMut(TraceEdit<'_>) -> Result<TraceEdit<'_>> + ?Sized),
    ) -> Result<Change<Trace>> {
        let Some(mut new) = old.edited(|| self.now(), change)? else { return Ok(Change::Keep) };
        if new.numbers.strength != old.numbers.strength {
            // A strength of a time to come would have no effect.
            new.numbers.last_decayed = new.numbers.last_decayed.min(self.now());
        }
        if !SharedContent::ptr_eq(&new.content, &old.content) {
            self.check_size(&new)?;
        }
        Ok(Change::Put(new))
    }

    /// Removes each of these traces that is not kept.
    pub(super) fn retain(
        &self,
        traces: impl Iterator<Item = Arc<Trace>>,
        mut keep: impl FnMut(&Trace) -> bool,
    ) -> Result<Removed> {
        self.check_writable()?;
        let mut removed = Removed::default();
        for seen in traces {
            if !keep(&seen) {
                self.update_counted(seen.id(), &mut removed, |now| {
                    let goes = Arc::ptr_eq(now, &seen) || !keep(now);
                    Ok(if goes { Change::Remove } else { Change::Keep })
                })?;
            }
        }
        Ok(removed)
    }

    /// Stores a new trace, or applies a transition to the one with its id.
    pub(super) fn upsert(
        &self,
        new: NewTrace,
        mut change: impl FnMut(&Arc<Trace>, &Trace) -> Result<Change<Trace>>,
    ) -> Result<Arc<Trace>> {
        let trace = self.checked(new)?;
        self.state.check_lag()?;
        let (generations, mut counting) = (&self.state.generations, self.counting());
        let done = self.traces().upsert(generations, &trace.id(), |old| {
            let change = old.map_or_else(|| Ok(Change::put(trace.clone())), |old| change(old, &trace))?;
            counting.admit(old.map(|old| &**old), &change)?;
            Ok(change)
        });
        let done = done.map_err(reason)?;
        counting.done(done.old.as_deref(), done.new.as_deref());
        if done.is_noop() {
            self.check_open()?;
        }
        // The change does not remove it.
        done.new.ok_or_else(|| not_found(trace.id()))
    }
}

/// Passes on the error of a closure that may refuse, out of something that takes errors of the crate alone.
pub(super) fn refusable<E: From<Error>, R>(
    change: &mut impl FnMut(TraceEdit<'_>) -> Result<TraceEdit<'_>, E>,
    run: impl FnOnce(&mut dyn FnMut(TraceEdit<'_>) -> Result<TraceEdit<'_>>) -> Result<R>,
) -> Result<R, E> {
    let mut refusal = None;
    let done = run(&mut |trace| {
        change(trace).map_err(|error| {
            refusal = Some(error);
            Error::new(ErrorKind::InvalidInput, "refused by the closure of try_update")
        })
    });
    match refusal {
        Some(refusal) => Err(refusal),
        None => done.map_err(E::from),
    }
}

pub(super) fn check_revision(trace: &Trace, wanted: u64) -> Result<()> {
    match trace.revision() {
        found if found == wanted => Ok(()),
        found => Err(Error::revision_conflict(trace.id(), found, wanted)),
    }
}
