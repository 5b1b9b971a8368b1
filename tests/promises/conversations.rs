//! Real conversations, stored by four threads under a flusher that never rests, are read back as they are.
#![cfg(feature = "sqlite")]

use crate::OpenAt;
use harness::{Outcome, TestDir, flush_always};
use mnemon::jiff::Timestamp;
use mnemon::{NewTrace, TraceId, TraceStore, TraceType};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::thread;

fn text<'a>(record: &'a Value, field: &str) -> Outcome<&'a str> {
    Ok(record[field].as_str().ok_or_else(|| format!("{field} of {record}"))?)
}

fn tags(record: &Value) -> Vec<&str> {
    let mut tags: Vec<_> =
        record["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}

fn new_trace(record: &Value) -> Outcome<NewTrace> {
    let kind: TraceType = text(record, "type")?.parse()?;
    let new = NewTrace::new(kind, &record["payload"])
        .id(TraceId::from_reference(text(record, "ref")?))
        .partition(text(record, "partition")?)
        .created_at(text(record, "created_at")?.parse::<Timestamp>()?)
        .tags(tags(record));
    let parent = record["parent_ref"].as_str().map(TraceId::from_reference);
    Ok(parent.into_iter().fold(new, NewTrace::parent))
}

#[test]
fn every_record_is_read_back() -> Outcome {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/conversations.jsonl");
    if !source.exists() {
        eprintln!("skipped: {} is not there", source.display());
        return Ok(());
    }
    let lines = fs::read_to_string(source)?;
    let records = lines.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let new = records.iter().map(new_trace).collect::<Outcome<Vec<_>>>()?;
    let file = TestDir::new()?;
    let store = flush_always().open_at(file.path())?;
    thread::scope(|scope| {
        for part in new.chunks(new.len().div_ceil(4)) {
            let store = &store;
            scope.spawn(move || part.iter().for_each(|new| assert!(store.insert(new.clone()).is_ok())));
        }
    });
    store.close()?;
    let store = TraceStore::builder().open_at(file.path())?;
    assert_eq!(store.len(), records.len());
    for record in &records {
        let trace =
            store.get(TraceId::from_reference(text(record, "ref")?)).ok_or_else(|| format!("{record}"))?;
        assert_eq!(trace.payload().as_value()?, record["payload"]);
        assert_eq!(trace.trace_type().as_str(), text(record, "type")?);
        assert_eq!(trace.partition(), text(record, "partition")?);
        assert_eq!(trace.tags().collect::<Vec<_>>(), tags(record));
        assert_eq!(trace.created_at(), text(record, "created_at")?.parse()?);
        assert_eq!(trace.parent(), record["parent_ref"].as_str().map(TraceId::from_reference));
    }
    Ok(())
}
