//! What the test programs share.
//!
//! - [`TestDir`]: a folder with a path for a store's file; [`manual_flush`], [`flush_always`]: builders of stores;
//! - [`Rng`]: random numbers, the same for the same seed;
//! - [`steps`]: random operations, and what they do to a store; [`pair`]: a store beside its [`model`];
//! - [`State`]: all that a store holds, to be compared;
//! - [`backend`]: a backend that does what its script says;
//! - [`space`]: the place of a store that is not in a file;
//! - [`process`]: tests that need a process of their own.

pub mod backend;
pub mod model;
pub mod pair;
pub mod process;
mod record;
pub mod space;
mod state;
pub mod steps;

pub use fastrand::Rng;
pub use state::State;

use mnemon::{ManualClock, NewTrace, StoreBuilder, Trace, TraceId, TraceStore};
use rusqlite::{Connection, OptionalExtension};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Result of a test, or of a part of one.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// A folder of a test's own, deleted with this value, and the path of a store's file in it.
pub struct TestDir {
    folder: TempDir,
    path: PathBuf,
}

impl TestDir {
    pub fn new() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("memory.db");
        Ok(Self { folder, path })
    }

    /// The path of the store's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A second connection to the file, which sees what is committed.
    pub fn reader(&self) -> Outcome<Connection> {
        reader(&self.path)
    }
}

/// A connection to a store's file, beside the store's own. Over [a server](space), a copy of what is there now.
pub fn reader(path: &Path) -> Outcome<Connection> {
    if let Some((url, space)) = space::in_place_of(path) {
        return space::copy(&url, &space);
    }
    let reader = Connection::open(path)?;
    reader.busy_timeout(Duration::from_secs(10))?;
    Ok(reader)
}

/// Builder of a store that flushes only when a test asks for it.
pub fn manual_flush() -> StoreBuilder {
    let never = Duration::from_secs(3600);
    TraceStore::builder().flush_interval(never).flush_threshold(usize::MAX).lag_bound(never)
}

/// Builder of a store that flushes each change at once.
pub fn flush_always() -> StoreBuilder {
    TraceStore::builder().flush_interval(Duration::ZERO).flush_threshold(1)
}

/// A clock that the test moves, from the same time in each run.
pub fn clock() -> ManualClock {
    ManualClock::at(from_start(0))
}

/// The time so many seconds after the first of [`clock`].
pub fn from_start(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::constant(1_795_510_800, 0) + jiff::SignedDuration::from_secs(seconds)
}

pub fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// The trace; fails if there is none.
pub fn held(store: &TraceStore, id: TraceId) -> Outcome<Arc<Trace>> {
    Ok(store.get(id).ok_or_else(|| format!("trace {id} is gone"))?)
}

/// Revision and payload of a trace's row.
pub fn row(reader: &Connection, id: TraceId) -> Outcome<Option<(i64, String)>> {
    let sql = "SELECT revision, payload FROM traces WHERE id = ?1";
    Ok(reader.query_row(sql, [id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Number of rows of traces.
pub fn rows(reader: &Connection) -> Outcome<i64> {
    Ok(reader.query_row("SELECT count(*) FROM traces", [], |row| row.get(0))?)
}

/// All traces of a store, in the order of ids.
pub fn by_id(store: &TraceStore) -> Vec<Arc<Trace>> {
    let mut traces: Vec<_> = store.iter().collect();
    traces.sort_unstable_by_key(|trace| trace.id());
    traces
}

/// Number of rounds of a test: the first for each change, the second where `MNEMON_DEEP` is set, as `.ci/deep` does.
pub fn rounds(gate: u64, deep: u64) -> u64 {
    if std::env::var_os("MNEMON_DEEP").is_some() { deep } else { gate }
}

pub fn note(n: impl serde::Serialize) -> NewTrace {
    NewTrace::semantic(serde_json::json!({"note": n}))
}

/// Returns when the condition holds; one that never does makes the test time out.
pub fn wait_until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        std::thread::yield_now();
    }
}
