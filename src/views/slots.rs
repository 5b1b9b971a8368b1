//! Slots: a small number for each trace, given at its first cut and given back after its removal.

use crate::trace::{Trace, TraceId};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;
use std::sync::Arc;

/// The traces by slot and by id. Slots are used again, so none may be kept while the views are not locked.
#[derive(Default)]
pub(super) struct Slots {
    traces: Vec<Option<Arc<Trace>>>,
    free: Vec<u32>,
    /// The id is that of the trace.
    by_id: HashTable<u32>,
    hasher: RandomState,
}

impl Slots {
    /// Room for so many: each growth would look at all the traces before.
    pub(super) fn with_capacity(traces: usize) -> Self {
        Self {
            traces: Vec::with_capacity(traces),
            by_id: HashTable::with_capacity(traces),
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Arc<Trace>> {
        self.traces.get(slot as usize)?.as_ref()
    }

    /// The slots in order, with their traces.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u32, &Arc<Trace>)> {
        self.traces.iter().enumerate().filter_map(|(slot, trace)| Some((slot as u32, trace.as_ref()?)))
    }

    pub(super) fn find(&self, id: TraceId) -> Option<u32> {
        let is_it = |slot: &u32| self.get(*slot).is_some_and(|trace| trace.id() == id);
        self.by_id.find(self.hasher.hash_one(id), is_it).copied()
    }

    /// A slot for a trace that has none.
    pub(super) fn add(&mut self, trace: Arc<Trace>) -> u32 {
        let hash = self.hasher.hash_one(trace.id());
        let slot = self.free.pop().unwrap_or_else(|| {
            self.traces.push(None);
            (self.traces.len() - 1) as u32
        });
        self.traces[slot as usize] = Some(trace);
        let Self { traces, by_id, hasher, .. } = self;
        let hash_of =
            |slot: &u32| traces[*slot as usize].as_ref().map_or(0, |trace| hasher.hash_one(trace.id()));
        by_id.insert_unique(hash, slot, hash_of);
        slot
    }

    /// Another state of the trace in a slot; the one before.
    pub(super) fn replace(&mut self, slot: u32, trace: Arc<Trace>) -> Option<Arc<Trace>> {
        self.traces[slot as usize].replace(trace)
    }

    /// Gives the slot back.
    pub(super) fn remove(&mut self, slot: u32) -> Option<Arc<Trace>> {
        let trace = self.traces[slot as usize].take()?;
        if let Ok(found) = self.by_id.find_entry(self.hasher.hash_one(trace.id()), |found| *found == slot) {
            found.remove();
        }
        self.free.push(slot);
        Some(trace)
    }
}
