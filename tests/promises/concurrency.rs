//! Many threads and a flusher that never rests: nothing is lost, nothing is torn, nobody waits for ever.
#![cfg(feature = "sqlite")]

use crate::OpenAt;
use harness::backend::{Answer, look, scripted};
use harness::{Outcome, TestDir, by_id, flush_always, note};
use mnemon::backend::TraceChange;
use mnemon::{ErrorKind, Trace, TraceEdit, TraceId, TraceStore};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

#[test]
fn store_is_send_and_sync() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<TraceStore>();
}

#[test]
fn eight_threads_lose_no_write() -> Outcome {
    let file = TestDir::new()?;
    let store = flush_always().open_at(file.path())?;
    let ids = store.insert_many((0..64).map(note))?;
    thread::scope(|scope| {
        for thread in 0..8_usize {
            let (store, ids) = (&store, &ids);
            scope.spawn(move || {
                for n in 0..2_000 {
                    let id = ids[(n * 7 + thread) % ids.len()];
                    let done = match n % 4 {
                        0 => store.insert(note((thread, n))).map(drop),
                        1 => {
                            store.update(id, |trace| trace.payload(serde_json::json!([thread, n]))).map(drop)
                        }
                        _ => store.update(id, |trace| trace.confidence(n as f64 / 2_000.0)).map(drop),
                    };
                    assert!(done.is_ok(), "{done:?}");
                }
            });
        }
    });
    let before = by_id(&store);
    assert_eq!(before.len(), 64 + 8 * 500);
    assert!(store.stats().cuts > 1, "the flusher was at work");
    store.close()?;
    assert_eq!(by_id(&TraceStore::builder().open_at(file.path())?), before);
    Ok(())
}

#[test]
fn concurrent_increments_all_count() -> Outcome {
    const THREADS: u32 = 8;
    const EACH: u32 = 2_000;
    let file = TestDir::new()?;
    let store = flush_always().open_at(file.path())?;
    let id = store.insert(note(0).payload(serde_json::json!(0)))?;
    fn count(trace: &Trace) -> Option<u64> {
        trace.payload().as_value().ok()?.as_u64()
    }
    fn add(trace: TraceEdit<'_>) -> TraceEdit<'_> {
        let n = count(trace.before()).map_or(0, |n| n + 1);
        trace.payload(serde_json::json!(n))
    }
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = &store;
            scope.spawn(move || {
                for _ in 0..EACH {
                    // Half of the threads by update, half by compare-and-set, from what they have seen.
                    loop {
                        let done = match store.get(id) {
                            Some(seen) if thread % 2 == 1 => {
                                let n = count(&seen).map(|n| n + 1);
                                store.update_if(id, seen.revision(), |trace| {
                                    trace.payload(serde_json::json!(n))
                                })
                            }
                            _ => store.update(id, add),
                        };
                        match done {
                            Ok(changed) => break assert!(changed.is_some()),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::RevisionConflict),
                        }
                    }
                }
            });
        }
    });
    let total = u64::from(THREADS * EACH);
    store.close()?;
    let trace = TraceStore::builder().open_at(file.path())?.get(id).ok_or("the trace is there")?;
    assert_eq!((count(&trace), trace.revision()), (Some(total), total + 1));
    Ok(())
}

/// Both find the ids free, and meet in the middle.
#[test]
fn racing_bulk_insertions_are_whole() -> Outcome {
    const TRACES: usize = 64;
    let store = TraceStore::builder().flush_interval(Duration::ZERO).in_memory()?;
    let start = Barrier::new(2);
    for round in 0..harness::rounds(200, 1_000) {
        let ids: Vec<_> = (0..TRACES).map(|_| TraceId::new()).collect();
        let insert = |forwards: bool| {
            let order: Vec<_> = if forwards { ids.clone() } else { ids.iter().rev().copied().collect() };
            start.wait();
            store.insert_many(order.into_iter().map(|id| note(forwards).id(id))).map(drop)
        };
        let done = thread::scope(|scope| {
            let backwards = scope.spawn(|| insert(false));
            [insert(true).is_ok(), backwards.join().is_ok_and(|done| done.is_ok())]
        });
        let stored = |by: bool| {
            let by = serde_json::json!({"note": by}).to_string();
            ids.iter().filter_map(|id| store.get(*id)).filter(|trace| trace.payload().as_str() == by).count()
        };
        let expected = done.map(|done| if done { TRACES } else { 0 });
        assert_eq!([stored(true), stored(false)], expected, "round {round}");
        for id in ids {
            store.remove(id)?;
        }
    }
    assert!(store.is_empty());
    Ok(())
}

/// A thread writes `a`, then `b`, with rising numbers: in what is committed, `b` is never ahead of `a`.
#[test]
fn cut_shows_no_effect_without_cause() -> Outcome {
    const PAIRS: u64 = 20_000;
    let [a, b] = [TraceId::from_reference("a"), TraceId::from_reference("b")];
    let mut committed = [0; 2];
    let (backend, log) = scripted(move |batch| {
        for change in batch.traces {
            if let TraceChange::Upsert { trace, .. } | TraceChange::UpdateNumbers { trace, .. } = change {
                committed[usize::from(trace.id() == b)] = trace.revision();
            }
        }
        assert!(committed[1] <= committed[0], "torn: a is at {}, b at {}", committed[0], committed[1]);
        Answer::Apply
    });
    let store = TraceStore::builder().flush_interval(Duration::ZERO).flush_threshold(1).open_with(backend)?;
    store.insert(note(0).id(a))?;
    store.insert(note(0).id(b))?;
    for n in 1..=PAIRS {
        for id in [a, b] {
            store.update(id, |trace| trace.payload(serde_json::json!(n)))?;
        }
    }
    store.flush()?;
    let stats = store.stats();
    assert!(stats.last_error.is_none(), "{:?}", stats.last_error);
    assert!(stats.cuts > 10, "the flusher was at work");
    let log = look(&log);
    assert_eq!(log.live.trace(b).map(|trace| trace.revision()), Some(PAIRS + 1), "the last write is there");
    Ok(())
}

#[test]
fn closures_and_iteration_hold_no_lock() -> Outcome {
    let file = TestDir::new()?;
    let store = flush_always().open_at(file.path())?;
    let ids = store.insert_many((0..1_000).map(note))?;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (store, stop) = (store.clone(), stop.clone());
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                assert!(store.insert(note("meanwhile")).is_ok());
            }
        })
    };
    let mut seen = 0;
    for trace in store.iter() {
        // Each of these takes the lock of a shard, perhaps of the one that is being iterated.
        store.insert(note("inside"))?;
        store.update(trace.id(), |edit| {
            let others = store
                .get(ids[0])
                .into_iter()
                .chain(store.insert(note("nested")).ok().and_then(|id| store.get(id)));
            edit.confidence(1.0 / (1.0 + others.count() as f64))
        })?;
        seen += 1;
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().map_err(|_| "the writer panicked")?;
    assert!(seen >= ids.len(), "what was there from the beginning was seen");
    Ok(())
}
