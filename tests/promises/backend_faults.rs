//! Whatever the backend does, nothing is lost, writers go on, health tells, and the store recovers by itself.
#![cfg(feature = "sqlite")]

use super::flushed;
use harness::backend::{Answer, look, scripted};
use harness::{Outcome, State, TestDir, by_id, manual_flush, note, row, rows, wait_until};
use mnemon::backend::TraceChange;
use mnemon::{Durability, ErrorKind, Health, LagPolicy, TraceStore};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const NEVER: Duration = Duration::from_secs(3600);

/// A flush wakes its callers before it tidies up, and what it finds then it mends by itself; the length of the
/// log is known when it has.
fn tidied(store: &TraceStore) {
    wait_until(|| store.stats().wal_bytes > 0);
}

#[test]
fn a_panic_gives_its_batch_back() -> Outcome {
    let mut panics = 1;
    let (backend, log) = scripted(move |_| match std::mem::take(&mut panics) {
        0 => Answer::Apply,
        _ => panic!("the engine gave up"),
    });
    let store = TraceStore::builder().flush_interval(NEVER).open_with(backend)?;
    let id = store.insert(note(1))?;
    let error = store.flush().err().ok_or("the first flush panics")?;
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(error.to_string().contains("the engine gave up"), "{error}");
    assert!(matches!(store.health(), Health::Degraded { kind: ErrorKind::Panicked, .. }));
    store.flush()?;
    let log = look(&log);
    assert!(log.live.contains(id));
    assert_eq!((log.reopened, store.health()), (1, Health::Healthy));
    Ok(())
}

#[test]
fn damaged_backend_is_replaced_and_rewritten() -> Outcome {
    let damaged = Arc::new(AtomicBool::new(false));
    let asked = damaged.clone();
    let (backend, log) = scripted(move |_| {
        if asked.swap(false, Ordering::Relaxed) { Answer::Fail(ErrorKind::Corrupt) } else { Answer::Apply }
    });
    let store = TraceStore::builder().flush_interval(NEVER).open_with(backend)?;
    let ids = store.insert_many((0..50).map(note))?;
    store.flush()?;
    store.remove(ids[0])?;
    store.update(ids[1], |trace| trace.confidence(0.1))?;
    damaged.store(true, Ordering::Relaxed);
    assert_eq!(store.flush().err().map(|error| error.kind()), Some(ErrorKind::Corrupt));
    store.flush()?;
    let log = look(&log);
    assert_eq!(log.replaced, 1);
    assert!(log.live.state() == State::of(&store), "rows and memory agree");
    Ok(())
}

#[test]
fn failed_sync_rewrites_since_durable_batch() -> Outcome {
    let broken = Arc::new(AtomicBool::new(false));
    let asked = broken.clone();
    let (backend, log) = scripted(move |_| {
        if asked.swap(false, Ordering::Relaxed) { Answer::Fail(ErrorKind::Io) } else { Answer::Apply }
    });
    let builder =
        TraceStore::builder().durability(Durability::Committed).flush_interval(NEVER).flush_threshold(1);
    let store = builder.open_with(backend)?;
    let durable = store.insert(note("durable"))?;
    store.flush()?;
    let committed = store.insert(note("committed"))?;
    wait_until(|| store.watermark().committed > store.watermark().durable);
    let removed = store.insert(note("removed"))?;
    wait_until(|| look(&log).live.contains(removed));
    store.remove(removed)?;
    wait_until(|| !look(&log).live.contains(removed));
    look(&log).batches.clear();
    broken.store(true, Ordering::Relaxed);
    assert_eq!(store.flush().err().map(|error| error.kind()), Some(ErrorKind::Io));
    store.flush()?;
    let log = look(&log);
    assert_eq!(log.reopened, 1);
    let [(Durability::Durable, again)] = &log.batches[..] else {
        return Err(format!("{:?}", log.batches).into());
    };
    let upserted = again
        .iter()
        .any(|change| matches!(change, TraceChange::Upsert { trace, .. } if trace.id() == committed));
    let deleted =
        again.iter().any(|change| matches!(change, TraceChange::Delete { id, .. } if *id == removed));
    assert!(upserted && deleted, "whole rows and removals: {again:?}");
    assert!(again.iter().all(|change| change.id() != durable), "what was durable is not written again");
    Ok(())
}

#[test]
fn refused_row_is_retried_when_changed() -> Outcome {
    let refuse = Arc::new(AtomicBool::new(true));
    let asked = refuse.clone();
    let bad = mnemon::TraceId::new();
    let (backend, log) =
        scripted(
            move |_| if asked.load(Ordering::Relaxed) { Answer::Refuse(vec![bad]) } else { Answer::Apply },
        );
    let store = TraceStore::builder().flush_interval(NEVER).open_with(backend)?;
    let good = store.insert(note("good"))?;
    store.insert(note("bad").id(bad))?;
    store.flush()?;
    store.update(bad, |trace| trace.confidence(0.1))?;
    store.flush()?;
    let quarantined = store.stats().quarantined;
    assert_eq!(quarantined.len(), 1);
    assert_eq!((quarantined[0].id, quarantined[0].times), (Some(bad), 2));
    assert_eq!(quarantined[0].reason, "the script refuses it");
    assert!(look(&log).live.contains(good) && !look(&log).live.contains(bad), "the rest is committed");
    assert_eq!(store.health(), Health::Healthy);
    refuse.store(false, Ordering::Relaxed);
    store.update(bad, |trace| trace.confidence(0.2))?;
    store.flush()?;
    assert_eq!((store.stats().quarantined.len(), look(&log).live.contains(bad)), (0, true));
    Ok(())
}

#[test]
fn hanging_backend_lags_and_refuses_writes() -> Outcome {
    let (go, wait) = mpsc::channel::<()>();
    let (backend, log) = scripted(move |_| {
        let _ = wait.recv();
        Answer::Apply
    });
    let builder = TraceStore::builder().flush_interval(Duration::ZERO).lag_bound(Duration::from_millis(20));
    let store = builder.when_lagging(LagPolicy::RejectWrites).open_with(backend)?;
    let id = store.insert(note(1))?;
    wait_until(|| matches!(store.health(), Health::Lagging { .. }));
    assert!(store.stats().oldest_unflushed.is_some_and(|age| age > Duration::from_millis(20)));
    let refused = [
        store.insert(note(2)).err(),
        store.update(id, |trace| trace.confidence(0.1)).err(),
        store.remove(id).err(),
    ];
    for error in refused {
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Lagging));
    }
    drop(go);
    store.flush()?;
    assert_eq!(store.health(), Health::Healthy);
    let second = store.insert(note(3))?;
    store.flush()?;
    assert!(look(&log).live.contains(second));
    Ok(())
}

#[test]
fn lagging_store_accepts_writes_by_default() -> Outcome {
    let (go, wait) = mpsc::channel::<()>();
    let (backend, log) = scripted(move |_| {
        let _ = wait.recv();
        Answer::Apply
    });
    let builder = TraceStore::builder().flush_interval(Duration::ZERO).lag_bound(Duration::from_millis(20));
    let store = builder.open_with(backend)?;
    let first = store.insert(note(1))?;
    wait_until(|| matches!(store.health(), Health::Lagging { .. }));
    let second = store.insert(note(2))?;
    store.remove(first)?;
    drop(go);
    store.flush()?;
    assert!(look(&log).live.state().traces.keys().eq([&second]));
    Ok(())
}

#[test]
fn long_outage_owes_each_trace_once() -> Outcome {
    let down = Arc::new(AtomicBool::new(true));
    let (asked, batches) = (down.clone(), Arc::new(AtomicUsize::new(0)));
    let tried = batches.clone();
    let (backend, log) = scripted(move |batch| {
        if asked.load(Ordering::Relaxed) {
            tried.store(batch.traces.len(), Ordering::Relaxed);
            Answer::Fail(ErrorKind::DiskFull)
        } else {
            Answer::Apply
        }
    });
    let store = TraceStore::builder().flush_interval(NEVER).open_with(backend)?;
    let ids = store.insert_many((0..100).map(note))?;
    for round in 0..20 {
        for id in &ids {
            store.update(*id, |trace| trace.confidence(f64::from(round) / 20.0))?;
        }
        assert!(store.flush().is_err());
        assert_eq!(batches.load(Ordering::Relaxed), ids.len(), "bounded by the traces, not by the writes");
    }
    down.store(false, Ordering::Relaxed);
    assert_eq!(store.flush()?.rows_upserted, 100, "one cut drains it");
    assert!(look(&log).live.state() == State::of(&store));
    Ok(())
}

#[test]
fn locked_file_stops_no_writer() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    store.insert(note(1))?;
    let locker = file.reader()?;
    locker.execute_batch("BEGIN IMMEDIATE")?;
    let waiting = store.clone();
    let flush = std::thread::spawn(move || waiting.flush());
    wait_until(|| store.stats().cuts == 1);
    let ids = store.insert_many((0..1_000).map(note))?;
    assert!(!flush.is_finished(), "the flush waits, the writers don't");
    locker.execute_batch("ROLLBACK")?;
    flush.join().map_err(|_| "the flush panicked")??;
    store.flush()?;
    assert_eq!(rows(&file.reader()?)?, 1 + ids.len() as i64);
    Ok(())
}

#[test]
fn deleted_file_is_rewritten() -> Outcome {
    let (file, store, ids) = flushed(100)?;
    tidied(&store);
    store.remove(ids[0])?;
    fs::remove_file(file.path())?;
    let error = store.flush().err().ok_or("the file is gone")?;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains("memory.db"), "{error}");
    store.flush()?;
    assert_eq!(rows(&file.reader()?)?, 99, "everything is there again, and nothing that was removed");
    let before = by_id(&store);
    store.close()?;
    assert_eq!(by_id(&manual_flush().open(file.path())?), before);
    Ok(())
}

/// SQLite itself goes on writing into a file that was moved.
#[test]
fn moved_file_is_rewritten_in_place() -> Outcome {
    let (file, store, ids) = flushed(100)?;
    tidied(&store);
    let moved = file.folder().join("moved.db");
    fs::rename(file.path(), &moved)?;
    let bytes = fs::read(&moved)?;
    store.update(ids[1], |trace| trace.payload(serde_json::json!("after")))?;
    assert_eq!(store.flush().err().map(|error| error.kind()), Some(ErrorKind::Unreachable));
    store.flush()?;
    let reader = file.reader()?;
    assert_eq!(rows(&reader)?, 100);
    assert_eq!(row(&reader, ids[1])?, Some((2, "\"after\"".to_owned())));
    assert!(fs::read(&moved)? == bytes, "the moved file is as it was");
    assert_eq!(store.health(), Health::Healthy);
    Ok(())
}

#[test]
fn other_file_in_place_is_kept() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    store.insert(note(1))?;
    store.flush()?;
    tidied(&store);
    // The other store's file, with its rows.
    let other = TestDir::new()?;
    let others = manual_flush().open(other.path())?;
    others.insert_many((0..5).map(note))?;
    others.close()?;
    fs::remove_file(file.path())?;
    fs::copy(other.path(), file.path())?;
    store.insert(note(2))?;
    assert!(store.flush().is_err());
    assert_eq!(store.flush().err().map(|error| error.kind()), Some(ErrorKind::NotAStore));
    assert_eq!(rows(&file.reader()?)?, 5, "it is as it was");
    fs::remove_file(file.path())?;
    store.flush()?;
    assert_eq!(rows(&file.reader()?)?, 2, "out of the way, and the store goes on");
    Ok(())
}

#[test]
fn row_with_changed_id_is_restored() -> Outcome {
    let (file, store, ids) = flushed(3)?;
    let stranger = mnemon::TraceId::new();
    file.reader()?.execute(
        "UPDATE traces SET id = ?1 WHERE id = ?2",
        [stranger, ids[1]].map(|id| id.as_bytes().to_vec()),
    )?;
    for &id in &ids {
        store.update(id, |trace| trace.payload(mnemon::Payload::text("anew")))?;
    }
    let report = store.flush()?;
    assert_eq!((report.rows_upserted, report.rows_refused), (3, 0));
    for &id in &ids {
        assert_eq!(row(&file.reader()?, id)?.map(|(_, payload)| payload), Some("\"anew\"".to_owned()));
    }
    assert_eq!((rows(&file.reader()?)?, row(&file.reader()?, stranger)?), (3, None));
    Ok(())
}

#[test]
fn deleted_row_is_rewritten_when_changed() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    let id = store.insert(note(1))?;
    store.flush()?;
    file.reader()?.execute("DELETE FROM traces", [])?;
    store.update(id, |trace| trace.confidence(0.9))?;
    let report = store.flush()?;
    assert_eq!((report.rows_upserted, report.rows_updated, report.payload_bytes_serialized), (1, 0, 10));
    assert_eq!(rows(&file.reader()?)?, 1);
    Ok(())
}

#[test]
fn clashing_row_is_quarantined() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    let (mine, other) = (store.insert(note(1))?, mnemon::TraceId::new());
    store.flush()?;
    // Somebody else writes a row with the id of a trace that the store is about to write.
    file.reader()?.execute(
        "INSERT INTO traces SELECT 1000, ?1, strength, peak_strength, base_decay_rate, emotional_valence,
            emotional_intensity, confidence, last_reinforced, last_decayed, revision, reinforcement_count, tier,
            unresolved, consolidation_candidate, pinned, type, origin, created_at, partition, source_agent,
            encryption_key_id, parent, children, tags, embedding, payload, NULL, NULL FROM traces WHERE id = ?2",
        [other.as_bytes(), mine.as_bytes()],
    )?;
    store.insert(note(2).id(other))?;
    store.insert(note(3))?;
    store.flush()?;
    let quarantined = store.stats().quarantined;
    assert_eq!(quarantined.iter().map(|row| row.id).collect::<Vec<_>>(), [Some(other)]);
    assert!(quarantined[0].reason.contains("UNIQUE"), "{}", quarantined[0].reason);
    assert_eq!(rows(&file.reader()?)?, 3, "the rest is committed");
    Ok(())
}

/// As when the reopening that made the file failed before it could sign it.
#[test]
fn unsigned_new_file_is_taken_over() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open(file.path())?;
    store.insert(note(1))?;
    store.flush()?;
    tidied(&store);
    let unsigned = TestDir::new()?;
    TraceStore::open(unsigned.path())?.close()?;
    unsigned.reader()?.execute("UPDATE store SET boot = NULL, watermark = 0", [])?;
    fs::remove_file(file.path())?;
    fs::copy(unsigned.path(), file.path())?;
    store.insert(note(2))?;
    assert!(store.flush().is_err());
    store.flush()?;
    assert_eq!(rows(&file.reader()?)?, 2);
    Ok(())
}

#[test]
fn file_of_other_owner_is_kept() -> Outcome {
    let file = TestDir::new()?;
    let store = TraceStore::builder().close_timeout(Duration::from_millis(10)).open(file.path())?;
    store.insert(note(1))?;
    store.flush()?;
    file.reader()?.execute("UPDATE store SET boot = zeroblob(16)", [])?;
    store.insert(note(2))?;
    assert_eq!(store.flush().err().map(|error| error.kind()), Some(ErrorKind::NotAStore));
    assert_eq!(rows(&file.reader()?)?, 1);
    Ok(())
}

#[test]
fn close_under_foreign_lock_says_so() -> Outcome {
    let file = TestDir::new()?;
    let store = TraceStore::builder().close_timeout(Duration::from_secs(3)).open(file.path())?;
    let id = store.insert(note(1))?;
    store.flush()?;
    let locker = file.reader()?;
    locker.execute_batch("BEGIN IMMEDIATE")?;
    let failed = store.close().err().ok_or("the file is locked")?;
    assert_eq!(failed.error.kind(), ErrorKind::Busy);
    locker.execute_batch("ROLLBACK")?;
    wait_until(|| failed.store.health() == Health::Healthy);
    failed.store.update(id, |trace| trace.confidence(0.1))?;
    failed.store.close()?;
    assert!(mnemon::inspect(file.path())?.clean);
    Ok(())
}
