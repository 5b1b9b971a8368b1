//! The smallest host: you see one memory, and that it is read back from the file.

use mnemon::{NewTrace, TraceStore};
use serde_json::json;

fn main() -> mnemon::Result<()> {
    let path = std::env::temp_dir().join("first-memories.db");
    let store = TraceStore::open(&path)?;
    let id = store.insert(NewTrace::episodic(json!({"saw": "a heron on the slipway"})).tag("birds"))?;
    store.update(id, |trace| trace.confidence(0.9))?; // in memory, for every thread, at once
    let report = store.flush()?; // on disk from here on; without it, within a second or so
    println!("flushed: {} row", report.rows_upserted);
    store.close()?;

    let store = TraceStore::open(&path)?;
    let trace = store.get(id).expect("what was flushed is there");
    println!("read back: {}, confidence {}", trace.payload(), trace.confidence());
    Ok(())
}
