//! A flush costs what changed, counted in rows and bytes.
#![cfg(feature = "sqlite")]

use harness::{Outcome, TestDir, manual_flush, note};
use mnemon::{Group, Stats, TraceId, TraceStore};
use std::fs;

fn filled(store: &TraceStore, count: usize) -> Outcome<Vec<TraceId>> {
    let mut ids = Vec::with_capacity(count);
    for first in (0..count).step_by(Group::MAX_STEPS) {
        ids.extend(store.insert_many((first..count.min(first + Group::MAX_STEPS)).map(note))?);
    }
    store.flush()?;
    Ok(ids)
}

/// Rows upserted, updated, deleted and payload bytes between two looks.
fn spent(before: &Stats, after: &Stats) -> [u64; 4] {
    [
        after.rows_upserted - before.rows_upserted,
        after.rows_updated - before.rows_updated,
        after.rows_deleted - before.rows_deleted,
        after.payload_bytes_serialized - before.payload_bytes_serialized,
    ]
}

#[test]
fn changed_numbers_write_numbers_only() -> Outcome {
    for count in [2_000, 20_000] {
        let file = TestDir::new()?;
        let store = manual_flush().open(file.path())?;
        let ids = filled(&store, count)?;
        let before = store.stats();
        for id in ids.iter().step_by(count / 500) {
            store.update(*id, |trace| trace.confidence(0.75).emotional_intensity(0.5).unresolved(true))?;
            store.update(*id, |trace| trace.confidence(0.76))?;
        }
        assert_eq!(store.stats().dirty, 500);
        store.flush()?;
        assert_eq!(spent(&before, &store.stats()), [0, 500, 0, 0], "500 of {count}");
    }
    Ok(())
}

#[test]
fn changed_payloads_write_their_rows() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    let ids = filled(&store, 10_000)?;
    let before = store.stats();
    let mut bytes = 0;
    for (n, id) in ids.iter().step_by(20).enumerate() {
        let changed = store.update(*id, |trace| trace.payload(serde_json::json!({"new": n})))?;
        bytes += changed.map_or(0, |trace| trace.payload().as_str().len() as u64);
    }
    store.flush()?;
    assert_eq!(spent(&before, &store.stats()), [500, 0, 0, bytes]);
    Ok(())
}

#[test]
fn update_without_change_dirties_nothing() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    let id = store.insert(note(1).tags(["a", "b"]))?;
    store.flush()?;
    let before = store.get(id);
    store
        .update(id, |trace| trace.confidence(0.5).tags(["b", "a"]).payload(serde_json::json!({"note": 1})))?;
    assert_eq!((store.stats().dirty, store.get(id)), (0, before), "every field is as it was");
    let spent_before = store.stats();
    store.update(id, |trace| trace.payload(serde_json::json!({"note": 1})).confidence(0.9))?;
    store.flush()?;
    assert_eq!(spent(&spent_before, &store.stats()), [0, 1, 0, 0], "an equal payload is not written again");
    Ok(())
}

#[test]
fn clean_flush_touches_nothing() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    filled(&store, 100)?;
    let wal = file.folder().join("memory.db-wal");
    let look = || -> Outcome<_> {
        let written = |path| Ok::<_, std::io::Error>((fs::read(path)?, fs::metadata(path)?.modified()?));
        Ok((written(file.path())?, written(&wal)?, store.watermark(), store.stats().cuts))
    };
    let before = look()?;
    assert!(!before.1.0.is_empty(), "there is a log to look at");
    for _ in 0..10 {
        let report = store.flush()?;
        assert_eq!((report.rows_upserted, report.rows_updated, report.rows_deleted), (0, 0, 0));
    }
    assert!(look()? == before, "files, watermark and cuts are as they were");
    Ok(())
}
