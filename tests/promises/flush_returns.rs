//! `flush` returns when its caller's earlier writes are in the file, and callers share cuts.
#![cfg(feature = "sqlite")]

use crate::OpenAt;
use harness::backend::{Answer, look, scripted};
use harness::{Outcome, TestDir, manual_flush, note, row, wait_until};
use mnemon::{ErrorKind, Health, TraceStore};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

#[test]
fn callers_writes_are_in_the_file() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    thread::scope(|scope| {
        let callers: Vec<_> = (0..8)
            .map(|thread| {
                let (store, file) = (&store, &file);
                scope.spawn(move || {
                    for n in 0..25 {
                        let wrote = || -> Outcome<bool> {
                            let id = store.insert(note((thread, n)))?;
                            store.flush()?;
                            Ok(row(&file.reader()?, id)?.is_some())
                        };
                        assert!(wrote().is_ok_and(|there| there), "thread {thread}, write {n}");
                    }
                })
            })
            .collect();
        callers.into_iter().try_for_each(std::thread::ScopedJoinHandle::join)
    })
    .map_err(|_| "a caller's write was not there")?;
    Ok(())
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn flush_async_needs_no_runtime() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    let id = store.insert(note(1))?;
    let first = store.flush_async();
    let second = store.flush_async();
    assert!(block_on(second)?.rows_upserted <= 1, "none where the first was flushed before it was asked for");
    assert_eq!(block_on(first)?.rows_upserted, 1);
    assert!(row(&file.reader()?, id)?.is_some());
    assert_eq!(block_on(store.flush_async())?.rows_upserted, 0);
    // A future that is dropped takes nothing back.
    let id = store.insert(note(2))?;
    drop(store.flush_async());
    let durable = || row(&file.reader()?, id);
    wait_until(|| durable().is_ok_and(|found| found.is_some()));
    Ok(())
}

#[test]
fn mark_waits_for_covering_flush() -> Outcome {
    let full = Arc::new(AtomicBool::new(true));
    let is_full = full.clone();
    let (backend, log) = scripted(move |_| {
        if is_full.load(Ordering::Relaxed) { Answer::Fail(ErrorKind::DiskFull) } else { Answer::Apply }
    });
    let store = TraceStore::builder().flush_interval(Duration::from_secs(3600)).open_with(backend)?;
    assert_eq!(block_on(store.wait(store.mark()))?.rows_upserted, 0, "nothing was written");
    let id = store.insert(note(1))?;
    let mark = store.mark();
    assert_eq!(mark, store.mark());
    let mut context = Context::from_waker(Waker::noop());
    let mut waiting = pin!(store.wait(mark));
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    assert!(store.flush().is_err());
    assert_eq!(block_on(waiting).err().map(|error| error.kind()), Some(ErrorKind::DiskFull));
    full.store(false, Ordering::Relaxed);
    let again = store.wait(mark);
    store.flush()?;
    assert_eq!(block_on(again)?.watermark, mark.generation().max(store.watermark().durable));
    assert!(look(&log).live.contains(id));
    Ok(())
}

#[test]
fn callers_that_wait_share_a_cut() -> Outcome {
    let (go, wait) = mpsc::channel::<()>();
    let (backend, _) = scripted(move |_| {
        // Held until the test lets it go; the sender's end lets all go.
        let _ = wait.recv();
        Answer::Apply
    });
    let store = TraceStore::builder().flush_interval(Duration::from_secs(3600)).open_with(backend)?;
    thread::scope(|scope| -> Outcome {
        store.insert(note("first"))?;
        let first = scope.spawn(|| store.flush());
        wait_until(|| store.stats().cuts == 1);
        // All of these come while the first is being applied: one more cut serves them.
        store.insert(note("second"))?;
        let waiting: Vec<_> = (0..6).map(|_| store.flush_async()).collect();
        drop(go);
        assert!(first.join().is_ok_and(|flushed| flushed.is_ok()));
        for flush in waiting {
            block_on(flush)?;
        }
        assert_eq!(store.stats().cuts, 2);
        Ok(())
    })
}

#[test]
fn flush_after_failure_tries_again() -> Outcome {
    let mut failures = 1;
    let (backend, log) = scripted(move |_| match std::mem::take(&mut failures) {
        0 => Answer::Apply,
        _ => Answer::Fail(ErrorKind::DiskFull),
    });
    let store = TraceStore::builder().flush_interval(Duration::from_secs(3600)).open_with(backend)?;
    let id = store.insert(note(1))?;
    let error = store.flush().err().ok_or("the first flush fails")?;
    assert_eq!(error.kind(), ErrorKind::DiskFull);
    assert!(matches!(store.health(), Health::Degraded { kind: ErrorKind::DiskFull, attempts: 1, .. }));
    assert_eq!(store.stats().dirty, 1, "nothing is lost");
    assert_eq!(store.flush()?.rows_upserted, 1);
    assert!(look(&log).live.contains(id));
    assert_eq!((store.health(), store.stats().dirty), (Health::Healthy, 0));
    assert_eq!(store.stats().last_error.map(|error| error.kind()), Some(ErrorKind::DiskFull));
    Ok(())
}

#[test]
fn flush_of_nothing_makes_no_cut() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    store.insert(note(1))?;
    store.flush()?;
    let cuts = store.stats().cuts;
    let report = store.flush()?;
    assert_eq!((report.rows_upserted, store.stats().cuts), (0, cuts));
    Ok(())
}

#[test]
fn dropped_future_lets_its_waker_go() -> Outcome {
    let file = TestDir::new()?;
    let store = manual_flush().open_at(file.path())?;
    store.insert(note(1))?;
    let unpark = Arc::new(Unpark(thread::current()));
    let waker = Waker::from(unpark.clone());
    // Nobody flushes.
    let mut waiting = Box::pin(store.wait(store.mark()));
    assert!(waiting.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(Arc::strong_count(&unpark), 3, "it is kept to be woken");
    drop(waiting);
    assert_eq!(Arc::strong_count(&unpark), 2);
    Ok(())
}
