//! A store over an engine of your own: you see what each flush hands over, what becomes of a write while the engine is
//! down, and that all of it is there for the next store. The engine is a shelf in memory that outlives the stores, where
//! yours is a database or a service. It keeps what it is given, and gives each error a kind: the flusher goes by that
//! alone.

use mnemon::backend::{
    Applied, Backend, BackendError, Batch, LinkChange, Loaded, Reopened, Stored, TraceChange,
};
use mnemon::{ErrorKind, Link, NewTrace, Trace, TraceId, TraceStore};
use serde_json::json;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Default)]
struct Rows {
    watermark: u64,
    last_row: i64,
    traces: BTreeMap<i64, Arc<Trace>>,
    links: BTreeMap<(TraceId, TraceId), Link>,
    are_down: bool,
}

#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Rows>>);

impl Shelf {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every call begins with, as a connection would.
    fn reach(&self) -> Result<MutexGuard<'_, Rows>, BackendError> {
        let down = || BackendError::new(ErrorKind::Unreachable, "the shelf is down: put it up again");
        Some(self.rows()).filter(|rows| !rows.are_down).ok_or_else(down)
    }
}

impl Backend for Shelf {
    fn load(&mut self, into: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        let rows = self.reach()?;
        for (&row, trace) in &rows.traces {
            into(Stored::Trace { row, trace: Ok(Trace::clone(trace)) });
        }
        rows.links.values().for_each(|link| into(Stored::Link(Ok(*link))));
        Ok(Loaded::new(rows.watermark, rows.last_row))
    }

    /// All of a batch or nothing of it: a copy is changed, and takes the rows' place at the end. A database has a
    /// transaction for that, and syncs where `batch.durability` asks for it.
    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        let (mut shelf, mut applied) = (self.reach()?, Applied::default());
        let mut rows = Rows { watermark: batch.watermark, ..shelf.clone() };
        for scope in batch.erased {
            let before = rows.traces.len();
            rows.traces.retain(|_, trace| !scope.contains(trace));
            applied.erased.push((before - rows.traces.len()) as u64);
            let left: HashSet<_> = rows.traces.values().map(|trace| trace.id()).collect();
            rows.links.retain(|(a, b), _| left.contains(a) && left.contains(b));
        }
        for change in batch.traces {
            match change {
                TraceChange::Delete { row, .. } => drop(rows.traces.remove(row)),
                // Where just the numbers have changed, the row may be written whole as well.
                TraceChange::Upsert { row, trace } | TraceChange::UpdateNumbers { row, trace } => {
                    rows.last_row = rows.last_row.max(*row);
                    rows.traces.insert(*row, trace.clone());
                    applied.upserted += 1;
                }
            }
        }
        for change in batch.links {
            match change {
                LinkChange::Delete(a, b) => drop(rows.links.remove(&(*a, *b))),
                LinkChange::Upsert(link) => drop(rows.links.insert(link.ends(), *link)),
            }
        }
        let is_upsert = |change: &&LinkChange| matches!(change, LinkChange::Upsert(_));
        applied.links_upserted = batch.links.iter().filter(is_upsert).count() as u64;
        applied.links_deleted = batch.links.len() as u64 - applied.links_upserted;
        applied.deleted = batch.traces.len() as u64 - applied.upserted;
        println!("  a batch: {} changes of traces, {} of links", batch.traces.len(), batch.links.len());
        *shelf = rows;
        Ok(applied)
    }

    /// After an error: what was there still is.
    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        self.reach().map(|_| Reopened::Same)
    }

    /// After `ErrorKind::Corrupt`, which this engine never returns: an empty one takes its place.
    fn replace(&mut self) -> Result<(), BackendError> {
        self.reach().map(|mut shelf| *shelf = Rows::default())
    }

    fn close(&mut self, _watermark: u64) -> Result<(), BackendError> {
        self.reach().map(drop)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shelf = Shelf::default();
    let store = TraceStore::builder().open_with(shelf.clone())?;
    println!("two traces and what associates them");
    let tide = store.insert(NewTrace::semantic(json!("springs follow the full moon")))?;
    let heron = store.insert(NewTrace::episodic(json!("a heron on the slipway")))?;
    (0..3).try_for_each(|_| store.co_activate(tide, heron).map(drop))?;
    store.flush()?;
    shelf.rows().are_down = true;
    store.update(tide, |trace| trace.confidence(0.9))?;
    println!("the shelf is down, and a write is taken; a flush says: {}", store.flush().unwrap_err());
    shelf.rows().are_down = false;
    println!("it is up again, and nothing is lost");
    store.close()?;
    let store = TraceStore::builder().open_with(shelf)?;
    println!("the next store: {} traces, {} link", store.len(), store.link_count());
    Ok(())
}
