//! The flaws of the system that this one takes the place of, each as a promise that they do not come back.
#![cfg(feature = "sqlite")]

use super::flushed;
use crate::OpenAt;
use harness::backend::{Answer, Log, look, scripted};
use harness::{Outcome, TestDir, clock, held, manual_flush, minutes, note, row, rows};
use mnemon::{ErrorKind, Eviction, NewTrace, Payload, Quota, TraceId, TraceStore};
use rusqlite::Connection;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

/// A store of one stored trace, and what it has stored when `meanwhile` is done with it while a flush has taken
/// its snapshot and has not written it yet.
fn while_a_flush_writes(
    meanwhile: impl FnOnce(&TraceStore, TraceId) -> Outcome,
) -> Outcome<(TraceStore, TraceId, Arc<Mutex<Log>>)> {
    let (entered, wait_entered) = mpsc::channel();
    let (go, wait_go) = mpsc::channel::<()>();
    let stop = Arc::new(AtomicBool::new(false));
    let stops = stop.clone();
    let (backend, log) = scripted(move |_| {
        if stops.swap(false, Ordering::SeqCst) {
            // The test has ended early if nobody is there any more.
            let _ = entered.send(());
            let _ = wait_go.recv();
        }
        Answer::Apply
    });
    let store = manual_flush().open_with(backend)?;
    let id = store.insert(note("first"))?;
    store.flush()?;
    store.update(id, |trace| trace.payload(json!("second")))?;
    stop.store(true, Ordering::SeqCst);
    thread::scope(|scope| -> Outcome {
        let flush = scope.spawn(|| store.flush());
        wait_entered.recv()?;
        let done = meanwhile(&store, id);
        go.send(())?;
        flush.join().map_err(|_| "the flush panicked")??;
        done
    })?;
    store.flush()?;
    Ok((store, id, log))
}

#[test]
fn write_during_flush_is_kept() -> Outcome {
    let (store, id, log) = while_a_flush_writes(|store, id| {
        store.update(id, |trace| trace.payload(json!("third")))?;
        Ok(())
    })?;
    assert_eq!(look(&log).live.trace(id).map(|trace| trace.payload().to_string()), Some("\"third\"".into()));
    assert_eq!(store.stats().dirty, 0);
    Ok(())
}

#[test]
fn removal_during_flush_takes_row() -> Outcome {
    let (store, id, log) = while_a_flush_writes(|store, id| {
        store.remove(id)?;
        Ok(())
    })?;
    assert_eq!((look(&log).live.contains(id), store.len(), store.stats().dirty), (false, 0, 0));
    Ok(())
}

#[test]
fn concurrent_flushes_store_no_older_state() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    let id = store.insert(note(0))?;
    // How often a flush has returned with something older in the file than what its thread had written.
    let write_and_look = |thread: usize, reader: Connection| -> Outcome<usize> {
        let mut behind = 0;
        for n in 0..50 {
            let written = store.update(id, |trace| trace.payload(json!([thread, n])))?;
            store.flush()?;
            let stored = row(&reader, id)?.map(|(revision, _)| revision as u64);
            behind += usize::from(stored < written.map(|trace| trace.revision()));
        }
        Ok(behind)
    };
    let readers = (0..4).map(|_| file.reader()).collect::<Outcome<Vec<_>>>()?;
    let behind: usize = thread::scope(|scope| {
        let look = |(thread, reader)| {
            let write_and_look = &write_and_look;
            scope.spawn(move || write_and_look(thread, reader).map_err(|error| error.to_string()))
        };
        let threads: Vec<_> = readers.into_iter().enumerate().map(look).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
            .sum::<Result<_, _>>()
    })?;
    assert_eq!(behind, 0);
    let trace = held(&store, id)?;
    assert_eq!(row(&file.reader()?, id)?, Some((201, trace.payload().to_string())));
    Ok(())
}

#[test]
fn no_concurrent_reinforcement_is_lost() -> Outcome {
    let store = TraceStore::in_memory();
    let id = store.insert(note(1))?;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..2_000).for_each(|_| drop(store.reinforce(id))));
        }
    });
    assert_eq!(held(&store, id)?.reinforcement_count(), 16_000);
    Ok(())
}

#[test]
fn upkeep_revives_no_removed_trace() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    for _ in 0..20 {
        let ids = store.insert_many((0..300).map(|n| NewTrace::episodic(json!(n))))?;
        clock.advance(minutes(1));
        let done = AtomicBool::new(false);
        thread::scope(|scope| -> Outcome {
            let cycles = scope.spawn(|| -> mnemon::Result<()> {
                while !done.load(Ordering::Relaxed) {
                    // They turn warm, and later cold.
                    clock.advance(minutes(60));
                    store.decay()?;
                    store.update_tiers()?;
                }
                Ok(())
            });
            let removed = ids.iter().try_for_each(|id| store.remove(*id).map(drop));
            done.store(true, Ordering::Relaxed);
            cycles.join().map_err(|_| "the cycles panicked")??;
            Ok(removed?)
        })?;
        assert_eq!(store.len(), 0);
    }
    Ok(())
}

#[test]
fn flush_costs_what_changed() -> Outcome {
    let (_file, store, ids) = flushed(10_000)?;
    store.update(ids[5_000], |trace| trace.confidence(0.9))?;
    let report = store.flush()?;
    assert_eq!((report.rows_updated, report.rows_upserted, report.payload_bytes_serialized), (1, 0, 0));
    Ok(())
}

#[test]
fn decay_dirties_only_what_it_changes() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).open_with(scripted(|_| Answer::Apply).0)?;
    store.insert_many((0..1_000).map(note))?;
    let fast = store.insert_many((0..3).map(|n| NewTrace::sensory(json!(n)).base_decay_rate(6.0)))?;
    store.flush()?;
    clock.advance(minutes(1));
    for trace in store.iter() {
        assert!(store.strength(&trace) < trace.strength(), "all fade by reading alone");
    }
    assert_eq!(store.stats().dirty, 0);
    store.decay()?;
    let stats = store.stats();
    assert_eq!((stats.pruned as usize, stats.dirty), (fast.len(), fast.len()));
    Ok(())
}

#[test]
fn co_activation_writes_one_link() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    let ids = store.insert_many((0..50).map(note))?;
    for other in &ids[1..] {
        store.co_activate(ids[0], *other)?;
    }
    store.flush()?;
    store.co_activate(ids[7], ids[0])?;
    assert_eq!(store.stats().dirty, 1);
    let report = store.flush()?;
    assert_eq!((report.links_upserted, report.links_deleted), (1, 0));
    assert_eq!((report.rows_upserted, report.rows_updated, report.rows_deleted), (0, 0, 0));
    Ok(())
}

/// What a payload is in the file, and after a restart.
fn after_a_restart(payload: Payload) -> Outcome<(String, Payload)> {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    let id = store.insert(NewTrace::semantic(payload))?;
    store.close()?;
    let stored = row(&file.reader()?, id)?.ok_or("it has a row")?.1;
    Ok((stored, held(&manual_flush().open_at(file.path())?, id)?.payload().clone()))
}

#[test]
fn non_ascii_text_stays() -> Outcome {
    let text = "café 日本";
    let (stored, loaded) = after_a_restart(Payload::text(text))?;
    assert_eq!((stored.as_str(), loaded.as_value()?), ("\"café 日本\"", json!(text)));
    Ok(())
}

#[test]
fn array_stays_an_array() -> Outcome {
    let (stored, loaded) = after_a_restart(Payload::from_json("[1,\"two\",[3]]")?)?;
    assert_eq!((stored.as_str(), loaded.as_value()?), ("[1,\"two\",[3]]", json!([1, "two", [3]])));
    Ok(())
}

#[test]
fn text_like_json_stays_text() -> Outcome {
    let text = r#"{"not": "an object"}"#;
    let (_, loaded) = after_a_restart(Payload::text(text))?;
    assert_eq!(loaded.as_value()?, json!(text));
    Ok(())
}

#[test]
fn embedding_agent_and_key_survive_restart() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    let new = note(1).embedding([0.25_f32, -1.5]).source_agent("agent-Ω").encryption_key_id("key/1");
    let id = store.insert(new)?;
    store.close()?;
    let trace = held(&manual_flush().open_at(file.path())?, id)?;
    assert_eq!(trace.embedding(), Some(&[0.25, -1.5][..]));
    assert_eq!((trace.source_agent(), trace.encryption_key_id()), (Some("agent-Ω"), Some("key/1")));
    Ok(())
}

#[test]
fn a_quota_evicts() -> Outcome {
    let file = TestDir::new()?;
    let quota = Quota { max_traces: 10, max_bytes: u64::MAX, eviction: Eviction::default() };
    let store = manual_flush().quota(quota).open_at(file.path())?;
    store.insert_many((0..25).map(note))?;
    store.flush()?;
    assert_eq!(store.enforce_quota()?.traces, 15);
    assert_eq!((store.flush()?.rows_deleted, store.len(), rows(&file.reader()?)?), (15, 10, 10));
    Ok(())
}

#[cfg(feature = "snapshot")]
#[test]
fn real_trace_snapshot_is_restored() -> Outcome {
    let file = TestDir::new()?;
    let snapshots = mnemon::Snapshots::in_folder(file.folder().join("snapshots"));
    let store = manual_flush().open_at(file.path())?;
    let real = NewTrace::episodic(json!({"speaker": "Ana", "text": "café 日本", "seen": [1, 2.5, null]}))
        .tags(["ana", "s1"])
        .embedding(vec![0.25, -1.5])
        .source_agent("gull")
        .parent(TraceId::new())
        .unresolved(true);
    let id = store.insert(real)?;
    let before = store.get(id);
    store.save_snapshot(&snapshots)?;
    store.remove(id)?;
    store.restore_newest(&snapshots)?;
    assert_eq!(store.get(id), before);
    Ok(())
}

#[test]
fn stores_keep_each_others_rows() -> Outcome {
    let file = TestDir::new()?;
    let first = manual_flush().partition("shared").open_at(file.path())?;
    let ids = first.insert_many((0..5).map(note))?;
    first.flush()?;
    let second = manual_flush().partition("shared").open_at(file.path()).map(drop);
    assert_eq!(second.map_err(|error| error.kind()), Err(ErrorKind::InUse));
    first.insert(note("more"))?;
    first.close()?;
    // One after the other each has what the other has stored.
    let second = manual_flush().partition("shared").open_at(file.path())?;
    second.insert(note("of the second"))?;
    second.remove(ids[0])?;
    second.close()?;
    assert_eq!(rows(&file.reader()?)?, 6);
    Ok(())
}

#[test]
fn erased_partition_leaves_no_row() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    let gone = store.insert_many((0..5).map(|n| note(n).partition("gone")))?;
    let kept = store.insert_many((0..5).map(note))?;
    store.flush()?;
    // Not yet in the file, and links across.
    store.insert(note("unflushed").partition("gone"))?;
    store.co_activate(gone[0], kept[0])?;
    store.co_activate(gone[0], gone[1])?;
    store.co_activate(kept[0], kept[1])?;
    let report = store.erase_partition("gone")?;
    assert_eq!((report.traces, report.links, report.rows), (6, 2, 5));
    let reader = file.reader()?;
    let count = |sql: &str| reader.query_row(sql, [], |row| row.get::<_, i64>(0));
    assert_eq!(count("SELECT count(*) FROM traces WHERE partition = 'gone'")?, 0);
    assert_eq!((rows(&reader)?, count("SELECT count(*) FROM links")?), (5, 1));
    let left: BTreeSet<_> = store.iter().map(|trace| trace.id()).collect();
    assert_eq!(left, kept.into_iter().collect());
    Ok(())
}
