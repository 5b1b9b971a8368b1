//! Spilling: what can't be written into the file is put beside it, and the next open applies it.
#![cfg(all(feature = "snapshot", feature = "sqlite"))]

use harness::{Outcome, TestDir, by_id, manual_flush, note, rows};
use mnemon::{ErrorKind, NewTrace, TraceId, TraceStore, TraceType};
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

fn spill_of(scratch: &TestDir) -> PathBuf {
    scratch.path().with_file_name("memory.db.spill")
}

/// A store whose file another connection holds, so that nothing more can be written; and that connection.
fn stuck(scratch: &TestDir) -> Outcome<(TraceStore, rusqlite::Connection, Vec<TraceId>)> {
    stuck_for(scratch, Duration::from_secs(60))
}

/// The same, with a close that gives up after so long.
fn stuck_for(
    scratch: &TestDir,
    patience: Duration,
) -> Outcome<(TraceStore, rusqlite::Connection, Vec<TraceId>)> {
    let never = Duration::from_secs(3600);
    let store = TraceStore::builder().flush_interval(never).close_timeout(patience).open(scratch.path())?;
    let ids = store.insert_many((0..6).map(note))?;
    store.insert(NewTrace::sensory(json!("seen")))?;
    store.co_activate(ids[0], ids[1])?;
    store.co_activate(ids[1], ids[2])?;
    store.flush()?;
    let lock = scratch.reader()?;
    lock.execute_batch("BEGIN IMMEDIATE")?;
    Ok((store, lock, ids))
}

/// The file and its log, as a crash of the process would leave them.
fn copy_store(from: &TestDir, to: &TestDir) -> Outcome {
    fs::copy(from.path(), to.path())?;
    let _ = fs::copy(from.path().with_file_name("memory.db-wal"), to.path().with_file_name("memory.db-wal"));
    Ok(())
}

/// Of every kind of change one.
fn change(store: &TraceStore, ids: &[TraceId]) -> Outcome {
    store.update(ids[0], |trace| trace.confidence(0.9))?;
    store.update(ids[3], |trace| trace.payload(json!("café 日本\n")).tag("new"))?;
    store.remove(ids[1])?;
    store.insert(note("new"))?;
    store.remove(ids[4])?;
    store.insert(note("again").id(ids[4]))?;
    store.co_activate(ids[0], ids[2])?;
    Ok(())
}

fn links(store: &TraceStore, ids: &[TraceId]) -> Vec<String> {
    ids.iter().flat_map(|id| store.links(*id)).map(|link| format!("{link:?}")).collect()
}

#[test]
fn next_open_applies_the_spill() -> Outcome {
    let scratch = TestDir::new()?;
    let (store, lock, ids) = stuck_for(&scratch, Duration::from_millis(50))?;
    change(&store, &ids)?;
    let (expected, linked) = (by_id(&store), links(&store, &ids));
    let failed = store.close().map(drop).unwrap_err();
    let report = failed.store.spill()?;
    assert_eq!((report.path, report.traces, report.links), (spill_of(&scratch), 5, 3));
    // The process ends here without another word to the file.
    std::mem::forget(failed);
    drop(lock);
    let copy = TestDir::new()?;
    copy_store(&scratch, &copy)?;
    fs::copy(spill_of(&scratch), spill_of(&copy))?;
    for round in 0..2 {
        let store = TraceStore::open(copy.path())?;
        assert_eq!((by_id(&store), links(&store, &ids)), (expected.clone(), linked.clone()), "open {round}");
        assert!(!spill_of(&copy).exists(), "it has been applied");
        store.close()?;
        assert_eq!(rows(&copy.reader()?)?, expected.len() as i64);
    }
    Ok(())
}

#[test]
fn spill_behind_file_is_not_applied() -> Outcome {
    let scratch = TestDir::new()?;
    let (store, lock, ids) = stuck(&scratch)?;
    change(&store, &ids)?;
    store.spill()?;
    lock.execute_batch("ROLLBACK")?;
    drop(lock);
    store.update(ids[0], |trace| trace.confidence(0.1))?;
    store.flush()?;
    let expected = by_id(&store);
    store.close()?;
    assert!(spill_of(&scratch).exists());
    let store = TraceStore::open(scratch.path())?;
    assert_eq!(by_id(&store), expected);
    assert!(!spill_of(&scratch).exists(), "and is gone");
    Ok(())
}

#[test]
fn an_erasure_is_spilled_too() -> Outcome {
    let scratch = TestDir::new()?;
    let (store, lock, ids) = stuck(&scratch)?;
    let erasing = store.clone();
    let eraser = std::thread::spawn(move || erasing.erase_type(TraceType::Sensory).is_ok());
    harness::wait_until(|| store.len() == 6);
    let report = store.spill()?;
    assert_eq!(report.traces, 1);
    lock.execute_batch("ROLLBACK")?;
    assert!(eraser.join().is_ok_and(|erased| erased));
    assert_eq!(store.len(), ids.len());
    store.close()?;
    let text = fs::read_to_string(spill_of(&scratch))?;
    assert!(text.contains(r#"{"kind":"erased-type","type":"sensory"}"#) && !text.contains("seen"), "{text}");
    Ok(())
}

/// What it could not read is in no trace of the spill: the erasure itself must be there.
#[test]
fn spilled_erasure_takes_unreadable_rows() -> Outcome {
    let (scratch, copy) = (TestDir::new()?, TestDir::new()?);
    let store = manual_flush().open(scratch.path())?;
    store.insert(NewTrace::sensory(json!("unreadable")))?;
    store.close()?;
    scratch.reader()?.execute("UPDATE traces SET tier = 'lukewarm'", [])?;
    let (store, lock, ids) = stuck(&scratch)?;
    let erasing = store.clone();
    let eraser = std::thread::spawn(move || erasing.erase_type(TraceType::Sensory).is_ok());
    harness::wait_until(|| store.len() == ids.len());
    store.spill()?;
    copy_store(&scratch, &copy)?;
    fs::copy(spill_of(&scratch), spill_of(&copy))?;
    lock.execute_batch("ROLLBACK")?;
    assert!(eraser.join().is_ok_and(|erased| erased));
    let reopened = manual_flush().open(copy.path())?;
    assert_eq!((reopened.len(), rows(&copy.reader()?)?), (ids.len(), ids.len() as i64));
    assert!(reopened.stats().quarantined.is_empty(), "{:?}", reopened.stats().quarantined);
    Ok(())
}

#[test]
fn applied_spill_is_durable_before_deletion() -> Outcome {
    let (scratch, copy) = (TestDir::new()?, TestDir::new()?);
    let (store, lock, ids) = stuck_for(&scratch, Duration::from_millis(50))?;
    change(&store, &ids)?;
    store.spill()?;
    copy_store(&scratch, &copy)?;
    fs::copy(spill_of(&scratch), spill_of(&copy))?;
    lock.execute_batch("ROLLBACK")?;
    // Nothing but the open itself flushes.
    let reopened = manual_flush().open(copy.path())?;
    assert!(!spill_of(&copy).exists());
    assert_eq!((reopened.stats().dirty, by_id(&reopened)), (0, by_id(&store)));
    assert!(harness::row(&copy.reader()?, ids[1])?.is_none(), "the removal is in the file");
    assert_eq!(reopened.watermark().durable, reopened.watermark().committed);
    Ok(())
}

#[test]
fn bad_spill_is_refused_and_kept() -> Outcome {
    let scratch = TestDir::new()?;
    let (store, lock, ids) = stuck(&scratch)?;
    change(&store, &ids)?;
    store.spill()?;
    let good = fs::read_to_string(spill_of(&scratch))?;
    lock.execute_batch("ROLLBACK")?;
    drop(lock);
    fs::remove_file(spill_of(&scratch))?;
    store.close()?;
    let before = by_id(&manual_flush().open(scratch.path())?);
    let other = good.replacen("café", "cafe", 1);
    let short = good[..good.len() / 2].to_owned();
    let newer = good.replacen("\"version\":1", "\"version\":2", 1);
    for (text, kind) in [
        (other, ErrorKind::Corrupt),
        (short, ErrorKind::Corrupt),
        (newer, ErrorKind::NewerSchema),
        ("{}".to_owned(), ErrorKind::NotASnapshot),
        (String::new(), ErrorKind::NotASnapshot),
    ] {
        fs::write(spill_of(&scratch), &text)?;
        let error = TraceStore::open(scratch.path()).map(drop).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains("memory.db.spill"), "{error}");
        assert_eq!(fs::read_to_string(spill_of(&scratch))?, text, "it stays");
    }
    fs::remove_file(spill_of(&scratch))?;
    assert_eq!(by_id(&manual_flush().open(scratch.path())?), before);
    Ok(())
}

/// It says what changed since the file was last durable, and of an older state that is not all.
#[test]
fn spill_beside_older_file_is_refused() -> Outcome {
    let (scratch, older) = (TestDir::new()?, TestDir::new()?);
    let (store, lock, ids) = stuck(&scratch)?;
    copy_store(&scratch, &older)?;
    lock.execute_batch("ROLLBACK")?;
    store.update(ids[5], |trace| trace.confidence(0.3))?;
    store.flush()?;
    change(&store, &ids)?;
    store.spill()?;
    fs::copy(spill_of(&scratch), spill_of(&older))?;
    let error = TraceStore::open(older.path()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("has lost"), "{error}");
    assert!(spill_of(&older).exists(), "it stays");
    Ok(())
}

#[test]
fn spill_of_another_opening_is_refused() -> Outcome {
    let (one, other) = (TestDir::new()?, TestDir::new()?);
    let (store, lock, ids) = stuck(&one)?;
    change(&store, &ids)?;
    store.spill()?;
    manual_flush().open(other.path())?.close()?;
    fs::copy(spill_of(&one), spill_of(&other))?;
    let error = TraceStore::open(other.path()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotAStore, "{error}");
    assert!(error.to_string().contains("another store"), "{error}");
    drop(lock);
    drop(store);
    Ok(())
}

#[test]
fn no_spill_in_memory_or_closed() -> Outcome {
    let error = TraceStore::in_memory().spill().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    store.insert(note(1))?;
    let closed = store.clone();
    store.close()?;
    let report = closed.spill()?;
    assert_eq!((report.traces, report.links), (0, 0));
    assert!(!spill_of(&scratch).exists());
    Ok(())
}

/// Its removal is committed and not synced, the new one is pending: two entries of one id, of which the newer speaks.
#[test]
fn reinserted_trace_spills_whole() -> Outcome {
    let scratch = TestDir::new()?;
    let store = TraceStore::builder()
        .durability(mnemon::Durability::Committed)
        .flush_interval(Duration::from_secs(3600))
        .flush_threshold(1)
        .close_timeout(Duration::from_millis(50))
        .open(scratch.path())?;
    let (id, other) = (TraceId::from_reference("again"), store.insert(note("other"))?);
    store.insert(note("first").id(id))?;
    store.co_activate(id, other)?;
    store.flush()?;
    store.remove(id)?;
    harness::wait_until(|| store.stats().dirty == 0);
    assert!(store.watermark().durable < store.watermark().committed, "the removal is not synced");
    let lock = scratch.reader()?;
    lock.execute_batch("BEGIN IMMEDIATE")?;
    store.insert(note("second").id(id))?;
    store.co_activate(id, other)?;
    store.spill()?;
    let text = fs::read_to_string(spill_of(&scratch))?;
    assert!(text.contains("second") && !text.contains("removed-"), "{text}");
    Ok(())
}

/// A file holds what another program has put into it; its payloads are not parsed as they are loaded.
#[test]
fn payload_without_json_spares_the_rest() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    let (bad, good) = (store.insert(note("bad"))?, store.insert(note("good"))?);
    store.close()?;
    let spoilt =
        scratch.reader()?.execute("UPDATE traces SET payload = 'no JSON' WHERE id = ?1", [bad.as_bytes()])?;
    assert_eq!(spoilt, 1);
    let store = manual_flush().open(scratch.path())?;
    for id in [bad, good] {
        store.update(id, |trace| trace.confidence(0.9))?;
    }
    let expected = by_id(&store);
    store.spill()?;
    let copy = TestDir::new()?;
    for suffix in ["", "-wal", ".spill"] {
        let file = format!("memory.db{suffix}");
        fs::copy(scratch.folder().join(&file), copy.folder().join(&file))?;
    }
    let store = manual_flush().open(copy.path())?;
    assert_eq!(by_id(&store), expected);
    assert_eq!(store.get(bad).map(|trace| trace.payload().to_string()), Some("no JSON".to_owned()));
    Ok(())
}
