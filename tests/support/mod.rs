//! What the tests have in common.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod backend;
#[cfg(feature = "metrics")]
pub mod listener;
pub mod process;
#[cfg(feature = "cli")]
pub mod program;
#[cfg(feature = "testkit")]
pub mod script;

use mnemon::{ManualClock, NewTrace, StoreBuilder, Trace, TraceId, TraceStore};
use rusqlite::{Connection, OptionalExtension};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// A path for a store's file in a folder of its own, which goes with it.
pub struct Scratch {
    folder: tempfile::TempDir,
    path: PathBuf,
}

pub fn scratch() -> Outcome<Scratch> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("memory.db");
    Ok(Scratch { folder, path })
}

impl Scratch {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A store whose flushes are the ones that the test asks for.
    #[cfg(feature = "sqlite")]
    pub fn quiet(&self) -> mnemon::Result<TraceStore> {
        quietly().open(&self.path)
    }

    /// A store whose flusher never rests.
    #[cfg(feature = "sqlite")]
    pub fn restless(&self) -> mnemon::Result<TraceStore> {
        TraceStore::builder().flush_interval(Duration::ZERO).flush_threshold(1).open(&self.path)
    }

    /// A second connection to the file, which sees what is committed.
    pub fn reader(&self) -> Outcome<Connection> {
        let reader = Connection::open(&self.path)?;
        reader.busy_timeout(Duration::from_secs(10))?;
        Ok(reader)
    }
}

/// A builder of stores whose flushes are the ones that the test asks for.
pub fn quietly() -> StoreBuilder {
    let never = Duration::from_secs(3600);
    TraceStore::builder().flush_interval(never).flush_threshold(usize::MAX).lag_bound(never)
}

/// A clock that the test moves, from a time that is the same each time.
pub fn clock() -> ManualClock {
    ManualClock::at(jiff::Timestamp::constant(1_795_510_800, 0))
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// The trace, which is there.
pub fn held(store: &TraceStore, id: TraceId) -> Outcome<Arc<Trace>> {
    Ok(store.get(id).ok_or_else(|| format!("trace {id} is gone"))?)
}

/// Revision and payload of a trace's row.
pub fn row(reader: &Connection, id: TraceId) -> Outcome<Option<(i64, String)>> {
    let sql = "SELECT revision, payload FROM traces WHERE id = ?1";
    Ok(reader.query_row(sql, [id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

pub fn rows(reader: &Connection) -> Outcome<i64> {
    Ok(reader.query_row("SELECT count(*) FROM traces", [], |row| row.get(0))?)
}

/// All that the store holds, in the order of ids.
pub fn by_id(store: &TraceStore) -> Vec<Arc<Trace>> {
    let mut traces: Vec<_> = store.iter().collect();
    traces.sort_unstable_by_key(|trace| trace.id());
    traces
}

pub fn note(n: impl serde::Serialize) -> NewTrace {
    NewTrace::semantic(serde_json::json!({"note": n}))
}

/// Looks until it is so; a store that never gets there makes the test time out.
pub fn until(mut so: impl FnMut() -> bool) {
    while !so() {
        std::thread::yield_now();
    }
}
