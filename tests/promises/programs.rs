//! What a program around a store is given: text and JSON of what it holds, handles, futures and iterators.
#![cfg(all(feature = "serde", feature = "sqlite", feature = "testkit"))]

use super::flush_returns::block_on;
use harness::{Outcome, TestDir, clock, manual_flush, note};
use mnemon::testkit::{Call, Faults};
use mnemon::{ErrorKind, FeedEvent, NewTrace, Progress, Tier, TraceId, TraceStore, TraceType};
use serde_json::{Value, json};
use std::time::Duration;

fn full() -> NewTrace {
    let [id, parent] = [1, 2].map(|n| TraceId::from_bytes([n; 16]));
    let new = NewTrace::semantic(json!({"fact": "the bar is 4 m deep"})).id(id).partition("harbour");
    new.tags(["sea", "depth"])
        .parent(parent)
        .source_agent("pilot")
        .embedding([0.5, -1.0])
        .emotional_valence(-0.25)
}

#[test]
fn traces_are_shown_by_their_getters() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    let trace = store.get(store.insert(full())?).ok_or("stored")?;
    let shown = format!("{trace:?}");
    for part in
        ["id: 01010101-", "type: Semantic", "tags: [\"depth\", \"sea\"]", "source_agent: Some(\"pilot\")"]
    {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    for hidden in ["Content", "Dynamics", "Micros", "birth", "number:"] {
        assert!(!shown.contains(hidden), "{hidden} in {shown}");
    }
    let line = r#"01010101-0101-0101-0101-010101010101 semantic {"fact":"the bar is 4 m deep"}"#;
    assert_eq!(trace.to_string(), line);
    Ok(())
}

#[test]
fn traces_have_the_programs_json_names() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let id = store.insert(full())?;
    let trace = serde_json::to_value(&*store.get(id).ok_or("stored")?)?;
    let now = clock.now();
    let expected = json!({
        "id": id, "type": "semantic", "partition": "harbour", "tags": ["depth", "sea"],
        "payload": {"fact": "the bar is 4 m deep"}, "strength": 0.5, "peak_strength": 0.5, "base_decay_rate": 0.01,
        "confidence": 0.5, "emotional_valence": -0.25, "emotional_intensity": 0.0, "tier": "hot",
        "origin": "direct_experience", "source_agent": "pilot", "created_at": now, "last_reinforced": now,
        "last_decayed": now, "reinforcement_count": 0, "parent": "02020202-0202-0202-0202-020202020202",
        "children": [], "unresolved": false, "consolidation_candidate": false, "pinned": false,
        "encryption_key_id": null, "embedding": [0.5, -1.0], "revision": 1,
    });
    assert_eq!(trace, expected);
    let other = store.insert(note(1))?;
    let ended =
        store.update(id, |trace| trace.valid_until(jiff::Timestamp::UNIX_EPOCH).superseded_by(other))?;
    let ended = serde_json::to_value(&*ended.ok_or("stored")?)?;
    assert_eq!(
        (&ended["valid_until"], &ended["superseded_by"]),
        (&json!("1970-01-01T00:00:00Z"), &json!(other))
    );
    let link = serde_json::to_value(store.co_activate(id, other)?)?;
    assert_eq!(
        (&link["a"], &link["b"], &link["count"]),
        (&json!(id.min(other)), &json!(id.max(other)), &json!(1))
    );
    Ok(())
}

#[test]
fn names_round_trip_reports_are_written() -> Outcome {
    let id = TraceId::new();
    assert_eq!(serde_json::from_value::<TraceId>(json!(id))?, id);
    let names = json!([["trust", "firmware"], "cold"]);
    let read = serde_json::from_value::<([TraceType; 2], Tier)>(names.clone())?;
    assert_eq!(read, ([TraceType::Trust, TraceType::Firmware], Tier::Cold));
    assert_eq!(serde_json::to_value(read)?, names);
    for bad in ["iron", ""] {
        let error = serde_json::from_value::<TraceType>(json!(bad)).unwrap_err().to_string();
        assert!(error.contains("give one of firmware, identity"), "{error}");
    }

    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    store.insert(note(1))?;
    let text = |value: &Value, name: &str| value[name].clone();
    let report = serde_json::to_value(store.flush()?)?;
    assert!(report["rows_upserted"] == 1 && report["elapsed"].is_f64(), "{report}");
    let stats = serde_json::to_value(store.stats())?;
    assert_eq!((text(&stats, "traces"), text(&stats, "oldest_unflushed")), (json!(1), Value::Null));
    assert_eq!(serde_json::to_value(store.health())?, json!("Healthy"));
    let watermark = store.clone().close()?;
    assert_eq!(serde_json::to_value(watermark)?["durable"], json!(watermark.durable));
    let verified = serde_json::to_value(mnemon::verify(file.path(), Progress::ignore)?)?;
    assert_eq!((text(&verified, "traces"), text(&verified, "findings")), (json!(1), json!([])));
    let error = serde_json::to_value(store.insert(note(2)).unwrap_err())?;
    assert_eq!(text(&error, "kind"), "closed");
    Ok(())
}

#[test]
fn errors_say_whether_to_try_again() -> Outcome {
    let faults = Faults::new();
    let store = manual_flush().open_with(faults.backend())?;
    let id = store.insert(note(1))?;
    faults.fail(Call::Apply).times(1).with(ErrorKind::DiskFull);
    assert!(store.flush().unwrap_err().is_retryable());
    assert!(!store.insert(note(1).id(id)).unwrap_err().is_retryable());
    store.close()?;
    Ok(())
}

#[test]
fn weak_handles_keep_nothing_open() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    assert_eq!(store.path(), Some(&*file.path().canonicalize()?));
    assert_eq!(TraceStore::in_memory().path(), None);
    let weak = store.downgrade();
    let again = weak.upgrade().ok_or("it is open")?;
    let id = again.insert(note(1))?;
    drop(store);
    assert!(weak.upgrade().is_some_and(|store| store.contains(id)));
    drop(again);
    assert!(weak.upgrade().is_none());
    // It was written, and the file is free.
    assert!(manual_flush().open(file.path())?.contains(id));
    Ok(())
}

#[test]
fn store_is_closed_by_a_future() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    let id = store.insert(note(1))?;
    let watermark = block_on(store.close_async())?;
    assert_eq!(watermark.durable, watermark.committed);
    let store = manual_flush().open(file.path())?;
    assert!(store.contains(id));
    // Not polled, it closes all the same.
    let (other, closing) = (store.clone(), store.close_async());
    drop(closing);
    harness::wait_until(|| other.insert(note(2)).is_err_and(|error| error.kind() == ErrorKind::Closed));
    Ok(())
}

#[test]
fn failed_async_close_returns_the_store() -> Outcome {
    let faults = Faults::new();
    let store = manual_flush().close_timeout(Duration::from_secs(2)).open_with(faults.backend())?;
    store.insert(note(1))?;
    faults.fail(Call::Apply).for_good().with(ErrorKind::DiskFull);
    let failed = block_on(store.close_async()).unwrap_err();
    assert_eq!(failed.error.kind(), ErrorKind::DiskFull);
    faults.lift();
    block_on(failed.store.close_async())?;
    Ok(())
}

#[test]
fn feeds_are_iterated() -> Outcome {
    let store = TraceStore::in_memory();
    let feed = store.subscribe(100);
    for n in 0..3 {
        store.insert(note(n))?;
        store.flush()?;
    }
    store.close()?;
    let commits =
        feed.filter(|event| matches!(event, FeedEvent::Committed(commit) if commit.traces.len() == 1));
    assert_eq!(commits.count(), 3);
    Ok(())
}
