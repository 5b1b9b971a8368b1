//! The smallest host: you see one memory, before and after it is looked up again from the file.

use mnemon::{NewTrace, TraceStore};
use serde_json::json;

fn main() -> mnemon::Result<()> {
    let path = std::env::temp_dir().join("mnemon-smallest.db");
    let store = TraceStore::open(&path)?;
    let id = store.insert(NewTrace::episodic(json!({"saw": "a heron on the slipway"})).tag("birds"))?;
    println!("stored    {id}");
    let report = store.flush()?;
    println!("flushed   {} row in {:?}", report.rows_upserted, report.elapsed);
    store.close()?;

    let store = TraceStore::open(&path)?;
    if let Some(trace) = store.get(id) {
        println!("read back {}, one of {}", trace.payload(), store.len());
    }
    Ok(())
}
