//! Opening, closing, dropping, and what a store does after its end.
#![cfg(feature = "sqlite")]

use crate::OpenAt;
use harness::backend::{Answer, look, scripted};
use harness::{Outcome, TestDir, by_id, flush_always, manual_flush, note, wait_until};
use mnemon::{ErrorKind, Health, NewTrace, TraceStore, inspect};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

#[test]
fn open_close_reopen() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    store.insert_many((0..100).map(note))?;
    let while_open = inspect(file.path())?;
    assert_eq!((while_open.clean, while_open.in_use_by), (false, Some(std::process::id())));
    let before = by_id(&store);
    let watermark = store.close()?;
    assert_eq!(watermark.committed, watermark.durable);
    let closed = inspect(file.path())?;
    assert_eq!((closed.clean, closed.in_use_by, closed.traces), (true, None, 100));
    assert_eq!((closed.watermark, closed.wal_bytes), (watermark.durable, 0));
    let store = manual_flush().open_at(file.path())?;
    assert_eq!((by_id(&store), store.stats().dirty), (before, 0), "loading makes nothing dirty");
    assert!(store.watermark().durable >= watermark.durable, "generations go on");
    Ok(())
}

#[test]
fn closed_store_refuses_writes_serves_reads() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    let id = store.insert(note(1))?;
    let clone = store.clone();
    store.close()?;
    let unknown = mnemon::TraceId::new();
    let refused = [
        clone.insert(note(2)).err(),
        clone.insert_many([note(3)]).err(),
        clone.update(id, |trace| trace.confidence(0.1)).err(),
        clone.update(id, |trace| trace).err(),
        clone.update(unknown, |trace| trace).err(),
        clone.update_if(id, 1, |trace| trace.confidence(0.1)).err(),
        clone.remove(id).err(),
        clone.remove(unknown).err(),
    ];
    for (at, error) in refused.into_iter().enumerate() {
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Closed), "write {at}");
    }
    assert_eq!((clone.health(), clone.len(), clone.get(id).is_some()), (Health::Closed, 1, true));
    clone.flush()?; // there is nothing to flush
    clone.close()?; // closing twice is no error
    Ok(())
}

/// Each write says whether it is in the file: there is nothing between success and `Closed`.
#[test]
fn write_racing_close_stored_or_refused() -> Outcome {
    for round in 0..20 {
        let file = TestDir::new()?;
        // Now and then with a flush in the way of the close.
        let builder = if round % 5 == 0 { flush_always() } else { manual_flush() };
        let store = builder.open_at(file.path())?;
        let written = AtomicUsize::new(0);
        let mut kept = Vec::new();
        thread::scope(|scope| -> Outcome {
            let writers: Vec<_> = (0..4)
                .map(|_| {
                    let (store, written) = (store.clone(), &written);
                    scope.spawn(move || {
                        let mut kept = Vec::new();
                        loop {
                            match store.insert(note(kept.len())) {
                                Ok(id) => kept.push(id),
                                Err(error) => return (kept, error.kind()),
                            }
                            written.fetch_add(1, Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            wait_until(|| written.load(Ordering::Relaxed) > 100);
            store.close()?;
            for writer in writers {
                let (ids, end) = writer.join().map_err(|_| "a writer panicked")?;
                assert_eq!(end, ErrorKind::Closed);
                kept.extend(ids);
            }
            Ok(())
        })?;
        let store = manual_flush().open_at(file.path())?;
        assert!(kept.iter().all(|id| store.contains(*id)), "what was taken is kept");
        assert_eq!(store.len(), kept.len(), "and nothing that was refused");
    }
    Ok(())
}

#[test]
fn last_drop_drains_anywhere() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    let id = store.insert(note(1))?;
    let clone = store.clone();
    drop(store);
    assert!(clone.insert(note(2)).is_ok(), "a clone is left");
    thread::spawn(move || drop(clone)).join().map_err(|_| "the drop panicked")?;
    assert!(inspect(file.path())?.clean);
    let store = manual_flush().open_at(file.path())?;
    assert_eq!((store.len(), store.get(id).is_some()), (2, true));
    Ok(())
}

/// A close before the flusher's thread had started once left that thread asleep for ever.
#[test]
fn opening_and_closing_at_once_ends() -> Outcome {
    for _ in 0..500 {
        TraceStore::in_memory().close()?;
        drop(TraceStore::in_memory());
    }
    Ok(())
}

#[test]
fn timed_out_close_returns_store() -> Outcome {
    let (go, wait) = mpsc::channel::<()>();
    let (backend, log) = scripted(move |_| {
        let _ = wait.recv();
        Answer::Apply
    });
    let builder = TraceStore::builder().flush_interval(Duration::from_secs(3600));
    let store = builder.close_timeout(Duration::from_secs(2)).open_with(backend)?;
    let first = store.insert(note(1))?;
    let failed = store.close().err().ok_or("the backend hangs")?;
    assert_eq!(failed.error.kind(), ErrorKind::TimedOut);
    assert!(failed.to_string().contains("1 changed"), "{failed}");
    let store = failed.store;
    let second = store.insert(note(2))?;
    drop(go);
    store.close()?;
    let rows = &look(&log).live.state().traces;
    assert!(rows.contains_key(&first) && rows.contains_key(&second));
    Ok(())
}

/// A patience that ends about when the drain does: either the close has succeeded, or the store is not closed.
#[test]
fn late_close_timeout_leaves_store_open() -> Outcome {
    let mut timed_out = 0;
    for patience in (0..6_000).map(|n| Duration::from_micros(n % 120)) {
        let builder = TraceStore::builder().flush_interval(Duration::from_secs(3600));
        let store = builder.close_timeout(patience).in_memory()?;
        store.insert(note(1))?;
        if let Err(failed) = store.close() {
            timed_out += 1;
            assert_ne!(failed.store.health(), Health::Closed, "after {patience:?}: {failed}");
        }
    }
    assert!(timed_out > 0, "the patience was too long to show anything");
    Ok(())
}

/// Before the end is tried again everything is flushed, and that succeeds; the end's own failure stays the reason.
#[test]
fn timed_out_retry_says_what_failed() -> Outcome {
    let (go, wait) = mpsc::channel::<()>();
    let (entered, tried_again) = mpsc::channel::<()>();
    let mut failures = 1;
    let (backend, _) = scripted(|_| Answer::Apply);
    let backend = backend.on_close(move || match std::mem::take(&mut failures) {
        0 => {
            let _ = entered.send(());
            let _ = wait.recv();
            None
        }
        _ => Some(ErrorKind::Unreachable),
    });
    let builder = TraceStore::builder().flush_interval(Duration::from_secs(3600));
    let store = builder.close_timeout(Duration::from_secs(2)).open_with(backend)?;
    store.insert(note(1))?;
    let failed = store.close().err().ok_or("the end hangs")?;
    tried_again.try_recv()?;
    assert_eq!(failed.error.kind(), ErrorKind::Unreachable, "{failed:?}");
    drop(go);
    failed.store.close()?;
    Ok(())
}

#[test]
fn failed_close_says_why_goes_on() -> Outcome {
    let full = Arc::new(AtomicBool::new(true));
    let asked = full.clone();
    let (backend, log) = scripted(move |_| {
        if asked.load(Ordering::Relaxed) { Answer::Fail(ErrorKind::DiskFull) } else { Answer::Apply }
    });
    let builder = TraceStore::builder().flush_interval(Duration::from_secs(3600));
    let store = builder.close_timeout(Duration::from_secs(2)).open_with(backend)?;
    let id = store.insert(note(1))?;
    let failed = store.close().err().ok_or("the disk is full")?;
    assert_eq!(failed.error.kind(), ErrorKind::DiskFull);
    let store = failed.store;
    store.update(id, |trace| trace.confidence(0.25))?;
    full.store(false, Ordering::Relaxed);
    store.flush()?;
    store.close()?;
    assert_eq!(look(&log).live.trace(id).map(|trace| trace.confidence()), Some(0.25));
    Ok(())
}

/// After many failures the next try is half a minute away; a close does not wait for it.
#[test]
fn close_ignores_backoff() -> Outcome {
    let full = Arc::new(AtomicBool::new(true));
    let asked = full.clone();
    let (backend, log) = scripted(move |_| {
        if asked.load(Ordering::Relaxed) { Answer::Fail(ErrorKind::DiskFull) } else { Answer::Apply }
    });
    let builder = TraceStore::builder().flush_interval(Duration::from_secs(3600));
    let store = builder.close_timeout(Duration::from_secs(10)).open_with(backend)?;
    let id = store.insert(note(1))?;
    for attempt in 1..=10 {
        assert!(store.flush().is_err());
        assert!(matches!(store.health(), Health::Degraded { attempts, .. } if attempts >= attempt));
    }
    full.store(false, Ordering::Relaxed);
    store.close()?;
    assert!(look(&log).live.contains(id));
    Ok(())
}

/// The drop gives up waiting, the flusher does not give up trying.
#[test]
fn undrained_drop_drains_later() -> Outcome {
    let (go, wait) = mpsc::channel::<()>();
    let (backend, log) = scripted(move |_| {
        let _ = wait.recv();
        Answer::Apply
    });
    let builder = TraceStore::builder().flush_interval(Duration::from_secs(3600));
    let store = builder.close_timeout(Duration::from_millis(10)).open_with(backend)?;
    let id = store.insert(note(1))?;
    drop(store);
    assert!(look(&log).live.state().traces.is_empty());
    drop(go);
    wait_until(|| look(&log).live.contains(id));
    Ok(())
}

#[test]
fn in_memory_store_closes_alike() -> Outcome {
    let store = TraceStore::builder().partition("elsewhere").in_memory()?;
    let id = store.insert(NewTrace::identity(serde_json::json!("I")))?;
    store.flush()?;
    assert_eq!(store.get(id).map(|trace| trace.partition().to_owned()), Some("elsewhere".to_owned()));
    let clone = store.clone();
    store.close()?;
    assert_eq!(clone.remove(id).err().map(|error| error.kind()), Some(ErrorKind::Closed));
    Ok(())
}

/// The drop of a thread that panics is the drop of any other: it drains, and one panic stays one.
#[test]
fn drop_while_unwinding_drains() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    let id = store.insert(note(1))?;
    let panicked = thread::spawn(move || {
        store.insert(note(2)).and_then(|_| store.update(id, |_| panic!("of the caller's own"))).map(drop)
    });
    let panic = panicked.join().err().ok_or("the closure panics")?;
    assert_eq!(panic.downcast_ref(), Some(&"of the caller's own"), "and no other panic took its place");
    assert!(inspect(file.path())?.clean);
    let store = manual_flush().open_at(file.path())?;
    assert_eq!(
        (store.len(), store.get(id).map(|trace| trace.revision())),
        (2, Some(1)),
        "and nothing by halves"
    );
    Ok(())
}

/// Neither can what goes wrong in such a drop: it is logged, and the panic goes on.
#[test]
fn undrainable_drop_while_unwinding_ends() -> Outcome {
    let answers: [fn() -> Answer; 2] =
        [|| Answer::Fail(ErrorKind::DiskFull), || panic!("of the backend's own")];
    for answer in answers {
        let (backend, log) = scripted(move |_| answer());
        let builder = TraceStore::builder().flush_interval(Duration::from_secs(3600));
        let store = builder.close_timeout(Duration::from_millis(50)).open_with(backend)?;
        store.insert(note(1))?;
        let panicked = catch_unwind(AssertUnwindSafe(move || {
            let _dropped_by_the_panic = store;
            panic!("of the caller's own");
        }));
        let panic = panicked.err().ok_or("it panics")?;
        assert_eq!(panic.downcast_ref(), Some(&"of the caller's own"));
        assert!(look(&log).live.state().traces.is_empty());
    }
    Ok(())
}

#[test]
fn panicking_closures_leave_store_working() -> Outcome {
    let file = TestDir::new()?;
    let store = flush_always().open_at(file.path())?;
    let ids = store.insert_many((0..8).map(note))?;
    let writers: Vec<_> = (0..4_u32)
        .map(|writer| {
            let (store, ids) = (store.clone(), ids.clone());
            thread::spawn(move || {
                for round in 0..200 {
                    let id = ids[(writer as usize + round) % ids.len()];
                    let changed = catch_unwind(AssertUnwindSafe(|| {
                        store.update(id, |trace| {
                            let trace = trace.payload(serde_json::json!([writer, round]));
                            assert!(round % 3 > 0, "of the caller's own");
                            trace
                        })
                    }));
                    assert_eq!(changed.is_err(), round % 3 == 0);
                }
                panic!("at its end");
            })
        })
        .collect();
    for writer in writers {
        assert!(writer.join().is_err());
    }
    let revisions: u64 = by_id(&store).iter().map(|trace| trace.revision() - 1).sum();
    assert_eq!(revisions, 4 * 133, "each change that did not panic, and no other");
    let before = by_id(&store);
    store.close()?;
    assert_eq!(by_id(&manual_flush().open_at(file.path())?), before);
    Ok(())
}

/// The flusher wakes who waits for a flush: what the waker owns may be the last of the store.
#[test]
fn drop_on_flusher_thread_never_waits() -> Outcome {
    struct Last(std::sync::Mutex<Option<TraceStore>>, mpsc::Sender<bool>);
    impl std::task::Wake for Last {
        fn wake(self: Arc<Self>) {
            drop(self.0.lock().map(|mut store| store.take()));
            let name = thread::current().name().map(str::to_owned);
            let _ = self.1.send(name.as_deref() == Some("mnemon-flusher"));
        }
    }
    let file = TestDir::new()?;
    // Longer than this test waits: a drop that waited for itself would be noticed.
    let store = harness::manual_flush().close_timeout(Duration::from_secs(3600)).open_at(file.path())?;
    store.insert(note(1))?;
    let (woken, by) = mpsc::channel();
    // The flush must not be over before the waker is there.
    let lock = file.reader()?;
    lock.execute_batch("BEGIN IMMEDIATE")?;
    let mut flush = Box::pin(store.flush_async());
    let waker = Arc::new(Last(std::sync::Mutex::new(Some(store)), woken)).into();
    assert!(flush.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    drop(waker);
    lock.execute_batch("ROLLBACK")?;
    assert!(by.recv_timeout(Duration::from_secs(60))?, "it was dropped in the flusher's thread");
    // The end is marked before the file is given up.
    wait_until(|| inspect(file.path()).is_ok_and(|report| report.clean && report.in_use_by.is_none()));
    assert_eq!(manual_flush().open_at(file.path())?.len(), 1);
    Ok(())
}
