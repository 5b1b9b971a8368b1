//! Garbage in the models: freed as soon as it may be, or, in a model that asks for it, by the code that ships.

use super::{Locks, shipped};
use crate::protocol::planted::{Mistake, planted};
use crate::protocol::raw::group::Entry;
use crate::protocol::raw::reading::{self, explore};
use crate::protocol::raw::record::{CellState, Record};
use std::sync::Arc;

pub(in crate::protocol::raw) struct Garbage<V>(Option<shipped::Garbage<V>>);

impl<V: Record> Garbage<V> {
    pub(in crate::protocol::raw) fn new(shards: usize) -> Self {
        Self(explore::ships_garbage().then(|| shipped::Garbage::new(shards)))
    }

    pub(in crate::protocol::raw) fn add(
        &self,
        record: CellState<V>,
        bytes: impl FnOnce(&CellState<V>) -> usize,
        shard: usize,
        locks: &impl Locks,
    ) {
        if let Self(Some(garbage)) = self {
            return garbage.add(record, bytes, shard, locks);
        }
        let pointer = record.into_pointer();
        // SAFETY: the count is the record's that we were given.
        reading::defer(move || unsafe { pointer.release() });
    }

    pub(in crate::protocol::raw) fn add_group(
        &self,
        group: &Arc<[Entry<V>]>,
        shard: usize,
        locks: &impl Locks,
    ) {
        if planted(Mistake::GroupFreedAtOnce) {
            return;
        }
        if let Self(Some(garbage)) = self {
            return garbage.add_group(group, shard, locks);
        }
        let group = group.clone();
        reading::defer(move || drop(group));
    }

    pub(in crate::protocol::raw) fn collect(&self, locks: &impl Locks) {
        self.0.iter().for_each(|garbage| garbage.collect(locks));
    }
}
