//! Writing to a store without keeping it open.

use super::inner::Inner;
use super::{Owner, TraceStore};
use crate::error::Result;
use crate::trace::{NewTrace, TraceId};
use std::sync::{Arc, Weak};

pub(crate) struct WeakStore {
    /// Shows whether a clone of the store is alive. Never upgraded: the thread that drops the last handle writes all
    /// changes.
    handle: Weak<Owner>,
    /// Owned only during an insert. Dropping the last owner frees memory and does not wait for another thread.
    inner: Weak<Inner>,
}

impl WeakStore {
    pub(crate) fn new(store: &TraceStore) -> Self {
        Self { handle: Arc::downgrade(&store.owner), inner: Arc::downgrade(&store.owner.inner) }
    }

    fn upgrade(&self) -> Option<Arc<Inner>> {
        (self.handle.strong_count() > 0).then(|| self.inner.upgrade())?
    }

    /// Whether the store exists and accepts writes.
    pub(crate) fn is_open(&self) -> bool {
        self.upgrade().is_some_and(|inner| !inner.state.generations.enter().is_sealed())
    }

    /// Inserts like [`TraceStore::insert`]; a store that no longer exists counts as closed.
    pub(crate) fn insert(&self, new: NewTrace) -> Result<TraceId> {
        self.upgrade().ok_or_else(TraceStore::closed)?.insert(new)
    }
}
