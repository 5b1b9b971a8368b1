//! A line of JSON, as `mnemon ingest` reads it.

use super::holds;
use super::line_error;
use super::record::{Parent, Record};
use harness::Outcome;
use mnemon::{TraceId, TraceStore};
use serde_json::Value;

/// A line is refused with a reason, or makes a trace that the store takes; its payload is the text of the line, byte
/// for byte; and taken once more it changes nothing.
pub fn check(line: &[u8]) -> Outcome {
    let object: Option<Value> = serde_json::from_slice(line).ok().filter(Value::is_object);
    let record = match line_error::object(line).and_then(Record::parse) {
        Ok(record) => record,
        Err(reason) => return holds(!reason.is_empty(), "a line is refused without a reason"),
    };
    let object = object.ok_or("a line is taken that is no JSON object")?;
    let store = TraceStore::in_memory();
    let id = store.insert(record.to_new(record.id.unwrap_or_else(TraceId::new), Parent::NotGiven))?;
    let stored = store.get(id).ok_or("a record is stored and not there")?;
    let text = stored.payload().to_string();
    holds(
        line.windows(text.len()).any(|part| part == text.as_bytes()),
        "the payload is not the line's text",
    )?;
    let given = |field: &str| object.get(field).filter(|value| !value.is_null());
    holds(given("type").and_then(Value::as_str) == Some(stored.trace_type().as_str()), "another type")?;
    if let Some(confidence) = given("confidence") {
        holds(confidence.as_f64() == Some(stored.confidence()), "another confidence")?;
    }
    if let Some(tags) = given("tags").and_then(Value::as_array) {
        let same = tags.iter().all(|tag| tag.as_str().is_some_and(|tag| stored.has_tag(tag)));
        holds(same && stored.tags().count() <= tags.len(), "other tags")?;
    }
    record.check_against(&stored)?;
    let again = store.update(id, |trace| record.edit(trace, Parent::NotGiven))?;
    holds(again.as_ref() == Some(&stored), "taken once more, the record changes its trace")?;
    let parent = record.parent.unwrap_or(id);
    if parent != id {
        store.update(id, |trace| record.edit(trace, Parent::Found(parent)))?;
        let orphan = store.update(id, |trace| record.edit(trace, Parent::Dangling))?;
        holds(orphan.is_some_and(|trace| trace.parent().is_none()), "the parent stays")?;
    }
    store.close()?;
    Ok(())
}
