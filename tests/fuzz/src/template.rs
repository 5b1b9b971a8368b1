//! A store's file that all is well with, made once: small, and the same in every process.

use harness::{Outcome, TestDir, clock, manual_flush, note};
use mnemon::{NewTrace, TraceId};
use rusqlite::Connection;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// Which opening has left the file.
pub const BOOT: &str = "0199c0de-0000-7000-8000-000000000001";

pub fn id(n: u32) -> TraceId {
    TraceId::from_reference(&format!("healthy {n}"))
}

/// Three traces, each linked to the others.
pub fn file() -> Outcome<&'static [u8]> {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    once(&FILE, make).map(Vec::as_slice)
}

/// Answers what was made first; each of its callers may make one.
pub fn once<T>(kept: &'static OnceLock<T>, make: impl FnOnce() -> Outcome<T>) -> Outcome<&'static T> {
    match kept.get() {
        Some(kept) => Ok(kept),
        None => make().map(|made| kept.get_or_init(|| made)),
    }
}

fn make() -> Outcome<Vec<u8>> {
    let scratch = TestDir::new()?;
    let store = manual_flush().clock(&clock()).open(scratch.path())?;
    store.insert(note(0).id(id(0)).tag("a").tag("日本"))?;
    store.insert(NewTrace::episodic(json!("seen")).id(id(1)).parent(id(0)).embedding(vec![0.5, -1.0]))?;
    store.insert(NewTrace::firmware(json!(null)).id(id(2)).partition("other").children([id(0), id(1)]))?;
    for (a, b) in [(0, 1), (1, 2), (2, 0)] {
        store.co_activate(id(a), id(b))?;
    }
    store.close()?;
    let connection = Connection::open(scratch.path())?;
    let boot: TraceId = BOOT.parse()?;
    connection.execute("UPDATE store SET boot = ?1", [boot.as_bytes()])?;
    // Small pages: there are fewer bytes that mean nothing.
    connection.execute_batch("PRAGMA journal_mode = DELETE; PRAGMA page_size = 512; VACUUM")?;
    drop(connection);
    Ok(fs::read(scratch.path())?)
}

/// Changes a file quickly: nobody needs it after a crash.
pub fn hasty(path: &Path) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
    Ok(connection)
}
