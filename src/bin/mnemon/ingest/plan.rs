//! The passes after the first: what becomes of each record beside the others and beside the store.

use super::record::{Parent, Record};
use super::refuse;
use super::report::Ingested;
use crate::interrupt;
use crate::lines::{BadLine, Lines, in_parallel, threads};
use crate::progress;
use anyhow::{Context, Result};
use mnemon::{Stats, TraceId, TraceStore};
use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::path::Path;

/// Records that are stored and flushed together: enough for the flush to be worth its sync, and few enough for progress
/// to be seen.
const PIECE: usize = 20_000;

/// What will be stored, each id once, and the lines that will not.
pub struct Plan {
    steps: Vec<Step>,
    bad: Vec<BadLine>,
}

struct Step {
    line: usize,
    id: TraceId,
    parent: Parent,
    record: Record,
    /// The stored trace's revision.
    revision: Option<u64>,
}

/// What a thread has stored.
#[derive(Clone, Copy, Default)]
struct Tally {
    inserted: u64,
    updated: u64,
    unchanged: u64,
}

impl Lines<Record> {
    /// Nobody else writes to the store meanwhile: the program owns its file.
    pub fn plan(self, store: &TraceStore) -> Plan {
        let Self { records, mut bad } = self;
        let mut taken: HashMap<TraceId, usize> = HashMap::with_capacity(records.len());
        let mut steps = Vec::with_capacity(records.len());
        let bar = progress::bar(records.len(), "comparing");
        let has_embeddings = records.iter().any(|(_, record)| record.embedding.is_some());
        let mut dimensions = if has_embeddings { dimensions_of(store) } else { None };
        for (line, record) in bar.wrap_iter(records.into_iter()) {
            let id = record.id.unwrap_or_else(TraceId::new);
            let stored = store.get(id);
            let problem = match taken.get(&id) {
                Some(earlier) => {
                    Err(format!("its ref or id is that of line {earlier}: give each record its own"))
                }
                None => stored.as_ref().map_or(Ok(()), |stored| record.check_against(stored)),
            };
            let problem = problem.and_then(|()| same_dimensions(&record, &mut dimensions));
            match problem {
                Err(reason) => bad.push(BadLine { line, reason }),
                Ok(()) => {
                    taken.insert(id, line);
                    let revision = stored.map(|stored| stored.revision());
                    steps.push(Step { line, id, parent: Parent::NotGiven, record, revision });
                }
            }
        }
        bar.finish_and_clear();
        bad.sort_by_key(|bad| bad.line);
        // After all ids are known: a parent may come later in the file.
        for step in &mut steps {
            step.parent = match step.record.parent {
                None => Parent::NotGiven,
                Some(parent) if taken.contains_key(&parent) || store.contains(parent) => {
                    Parent::Found(parent)
                }
                Some(_) => Parent::Dangling,
            };
        }
        Plan { steps, bad }
    }
}

/// The number of dimensions that most embeddings of the store have, and of those that equally many have the smallest:
/// that of a store with a text index.
fn dimensions_of(store: &TraceStore) -> Option<usize> {
    let mut counts = BTreeMap::<usize, usize>::new();
    for trace in store.iter() {
        trace.embedding().into_iter().for_each(|embedding| *counts.entry(embedding.len()).or_default() += 1);
    }
    counts.into_iter().max_by_key(|(found, count)| (*count, Reverse(*found))).map(|(found, _)| found)
}

/// All new embeddings have as many dimensions as those of the store, or as the first.
fn same_dimensions(record: &Record, dimensions: &mut Option<usize>) -> Result<(), String> {
    match (record.embedding.as_ref().map(Vec::len), *dimensions) {
        (Some(given), Some(wanted)) if given != wanted => Err(format!(
            "embedding is of {given} dimensions, and others of this store of {wanted}: give as many"
        )),
        (given, wanted) => {
            *dimensions = wanted.or(given);
            Ok(())
        }
    }
}

impl Plan {
    pub fn refuse_bad(self, file: &Path) -> Result<Self> {
        refuse(&self.bad, file)?;
        Ok(self)
    }

    /// Stores everything, piece by piece, and returns when it is on disk; after Ctrl-C when the pieces so far are.
    pub fn store(self, store: &TraceStore, given: Option<NonZeroUsize>) -> Result<Ingested> {
        let Self { steps, bad } = self;
        let before = store.stats();
        let bar = progress::bar(steps.len(), "storing");
        let mut ingested = Ingested::of(bad);
        for piece in steps.chunks(PIECE).take_while(|_| !interrupt::has_come()) {
            let tallies = in_parallel(piece, threads(given), |part| {
                let mut tally = Tally::default();
                for step in part {
                    step.take(store, &mut tally)
                        .with_context(|| format!("line {} could not be stored", step.line))?;
                }
                anyhow::Ok(tally)
            });
            for tally in tallies {
                let Tally { inserted, updated, unchanged } = tally?;
                ingested.inserted += inserted;
                ingested.updated += updated;
                ingested.unchanged += unchanged;
            }
            store.flush()?;
            bar.inc(piece.len() as u64);
            ingested.stored += piece.len() as u64;
        }
        bar.finish_and_clear();
        ingested.lines = steps.len() as u64 + ingested.bad;
        ingested.dangling_parents =
            steps.iter().filter(|step| step.parent == Parent::Dangling).count() as u64;
        let after = store.stats();
        ingested.rows_flushed = rows(&after) - rows(&before);
        ingested.quarantined = after.quarantined;
        ingested.quarantined.retain(|row| !before.quarantined.contains(row));
        Ok(ingested)
    }
}

impl Step {
    fn take(&self, store: &TraceStore, tally: &mut Tally) -> Result<()> {
        let Some(revision) = self.revision else {
            store.insert(self.record.to_new(self.id, self.parent))?;
            tally.inserted += 1;
            return Ok(());
        };
        let trace = store.update(self.id, |trace| self.record.edit(trace, self.parent))?;
        if trace.context("its trace has gone")?.revision() == revision {
            tally.unchanged += 1
        } else {
            tally.updated += 1
        }
        Ok(())
    }
}

fn rows(stats: &Stats) -> u64 {
    stats.rows_upserted + stats.rows_updated + stats.rows_deleted
}
