//! A store over an engine of your own: you see what each flush appends to a journal of JSON lines, what an erasure
//! leaves of it, and that everything is back when it is opened again.
//!
//! `engine.rs` answers what the flusher asks, `journal.rs` is the file, `rows.rs` what a line of it says, `record.rs` a
//! trace as JSON and back.

mod engine;
mod journal;
mod record;
mod rows;

use journal::Journal;
use mnemon::{NewTrace, Trace, TraceStore};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("memory.jsonl");
    // No flush but those that are asked for, so that each can be looked at.
    let quiet = || TraceStore::builder().flush_interval(Duration::from_secs(3_600));
    let store = quiet().open_with(Journal::open(&path)?)?;

    let tide =
        store.insert(NewTrace::semantic(json!({"fact": "springs follow the full moon"})).tag("tides"))?;
    let heron = store.insert(NewTrace::episodic(json!({"saw": "a heron"})).partition("birds"))?;
    flush(&store, &path, "two traces")?;
    for _ in 0..3 {
        store.co_activate(tide, heron)?;
    }
    flush(&store, &path, "a link")?;
    store.update(tide, |trace| trace.confidence(0.9))?;
    flush(&store, &path, "a number")?;
    store.erase_partition("birds")?;
    flush(&store, &path, "an erasure")?;
    println!("\n{}", std::fs::read_to_string(&path)?);

    let before = all(&store);
    store.close()?;
    let store = quiet().open_with(Journal::open(&path)?)?;
    println!("opened again: {} trace, all as before: {}", store.len(), all(&store) == before);
    Ok(())
}

fn flush(store: &TraceStore, path: &Path, what: &str) -> Result<(), Box<dyn std::error::Error>> {
    store.flush()?;
    let journal = std::fs::read_to_string(path)?;
    println!("{what:<12} {} lines, {} bytes", journal.lines().count(), journal.len());
    Ok(())
}

fn all(store: &TraceStore) -> Vec<Arc<Trace>> {
    let mut traces: Vec<_> = store.iter().collect();
    traces.sort_by_key(|trace| trace.id());
    traces
}
