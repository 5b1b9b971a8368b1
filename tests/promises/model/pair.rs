//! The store beside its model: each step is done to both, and their answers are compared.

use super::model::Model;
use super::steps::{
    Bond, Bonds, IMPRINT_SECONDS, MOST_BYTES, MOST_TRACES, Record, Rows, SLOTS, STEP, Step, Tried, Wanted,
    id, micros, well,
};
use super::support::{self, Scratch, clock, quietly, scratch, seconds};
use jiff::Timestamp;
use mnemon::{ErrorKind, Eviction, ManualClock, Quota, StoreBuilder, Trace, TraceId, TraceStore};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The store, and the model of it.
pub struct Pair {
    /// Always there between two steps. Stands before the file: it must be dropped first.
    pub store: Option<TraceStore>,
    pub file: Scratch,
    pub clock: ManualClock,
    pub model: Model,
}

pub fn builder(clock: &ManualClock, start: i64) -> Tried<StoreBuilder> {
    let imprint = well(Timestamp::from_microsecond(start + IMPRINT_SECONDS * 1_000_000))?;
    let quota = Quota {
        max_traces: MOST_TRACES,
        max_bytes: MOST_BYTES as u64,
        eviction: Eviction::LeastRecentlyReinforced,
    };
    Ok(quietly().clock(clock).checkpoint_step(STEP).quota(quota).imprint_until(imprint))
}

pub fn ids(traces: &[Arc<Trace>]) -> Vec<TraceId> {
    traces.iter().map(|trace| trace.id()).collect()
}

impl Pair {
    pub fn new() -> Tried<Self> {
        let (file, clock) = (well(scratch())?, clock());
        let start = micros(clock.now());
        let store = well(builder(&clock, start)?.open(file.path()))?;
        let (traces, links, stored) = Default::default();
        let model = Model { start, now: start, traces, links, stored };
        Ok(Self { file, clock, store: Some(store), model })
    }

    pub fn store(&self) -> Tried<&TraceStore> {
        self.store.as_ref().ok_or_else(|| TestCaseError::fail("there is no store"))
    }

    pub fn take(&mut self, step: &Step) -> Tried {
        match step {
            Step::Reopen => return self.reopen(),
            Step::Move(by) => return self.move_time(*by),
            _ => {}
        }
        let store = self.store()?.clone();
        let model = &mut self.model;
        match step {
            Step::Insert(new) => {
                let done = store.insert(new.trace(self.clock.now())).map_err(|error| error.kind());
                if model.traces.contains_key(&id(new.slot)) {
                    prop_assert_eq!(done, Err(ErrorKind::AlreadyExists));
                } else {
                    prop_assert_eq!(done, Ok(id(new.slot)));
                    model.traces.insert(id(new.slot), new.record(model.now, model.imprinting()));
                }
            }
            Step::Update(slot, edit) => {
                let done = well(store.update(id(*slot), |trace| edit.of(trace)))?;
                if let Some(record) = model.traces.get_mut(&id(*slot)) {
                    edit.apply(record, model.now);
                }
                prop_assert_eq!(done.map(|trace| Record::of(&trace)), model.traces.get(&id(*slot)).cloned());
            }
            Step::Remove(slot) => {
                let gone = well(store.remove(id(*slot)))?;
                prop_assert_eq!(gone.map(|trace| Record::of(&trace)), model.remove(id(*slot)).0);
            }
            Step::Reinforce(slot) => {
                let done = well(store.reinforce(id(*slot)))?;
                prop_assert_eq!(done.is_reinforced(), model.reinforce(id(*slot)));
                let after = done.trace().map(|trace| Record::of(&trace));
                prop_assert_eq!(after.as_ref(), model.traces.get(&id(*slot)));
            }
            Step::Retrieve(limit) => {
                let found = well(store.retrieve_and_reinforce(*limit))?;
                let strong = model.traces.keys().copied().filter(|id| model.strength(*id) >= 0.1);
                let mut strong: Vec<_> = strong.collect();
                model.by_strength(&mut strong);
                strong.truncate(*limit);
                for id in &strong {
                    model.reinforce(*id);
                }
                prop_assert_eq!(ids(&found), strong);
            }
            Step::CoActivate(a, b, times) => {
                for _ in 0..*times {
                    co_activate(&store, model, id(*a), id(*b))?;
                }
            }
            Step::Befriend(slot, times) => {
                for other in model.traces.keys().copied().collect::<Vec<_>>() {
                    for _ in 0..*times {
                        co_activate(&store, model, id(*slot), other)?;
                    }
                }
            }
            Step::Decay => {
                let report = well(store.decay())?;
                prop_assert_eq!((report.decayed, report.checkpointed, report.pruned), model.decay());
            }
            Step::Retier => prop_assert_eq!(well(store.retier())?, model.retier()),
            Step::EnforceQuota => {
                let report = well(store.enforce_quota())?;
                prop_assert_eq!((report.evicted, report.over), model.enforce_quota());
            }
            Step::EraseType(kind) => {
                let report = well(store.erase_type(*kind))?;
                self.erased(report, |record| record.kind == kind.as_str())?;
            }
            Step::ErasePartition(partition) => {
                let report = well(store.erase_partition(partition))?;
                self.erased(report, |record| record.partition == *partition)?;
            }
            Step::Restore(list) => {
                let now = self.clock.now();
                let done = store.restore(list.iter().map(|new| new.trace(now))).map_err(|error| error.kind());
                let distinct: BTreeSet<_> = list.iter().map(|new| new.slot).collect();
                if distinct.len() < list.len() {
                    prop_assert_eq!(done, Err(ErrorKind::AlreadyExists));
                } else {
                    prop_assert_eq!(done, Ok(list.len()));
                    let imprinting = model.imprinting();
                    model.links.clear();
                    let records = list.iter().map(|new| (id(new.slot), new.record(model.now, imprinting)));
                    model.traces = records.collect();
                }
            }
            Step::Query(wanted) => {
                let found = query(&store, wanted, model.start)?.run();
                prop_assert_eq!(ids(&found), model.query(wanted));
                for trace in found {
                    prop_assert_eq!(Some(&Record::of(&trace)), model.traces.get(&trace.id()));
                }
            }
            Step::Rank(slots) => {
                let asked: Vec<_> = slots.iter().map(|slot| id(*slot)).collect();
                let ranked = store.rank(asked.iter().copied());
                let ranked: Vec<_> = ranked.iter().map(|ranked| (ranked.trace.id(), ranked.score)).collect();
                prop_assert_eq!(ranked, model.rank(&asked));
            }
            Step::Associated(slot, least, limit) => {
                let mut expected = model.associated(id(*slot), *least);
                expected.truncate(*limit);
                prop_assert_eq!(ids(&store.associated(id(*slot), *least, *limit)), expected);
            }
            Step::Walk(slot, hops, least) => {
                let mut walk = store.walk(id(*slot), *hops, *least);
                let steps: Vec<_> = walk.by_ref().collect();
                let paths: Vec<_> = steps.iter().map(|step| walk.path(step.trace.id())).collect();
                let well_formed = steps.iter().zip(&paths).all(|(step, path)| {
                    path.len() == step.depth + 1 && path.ends_with(&[step.from, step.trace.id()])
                });
                prop_assert!(well_formed);
                prop_assert_eq!(paths, model.walk(id(*slot), *hops, *least));
            }
            Step::Flush => {
                well(store.flush())?;
                self.check_file()?;
            }
            Step::Reopen | Step::Move(_) => {}
        }
        self.check_memory()
    }

    pub fn erased(&mut self, report: mnemon::ErasureReport, scope: impl Fn(&Record) -> bool) -> Tried {
        let rows = self.model.stored.values().filter(|record| scope(record)).count();
        let (traces, links) = self.model.remove_all(scope);
        prop_assert_eq!((report.traces, report.links, report.rows), (traces, links, rows as u64));
        self.check_file()
    }

    pub fn reopen(&mut self) -> Tried {
        if let Some(store) = self.store.take() {
            well(store.close())?;
        }
        self.store = Some(well(builder(&self.clock, self.model.start)?.open(self.file.path()))?);
        self.check_file()?;
        self.check_memory()
    }

    pub fn move_time(&mut self, by: i64) -> Tried {
        let seconds = seconds(by.unsigned_abs());
        let now = self.clock.now();
        self.clock.set(if by < 0 { now - seconds } else { now + seconds });
        self.model.now = micros(self.clock.now());
        self.check_memory()
    }

    pub fn check_memory(&self) -> Tried {
        let (store, model) = (self.store()?, &self.model);
        let held: Rows = store.iter().map(|trace| (trace.id(), Record::of(&trace))).collect();
        prop_assert_eq!(&held, &model.traces);
        prop_assert_eq!((store.len(), store.link_count()), (model.traces.len(), model.links.len()));
        let mut links = Bonds::new();
        for slot in 0..SLOTS {
            let id = id(slot);
            prop_assert_eq!(store.get(id).map(|trace| Record::of(&trace)), model.traces.get(&id).cloned());
            if let Some(trace) = store.get(id) {
                prop_assert_eq!(store.strength(&trace), model.strength(id));
            }
            links.extend(store.links(id).into_iter().map(|link| {
                let (first, last) = (micros(link.first_at()), micros(link.last_at()));
                (link.ends(), Bond { count: link.count(), first, last })
            }));
        }
        prop_assert_eq!(&links, &model.links);
        Ok(())
    }

    /// What another program finds in the file, after a flush.
    pub fn check_file(&mut self) -> Tried {
        prop_assert_eq!(self.store()?.stats().dirty, 0);
        let (rows, bonds) = well(stored(&self.file))?;
        prop_assert_eq!(&rows, &self.model.traces);
        prop_assert_eq!(&bonds, &self.model.links);
        self.model.stored = rows;
        Ok(())
    }
}

pub fn co_activate(store: &TraceStore, model: &mut Model, a: TraceId, b: TraceId) -> Tried {
    let done = store.co_activate(a, b);
    match model.co_activate(a, b) {
        Some(expected) => prop_assert_eq!(well(done).map(|done| (done.count, done.formed))?, expected),
        None => {
            let kind = if a == b { ErrorKind::InvalidInput } else { ErrorKind::NotFound };
            prop_assert_eq!(done.map_err(|error| error.kind()), Err(kind));
        }
    }
    Ok(())
}

pub fn query<'a>(store: &'a TraceStore, wanted: &Wanted, start: i64) -> Tried<mnemon::Query<'a>> {
    let at = |seconds: i64| well(Timestamp::from_microsecond(start + seconds * 1_000_000));
    let mut query = store.query().min_strength(wanted.min_strength).order(wanted.order).limit(wanted.limit);
    for kind in &wanted.types {
        query = query.of_type(*kind);
    }
    for tag in &wanted.tags {
        query = query.tagged(*tag);
    }
    for tier in &wanted.tiers {
        query = query.tier(*tier);
    }
    if let Some(partition) = wanted.partition {
        query = query.partition(partition);
    }
    if let Some(unresolved) = wanted.unresolved {
        query = query.unresolved(unresolved);
    }
    if let Some(since) = wanted.since {
        query = query.since(at(since)?);
    }
    if let Some(until) = wanted.until {
        query = query.until(at(until)?);
    }
    Ok(query)
}

pub fn stored(file: &Scratch) -> support::Outcome<(Rows, Bonds)> {
    let reader = file.reader()?;
    let id = |row: &rusqlite::Row<'_>, at| row.get::<_, [u8; 16]>(at).map(TraceId::from_bytes);
    let mut statement = reader.prepare(
        "SELECT id, type, payload, coalesce(tags, '[]'), partition, strength, peak_strength, base_decay_rate,
            emotional_intensity, confidence, created_at, last_reinforced, last_decayed, reinforcement_count,
            revision, tier, unresolved, pinned FROM traces",
    )?;
    let rows = statement.query_map([], |row| {
        let tags: String = row.get(3)?;
        let record = Record {
            kind: row.get(1)?,
            payload: row.get(2)?,
            tags: serde_json::from_str(&tags).unwrap_or_default(),
            partition: row.get(4)?,
            strength: row.get(5)?,
            peak: row.get(6)?,
            rate: row.get(7)?,
            intensity: row.get(8)?,
            confidence: row.get(9)?,
            created: row.get(10)?,
            reinforced: row.get(11)?,
            decayed: row.get(12)?,
            count: row.get(13)?,
            revision: row.get::<_, i64>(14)?.unsigned_abs(),
            tier: row.get(15)?,
            unresolved: row.get(16)?,
            pinned: row.get(17)?,
        };
        Ok((id(row, 0)?, record))
    })?;
    let mut links = reader.prepare("SELECT a, b, count, first_at, last_at FROM links")?;
    let bonds = links.query_map([], |row| {
        Ok(((id(row, 0)?, id(row, 1)?), Bond { count: row.get(2)?, first: row.get(3)?, last: row.get(4)? }))
    })?;
    Ok((rows.collect::<Result<_, _>>()?, bonds.collect::<Result<_, _>>()?))
}
