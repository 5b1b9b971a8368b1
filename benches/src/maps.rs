//! Maps that hold the same records: the store, and what one would take in its place if nothing had to persist.

use mnemon::{Trace, TraceId, TraceStore};
use std::hint::black_box;
use std::sync::Arc;

/// What a benchmark asks of each. A record is replaced by a changed copy of it, as others may hold it.
pub trait Records: Sync {
    fn name(&self) -> &'static str;
    fn get(&self, id: TraceId) -> Option<Arc<Trace>>;
    fn update(&self, id: TraceId, number: f64) -> bool;
    fn insert(&self, trace: &Arc<Trace>);
    fn remove(&self, id: TraceId);
}

/// The same record in an allocation of its own. What it says is shared, as it is by the store's versions.
pub fn copy(trace: &Trace) -> Arc<Trace> {
    Arc::new(Trace::clone(black_box(trace)))
}

impl Records for TraceStore {
    fn name(&self) -> &'static str {
        "mnemon"
    }

    fn get(&self, id: TraceId) -> Option<Arc<Trace>> {
        TraceStore::get(self, id)
    }

    fn update(&self, id: TraceId, number: f64) -> bool {
        matches!(TraceStore::update(self, id, |trace| trace.confidence(number)), Ok(Some(_)))
    }

    fn insert(&self, trace: &Arc<Trace>) {
        let new = mnemon::NewTrace::new(trace.trace_type(), trace.payload().clone()).id(trace.id());
        crate::must(TraceStore::insert(self, new));
    }

    fn remove(&self, id: TraceId) {
        crate::must(TraceStore::remove(self, id));
    }
}

/// With the hasher it has by default, or another.
pub struct Dash<S>(&'static str, dashmap::DashMap<TraceId, Arc<Trace>, S>);

impl Dash<std::hash::RandomState> {
    pub fn of(traces: &[Arc<Trace>]) -> Self {
        Self("DashMap", traces.iter().map(|trace| (trace.id(), copy(trace))).collect())
    }
}

impl Dash<foldhash::fast::RandomState> {
    pub const ALIKE: &str = "DashMap, same hasher and shards";

    /// With the hasher and the number of shards that the store has.
    pub fn like_the_store(traces: &[Arc<Trace>]) -> Self {
        let map = dashmap::DashMap::with_hasher_and_shard_amount(Default::default(), 64);
        traces.iter().for_each(|trace| drop(map.insert(trace.id(), copy(trace))));
        Self(Self::ALIKE, map)
    }
}

impl<S: std::hash::BuildHasher + Clone + Sync> Records for Dash<S> {
    fn name(&self) -> &'static str {
        self.0
    }

    fn get(&self, id: TraceId) -> Option<Arc<Trace>> {
        self.1.get(&id).map(|found| found.value().clone())
    }

    fn update(&self, id: TraceId, _: f64) -> bool {
        let Some(mut found) = self.1.get_mut(&id) else { return false };
        let changed = copy(found.value());
        *found.value_mut() = changed;
        true
    }

    fn insert(&self, trace: &Arc<Trace>) {
        self.1.insert(trace.id(), copy(trace));
    }

    fn remove(&self, id: TraceId) {
        self.1.remove(&id);
    }
}

pub struct Papaya(papaya::HashMap<TraceId, Arc<Trace>>);

impl Papaya {
    pub fn of(traces: &[Arc<Trace>]) -> Self {
        Self(traces.iter().map(|trace| (trace.id(), copy(trace))).collect())
    }
}

impl Records for Papaya {
    fn name(&self) -> &'static str {
        "papaya"
    }

    fn get(&self, id: TraceId) -> Option<Arc<Trace>> {
        self.0.pin().get(&id).cloned()
    }

    fn update(&self, id: TraceId, _: f64) -> bool {
        self.0.pin().update(id, |trace| copy(trace)).is_some()
    }

    fn insert(&self, trace: &Arc<Trace>) {
        self.0.pin().insert(trace.id(), copy(trace));
    }

    fn remove(&self, id: TraceId) {
        self.0.pin().remove(&id);
    }
}

pub struct Scc(scc::HashMap<TraceId, Arc<Trace>>);

impl Scc {
    pub fn of(traces: &[Arc<Trace>]) -> Self {
        let map = scc::HashMap::new();
        for trace in traces {
            assert!(map.insert_sync(trace.id(), copy(trace)).is_ok());
        }
        Self(map)
    }
}

impl Records for Scc {
    fn name(&self) -> &'static str {
        "scc"
    }

    fn get(&self, id: TraceId) -> Option<Arc<Trace>> {
        self.0.read_sync(&id, |_, trace| trace.clone())
    }

    fn update(&self, id: TraceId, _: f64) -> bool {
        self.0.update_sync(&id, |_, trace| *trace = copy(trace)).is_some()
    }

    fn insert(&self, trace: &Arc<Trace>) {
        drop(self.0.upsert_sync(trace.id(), copy(trace)));
    }

    fn remove(&self, id: TraceId) {
        self.0.remove_sync(&id);
    }
}

pub struct Moka(moka::sync::Cache<TraceId, Arc<Trace>>);

impl Moka {
    pub fn of(traces: &[Arc<Trace>]) -> Self {
        let cache = moka::sync::Cache::builder().build();
        traces.iter().for_each(|trace| cache.insert(trace.id(), copy(trace)));
        Self(cache)
    }
}

impl Records for Moka {
    fn name(&self) -> &'static str {
        "moka"
    }

    fn get(&self, id: TraceId) -> Option<Arc<Trace>> {
        self.0.get(&id)
    }

    fn update(&self, id: TraceId, _: f64) -> bool {
        use moka::ops::compute::{CompResult, Op};
        let done = self.0.entry(id).and_compute_with(|entry| match entry {
            Some(entry) => Op::Put(copy(entry.value())),
            None => Op::Nop,
        });
        matches!(done, CompResult::ReplacedWith(_))
    }

    fn insert(&self, trace: &Arc<Trace>) {
        self.0.insert(trace.id(), copy(trace));
    }

    fn remove(&self, id: TraceId) {
        self.0.invalidate(&id);
    }
}
