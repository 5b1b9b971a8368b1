//! The store beside its model: each step is done to both, and their answers are compared.

use crate::model::Model;
use crate::record::{Bond, Bonds, Record, Rows};
use crate::steps::{IMPRINT_SECONDS, MOST_BYTES, MOST_TRACES, SLOTS, Step, group, id, micros};
use crate::{Outcome, TestDir, clock, manual_flush, seconds};
use jiff::Timestamp;
use mnemon::{ErrorKind, Eviction, ManualClock, Quota, StoreBuilder, Trace, TraceId, TraceStore};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// Fails with what was found, unless it is what was expected.
macro_rules! same {
    ($found:expr, $expected:expr) => {
        match (&$found, &$expected) {
            (found, expected) if found == expected => {}
            (found, expected) => {
                let here = concat!(file!(), ":", line!());
                return Err(format!("{here}: {found:?} was found, and expected {expected:?}").into());
            }
        }
    };
}

/// How a store is opened with a file: this crate knows of no backend.
pub type Open = fn(StoreBuilder, &Path) -> mnemon::Result<TraceStore>;

/// The store, and the model of it.
pub struct Pair {
    open: Open,
    /// Always there between two steps. Stands before the file: it must be dropped first.
    pub store: Option<TraceStore>,
    pub file: TestDir,
    pub clock: ManualClock,
    pub model: Model,
}

pub fn builder(clock: &ManualClock, start: i64) -> Outcome<StoreBuilder> {
    let imprint = Timestamp::from_microsecond(start + IMPRINT_SECONDS * 1_000_000)?;
    let quota = Quota {
        max_traces: MOST_TRACES,
        max_bytes: MOST_BYTES as u64,
        eviction: Eviction::LeastRecentlyReinforced,
    };
    Ok(manual_flush().clock(clock).quota(quota).imprint_until(imprint))
}

pub fn ids(traces: &[Arc<Trace>]) -> Vec<TraceId> {
    traces.iter().map(|trace| trace.id()).collect()
}

impl Pair {
    pub fn new(open: Open) -> Outcome<Self> {
        let (file, clock) = (TestDir::new()?, clock());
        let start = micros(clock.now());
        let store = open(builder(&clock, start)?, file.path())?;
        let (traces, links, stored) = Default::default();
        let model = Model { start, now: start, traces, links, stored };
        Ok(Self { open, file, clock, store: Some(store), model })
    }

    pub fn store(&self) -> Outcome<&TraceStore> {
        self.store.as_ref().ok_or_else(|| "there is no store".into())
    }

    pub fn take(&mut self, step: &Step) -> Outcome {
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
                    same!(done, Err(ErrorKind::AlreadyExists));
                } else {
                    same!(done, Ok(id(new.slot)));
                    model.traces.insert(id(new.slot), new.record(model.now, model.imprinting()));
                }
            }
            Step::Update(slot, edit) => {
                let done = store.update(id(*slot), |trace| edit.of(trace))?;
                if let Some(record) = model.traces.get_mut(&id(*slot)) {
                    edit.apply(record, model.now);
                }
                same!(done.map(|trace| Record::of(&trace)), model.traces.get(&id(*slot)).cloned());
            }
            Step::Remove(slot) => {
                let gone = store.remove(id(*slot))?;
                same!(gone.map(|trace| Record::of(&trace)), model.remove(id(*slot)).0);
            }
            Step::Reinforce(slot) => {
                model.reinforce(id(*slot));
                let after = store.reinforce(id(*slot))?.map(|trace| Record::of(&trace));
                same!(after.as_ref(), model.traces.get(&id(*slot)));
            }
            Step::Retrieve(limit) => {
                let found = store.retrieve_and_reinforce(*limit)?;
                let strong = model
                    .traces
                    .iter()
                    .filter(|(id, record)| model.strength(**id) >= 0.1 && record.is_valid_at(model.now));
                let strong = strong.map(|(id, _)| *id);
                let mut strong: Vec<_> = strong.collect();
                model.by_strength(&mut strong);
                strong.truncate(*limit);
                for id in &strong {
                    model.reinforce(*id);
                }
                same!(ids(&found), strong);
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
            Step::Group(steps) => {
                let done = group(&store, steps, self.clock.now()).map_err(|error| error.kind());
                let before = (model.traces.clone(), model.links.clone());
                let expected = steps.iter().try_for_each(|step| in_group(model, step));
                if expected.is_err() {
                    (model.traces, model.links) = before;
                }
                same!(done, expected);
            }
            Step::Decay => {
                let removed = store.decay()?;
                same!((removed.traces, removed.links), model.decay());
                same!(removed.rows, 0);
            }
            Step::UpdateTiers => same!(store.update_tiers()?, model.update_tiers()),
            Step::EnforceQuota => {
                let removed = store.enforce_quota()?;
                same!((removed.traces, removed.links), model.enforce_quota());
                same!(removed.rows, 0);
            }
            Step::EraseType(kind) => {
                let report = store.erase_type(*kind)?;
                self.erased(report, |record| record.kind == kind.as_str())?;
            }
            Step::ErasePartition(partition) => {
                let report = store.erase_partition(partition)?;
                self.erased(report, |record| record.partition == *partition)?;
            }
            Step::Restore(list) => {
                let now = self.clock.now();
                let done = store.restore(list.iter().map(|new| new.trace(now))).map_err(|error| error.kind());
                let distinct: BTreeSet<_> = list.iter().map(|new| new.slot).collect();
                if distinct.len() < list.len() {
                    same!(done, Err(ErrorKind::AlreadyExists));
                } else {
                    same!(done, Ok(list.len()));
                    let imprinting = model.imprinting();
                    model.links.clear();
                    let records = list.iter().map(|new| (id(new.slot), new.record(model.now, imprinting)));
                    model.traces = records.collect();
                }
            }
            Step::Query(wanted) => {
                let found = wanted.query(&store, Timestamp::from_microsecond(model.start)?).run();
                same!(ids(&found), model.query(wanted));
                let count = wanted.query(&store, Timestamp::from_microsecond(model.start)?).count();
                same!(
                    count,
                    model.query(&crate::steps::Wanted { limit: usize::MAX, ..wanted.clone() }).len()
                );
                for trace in found {
                    same!(Some(&Record::of(&trace)), model.traces.get(&trace.id()));
                }
            }
            Step::Rank(slots) => {
                let asked: Vec<_> = slots.iter().map(|slot| id(*slot)).collect();
                let ranked = store.rank(asked.iter().copied());
                let ranked: Vec<_> = ranked.iter().map(|ranked| (ranked.trace.id(), ranked.score)).collect();
                same!(ranked, model.rank(&asked));
            }
            Step::Associated(slot, least, limit) => {
                let mut expected = model.associated(id(*slot), *least);
                expected.truncate(*limit);
                same!(ids(&store.associated(id(*slot), *least, *limit)), expected);
            }
            Step::Walk(slot, hops, least) => {
                let mut walk = store.walk(id(*slot), *hops, *least);
                let steps: Vec<_> = walk.by_ref().collect();
                let paths: Vec<_> = steps.iter().map(|step| walk.path(step.trace.id())).collect();
                let well_formed = steps.iter().zip(&paths).all(|(step, path)| {
                    path.len() == step.depth + 1 && path.ends_with(&[step.from, step.trace.id()])
                });
                same!(well_formed, true);
                same!(paths, model.walk(id(*slot), *hops, *least));
            }
            Step::Flush => {
                store.flush()?;
                self.check_file()?;
            }
            Step::Reopen | Step::Move(_) => {}
        }
        self.check_memory()
    }

    pub fn erased(&mut self, removed: mnemon::Removed, scope: impl Fn(&Record) -> bool) -> Outcome {
        let rows = self.model.stored.values().filter(|record| scope(record)).count();
        let (traces, links) = self.model.remove_all(scope);
        same!((removed.traces, removed.links, removed.rows), (traces, links, rows as u64));
        self.check_file()
    }

    pub fn reopen(&mut self) -> Outcome {
        if let Some(store) = self.store.take() {
            store.close()?;
        }
        self.store = Some((self.open)(builder(&self.clock, self.model.start)?, self.file.path())?);
        self.check_file()?;
        self.check_memory()
    }

    pub fn move_time(&mut self, by: i64) -> Outcome {
        let seconds = seconds(by.unsigned_abs());
        let now = self.clock.now();
        self.clock.set(if by < 0 { now - seconds } else { now + seconds });
        self.model.now = micros(self.clock.now());
        self.check_memory()
    }

    pub fn check_memory(&self) -> Outcome {
        let (store, model) = (self.store()?, &self.model);
        let held: Rows = store.iter().map(|trace| (trace.id(), Record::of(&trace))).collect();
        same!(&held, &model.traces);
        same!((store.len(), store.link_count()), (model.traces.len(), model.links.len()));
        let mut links = Bonds::new();
        for slot in 0..SLOTS {
            let id = id(slot);
            same!(store.get(id).map(|trace| Record::of(&trace)), model.traces.get(&id).cloned());
            if let Some(trace) = store.get(id) {
                same!(store.strength(&trace), model.strength(id));
            }
            links.extend(store.links(id).into_iter().map(|link| {
                let (first, last) = (micros(link.first_at()), micros(link.last_at()));
                (link.ends(), Bond { count: link.count(), first, last })
            }));
        }
        same!(&links, &model.links);
        Ok(())
    }

    /// What another program finds in the file, after a flush.
    pub fn check_file(&mut self) -> Outcome {
        same!(self.store()?.stats().dirty, 0);
        let (rows, bonds) = stored(&self.file)?;
        same!(&rows, &self.model.traces);
        same!(&bonds, &self.model.links);
        self.model.stored = rows;
        Ok(())
    }
}

/// What a step of a group makes of the model.
fn in_group(model: &mut Model, step: &Step) -> Result<(), ErrorKind> {
    match step {
        Step::Insert(new) if model.traces.contains_key(&id(new.slot)) => {
            return Err(ErrorKind::AlreadyExists);
        }
        Step::Insert(new) => {
            model.traces.insert(id(new.slot), new.record(model.now, model.imprinting()));
        }
        Step::Update(slot, edit) => {
            let record = model.traces.get_mut(&id(*slot)).ok_or(ErrorKind::NotFound)?;
            edit.apply(record, model.now);
        }
        Step::Remove(slot) => drop(model.remove(id(*slot)).0.ok_or(ErrorKind::NotFound)?),
        Step::CoActivate(a, b, times) => {
            for _ in 0..*times {
                let kind = if a == b { ErrorKind::InvalidInput } else { ErrorKind::NotFound };
                model.co_activate(id(*a), id(*b)).ok_or(kind)?;
            }
        }
        _ => unreachable!("no group has {step:?}"),
    }
    Ok(())
}

pub fn co_activate(store: &TraceStore, model: &mut Model, a: TraceId, b: TraceId) -> Outcome {
    let done = store.co_activate(a, b);
    match model.co_activate(a, b) {
        Some(expected) => same!(done.map(|link| (link.count(), link.is_associated()))?, expected),
        None => {
            let kind = if a == b { ErrorKind::InvalidInput } else { ErrorKind::NotFound };
            same!(done.map_err(|error| error.kind()), Err(kind));
        }
    }
    Ok(())
}

pub fn stored(file: &TestDir) -> Outcome<(Rows, Bonds)> {
    let reader = file.reader()?;
    let id = |row: &rusqlite::Row<'_>, at| row.get::<_, [u8; 16]>(at).map(TraceId::from_bytes);
    let mut statement = reader.prepare(
        "SELECT id, type, payload, coalesce(tags, '[]'), partition, strength, peak_strength, base_decay_rate,
            emotional_intensity, confidence, created_at, last_reinforced, last_decayed, reinforcement_count,
            revision, tier, unresolved, pinned, valid_until, superseded_by FROM traces",
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
            valid_until: row.get(18)?,
            superseded_by: row.get::<_, Option<[u8; 16]>>(19)?.map(TraceId::from_bytes),
        };
        Ok((id(row, 0)?, record))
    })?;
    let mut links = reader.prepare("SELECT a, b, count, first_at, last_at FROM links")?;
    let bonds = links.query_map([], |row| {
        Ok(((id(row, 0)?, id(row, 1)?), Bond { count: row.get(2)?, first: row.get(3)?, last: row.get(4)? }))
    })?;
    Ok((rows.collect::<Result<_, _>>()?, bonds.collect::<Result<_, _>>()?))
}
