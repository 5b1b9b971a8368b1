//! A way to write to a store without keeping it open.

use super::engine::Engine;
use super::{Handle, TraceStore};
use crate::error::Result;
use crate::trace::{NewTrace, TraceId};
use std::sync::{Arc, Weak};

pub(crate) struct WeakStore {
    /// Says whether a clone of the store lives. Never upgraded: whoever drops the last handle drains the store.
    handle: Weak<Handle>,
    /// Owned during an insert at most. The last owner of it frees memory, and waits for nobody.
    engine: Weak<Engine>,
}

impl WeakStore {
    pub(crate) fn new(store: &TraceStore) -> Self {
        Self { handle: Arc::downgrade(&store.handle), engine: Arc::downgrade(&store.handle.engine) }
    }

    fn upgrade(&self) -> Option<Arc<Engine>> {
        (self.handle.strong_count() > 0).then(|| self.engine.upgrade())?
    }

    /// Whether the store is there and takes writes.
    pub(crate) fn is_open(&self) -> bool {
        self.upgrade().is_some_and(|engine| !engine.shared.clock.enter().is_sealed())
    }

    /// As [`TraceStore::insert`]; a store that is gone is closed.
    pub(crate) fn insert(&self, new: NewTrace) -> Result<TraceId> {
        self.upgrade().ok_or_else(TraceStore::closed)?.insert(new)
    }
}
