//! All that a store holds.

use mnemon::{Link, Trace, TraceId, TraceStore};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Every trace and every link.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct State {
    pub traces: BTreeMap<TraceId, Arc<Trace>>,
    pub links: BTreeMap<(TraceId, TraceId), Link>,
}

impl State {
    /// All that a store holds in memory, while nobody writes.
    pub fn of(store: &TraceStore) -> Self {
        let traces: BTreeMap<_, _> = store.iter().map(|trace| (trace.id(), trace)).collect();
        let links = traces.keys().flat_map(|id| store.links(*id)).map(|link| (link.ends(), link)).collect();
        Self { traces, links }
    }

    /// The rest, without these traces and their links.
    pub fn without(&self, ids: &BTreeSet<TraceId>) -> Self {
        let mut rest = self.clone();
        rest.traces.retain(|id, _| !ids.contains(id));
        rest.links.retain(|(a, b), _| !ids.contains(a) && !ids.contains(b));
        rest
    }

    /// In a few words, for a message.
    pub fn summary(&self) -> String {
        let revisions: u64 = self.traces.values().map(|trace| trace.revision()).sum();
        format!("{} traces of {revisions} revisions, {} links", self.traces.len(), self.links.len())
    }
}
