//! One partition of a store, as if it were a store of its own.

use super::inner::already_exists;
use super::write::{check_revision, refusable};
use super::{Group, Query, Removed, TraceStore, Walk};
use crate::error::{Error, Result};
use crate::memory::{Order, Ranked};
use crate::protocol::{Change, Transition};
use crate::trace::{Link, NewTrace, Trace, TraceEdit, TraceId};
use crate::views::Counted;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// One partition of a store, from [`TraceStore::in_partition`]: what is stored through it is in that partition, and
/// nothing else can be found or changed through it. Traces of other partitions are as if they were not there, and so
/// are links to them; only their ids are taken.
///
/// A clone of the store, as far as closing and dropping it goes. Methods are those of [`TraceStore`], with the same
/// errors and costs unless they say otherwise.
///
/// ```
/// use mnemon::{NewTrace, TraceStore};
///
/// let store = TraceStore::in_memory();
/// let (ana, ben) = (store.in_partition("ana"), store.in_partition("ben"));
/// let id = ana.insert(NewTrace::text("likes the north quay").tag("place"))?;
/// assert_eq!(ana.query().tagged("place").count(), 1);
/// assert_eq!((ben.get(id), ben.query().count(), ben.remove(id)?), (None, 0, None));
/// # Ok::<(), mnemon::Error>(())
/// ```
#[derive(Clone)]
pub struct Partition {
    pub(super) store: TraceStore,
    pub(super) name: Arc<str>,
}

impl TraceStore {
    /// Returns a handle to one partition. A name that no partition can have, empty or longer than 1,024 bytes, is an
    /// error of the first insert.
    pub fn in_partition(&self, name: impl AsRef<str>) -> Partition {
        Partition { store: self.clone(), name: name.as_ref().into() }
    }
}

impl Partition {
    /// Returns the name of the partition.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// See [`TraceStore::insert`]. A trace that was given another partition is
    /// [invalid](crate::ErrorKind::InvalidInput). The id of a trace in another partition
    /// [exists already](crate::ErrorKind::AlreadyExists).
    pub fn insert(&self, new: NewTrace) -> Result<TraceId> {
        self.store.insert(new.within(&self.name))
    }

    /// See [`TraceStore::insert_many`], and [`insert`](Self::insert).
    pub fn insert_many(&self, new: impl IntoIterator<Item = NewTrace>) -> Result<Vec<TraceId>> {
        self.store.inner().insert_many(Some(&self.name), new)
    }

    /// See [`TraceStore::update_many`].
    pub fn update_many(
        &self,
        ids: impl IntoIterator<Item = TraceId>,
        change: impl FnMut(TraceEdit<'_>) -> TraceEdit<'_>,
    ) -> Result<()> {
        self.store.inner().update_many(Some(&self.name), ids, change)
    }

    /// See [`TraceStore::remove_many`].
    pub fn remove_many(&self, ids: impl IntoIterator<Item = TraceId>) -> Result<()> {
        self.store.inner().remove_many(Some(&self.name), ids)
    }

    /// See [`TraceStore::apply`]. A trace of another partition is [not found](crate::ErrorKind::NotFound).
    pub fn apply<'a, R>(&'a self, collect: impl FnOnce(&mut Group<'a>) -> Result<R>) -> Result<R> {
        self.store.inner().apply_group(Some(&self.name), collect)
    }

    /// See [`TraceStore::upsert`], and [`insert`](Self::insert).
    pub fn upsert(
        &self,
        new: NewTrace,
        mut change: impl FnMut(TraceEdit<'_>) -> TraceEdit<'_>,
    ) -> Result<Arc<Trace>> {
        let inner = self.store.inner();
        inner.upsert(new.within(&self.name), |old, _| {
            if !self.has(old) {
                return Err(already_exists(old.id()));
            }
            inner.edited(old, &mut |trace| Ok(change(trace)))
        })
    }

    /// See [`TraceStore::get`].
    pub fn get(&self, id: TraceId) -> Option<Arc<Trace>> {
        self.store.inner().find(id, Some(&self.name))
    }

    /// See [`TraceStore::get_many`].
    pub fn get_many(&self, ids: impl IntoIterator<Item = TraceId>) -> Vec<Option<Arc<Trace>>> {
        let found = self.store.get_many(ids).into_iter();
        found.map(|trace| trace.filter(|trace| self.has(trace))).collect()
    }

    /// Whether the partition holds the trace.
    pub fn contains(&self, id: TraceId) -> bool {
        self.get(id).is_some()
    }

    /// Returns the number of traces in the partition: a [count](Query::count).
    pub fn len(&self) -> usize {
        self.query().include_invalid().count()
    }

    /// Whether the partition holds no traces.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// See [`TraceStore::update`].
    pub fn update(
        &self,
        id: TraceId,
        mut change: impl FnMut(TraceEdit<'_>) -> TraceEdit<'_>,
    ) -> Result<Option<Arc<Trace>>> {
        self.edit(id, &mut |trace| Ok(change(trace)))
    }

    /// See [`TraceStore::try_update`].
    pub fn try_update<E: From<Error>>(
        &self,
        id: TraceId,
        mut change: impl FnMut(TraceEdit<'_>) -> Result<TraceEdit<'_>, E>,
    ) -> Result<Option<Arc<Trace>>, E> {
        refusable(&mut change, |change| self.edit(id, change))
    }

    /// See [`TraceStore::update_if`].
    pub fn update_if(
        &self,
        id: TraceId,
        revision: u64,
        mut change: impl FnMut(TraceEdit<'_>) -> TraceEdit<'_>,
    ) -> Result<Option<Arc<Trace>>> {
        self.edit(id, &mut |trace| check_revision(trace.before(), revision).map(|()| change(trace)))
    }

    /// See [`TraceStore::remove`].
    pub fn remove(&self, id: TraceId) -> Result<Option<Arc<Trace>>> {
        self.alter(id, |_| Ok(Change::Remove)).map(|done| done?.old)
    }

    /// See [`TraceStore::remove_if`].
    pub fn remove_if(&self, id: TraceId, revision: u64) -> Result<Option<Arc<Trace>>> {
        self.alter(id, |old| check_revision(old, revision).map(|()| Change::Remove)).map(|done| done?.old)
    }

    /// See [`TraceStore::retain`]. Looks at the traces of the partition alone.
    pub fn retain(&self, mut keep: impl FnMut(&Trace) -> bool) -> Result<Removed> {
        self.store.inner().retain(self.query().include_invalid().order(Order::Created).iter(), |trace| {
            !self.has(trace) || keep(trace)
        })
    }

    /// See [`TraceStore::reinforce`].
    pub fn reinforce(&self, id: TraceId) -> Result<Option<Arc<Trace>>> {
        let inner = self.store.inner();
        self.alter(id, |old| Ok(inner.reinforced(old, inner.now()))).map(|done| done?.new)
    }

    /// See [`TraceStore::query`].
    pub fn query(&self) -> Query<'_> {
        self.store.query().within(&self.name)
    }

    /// See [`TraceStore::tags`].
    pub fn tags(&self) -> BTreeMap<String, usize> {
        self.store.inner().counts(Counted::Tags, Some(&self.name))
    }

    /// See [`TraceStore::rank`].
    pub fn rank(&self, ids: impl IntoIterator<Item = TraceId>) -> Vec<Ranked> {
        let mut ranked = self.store.rank(ids.into_iter().filter(|id| self.contains(*id)));
        ranked.retain(|ranked| self.has(&ranked.trace));
        ranked
    }

    /// See [`TraceStore::co_activate`].
    pub fn co_activate(&self, a: TraceId, b: TraceId) -> Result<Link> {
        self.store.inner().co_activate(a, b, Some(&self.name))
    }

    /// See [`TraceStore::co_activate_all`].
    pub fn co_activate_all(&self, ids: impl IntoIterator<Item = TraceId>) -> Result<usize> {
        self.store.inner().co_activate_all(ids.into_iter().collect(), Some(&self.name))
    }

    /// See [`TraceStore::unlink`].
    pub fn unlink(&self, a: TraceId, b: TraceId) -> Result<Option<Link>> {
        self.store.inner().unlink(a, b, Some(&self.name))
    }

    /// See [`TraceStore::link`].
    pub fn link(&self, a: TraceId, b: TraceId) -> Option<Link> {
        self.store.inner().link(a, b, Some(&self.name))
    }

    /// See [`TraceStore::links`].
    pub fn links(&self, id: TraceId) -> Vec<Link> {
        let neighbours = self.store.inner().neighbours(id, Some(&self.name));
        neighbours.into_iter().map(|(link, _)| link).collect()
    }

    /// See [`TraceStore::associated`]. The at most 20 neighbours are of the partition.
    pub fn associated(&self, id: TraceId, min_strength: f64, limit: usize) -> Vec<Arc<Trace>> {
        let mut near = self.store.inner().associated(id, min_strength, Some(&self.name));
        near.truncate(limit);
        near
    }

    /// See [`TraceStore::walk`]. Does not pass through other partitions.
    pub fn walk(&self, start: TraceId, max_hops: usize, min_strength: f64) -> Walk<'_> {
        Walk::new(self.store.inner(), Some(&self.name), start, max_hops, min_strength)
    }

    /// See [`TraceStore::erase_partition`].
    pub fn erase(&self) -> Result<Removed> {
        self.store.erase_partition(&self.name)
    }

    #[cfg(all(feature = "recall", not(loom)))]
    pub(super) fn store(&self) -> &TraceStore {
        &self.store
    }

    fn has(&self, trace: &Trace) -> bool {
        trace.partition() == &*self.name
    }

    fn edit(
        &self,
        id: TraceId,
        change: &mut (impl FnMut(TraceEdit<'_>) -> Result<TraceEdit<'_>> + ?Sized),
    ) -> Result<Option<Arc<Trace>>> {
        self.alter(id, |old| self.store.inner().edited(old, change)).map(|done| done?.new)
    }

    fn alter(
        &self,
        id: TraceId,
        mut change: impl FnMut(&Arc<Trace>) -> Result<Change<Trace>>,
    ) -> Result<Option<Transition<Trace>>> {
        let done = self.store.alter(id, |old| if self.has(old) { change(old) } else { Ok(Change::Keep) })?;
        Ok(done.filter(|done| done.old.as_ref().is_some_and(|old| self.has(old))))
    }
}

/// The name alone.
impl fmt::Debug for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Partition").field("name", &self.name).finish_non_exhaustive()
    }
}
