//! Handles that do not keep a store open.

#[cfg(all(feature = "tracing-layer", not(loom)))]
use super::inner::Inner;
use super::{Owner, TraceStore};
#[cfg(all(feature = "tracing-layer", not(loom)))]
use crate::{NewTrace, Result, TraceId};
use std::fmt;
use std::sync::{Arc, Weak};

/// A handle that does not keep the store open, from [`TraceStore::downgrade`]: for caches, callbacks and whatever may
/// outlive the store.
///
/// ```
/// use mnemon::TraceStore;
///
/// let store = TraceStore::in_memory();
/// let weak = store.downgrade();
/// assert!(weak.upgrade().is_some());
/// drop(store);
/// assert!(weak.upgrade().is_none());
/// ```
#[derive(Clone)]
pub struct WeakStore {
    /// Shows whether a clone of the store is alive.
    handle: Weak<Owner>,
    /// Owned only during an insert. Dropping the last owner frees memory and does not wait for another thread.
    #[cfg(all(feature = "tracing-layer", not(loom)))]
    inner: Weak<Inner>,
}

impl TraceStore {
    /// Returns a handle that does not keep the store open.
    pub fn downgrade(&self) -> WeakStore {
        WeakStore {
            handle: Arc::downgrade(&self.owner),
            #[cfg(all(feature = "tracing-layer", not(loom)))]
            inner: Arc::downgrade(&self.owner.inner),
        }
    }
}

impl fmt::Debug for WeakStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(WeakStore)")
    }
}

impl WeakStore {
    /// Returns the store, unless its last other handle is gone. Dropping what this returns may then be what closes the
    /// store, and write all changes: drop it where a wait is no harm.
    pub fn upgrade(&self) -> Option<TraceStore> {
        self.handle.upgrade().map(|owner| TraceStore { owner })
    }
}

#[cfg(all(feature = "tracing-layer", not(loom)))]
impl WeakStore {
    /// Not [`upgrade`](Self::upgrade): the thread that drops the last handle writes all changes.
    fn inner(&self) -> Option<Arc<Inner>> {
        (self.handle.strong_count() > 0).then(|| self.inner.upgrade())?
    }

    /// Whether the store exists and accepts writes.
    pub(crate) fn is_open(&self) -> bool {
        self.inner().is_some_and(|inner| !inner.state.generations.enter().is_sealed())
    }

    /// Inserts like [`TraceStore::insert`]; a store that no longer exists counts as closed.
    pub(crate) fn insert(&self, new: NewTrace) -> Result<TraceId> {
        self.inner().ok_or_else(TraceStore::closed)?.insert(new)
    }
}
