//! What has been replaced or removed is freed, also if the threads that did it never do anything again.

use harness::Outcome;
use harness::process::alone;
use mnemon::{NewTrace, Payload, Trace, TraceId, TraceStore};
use std::sync::{Arc, Barrier, Mutex, Weak};

const THREADS: usize = 8;
const ROUNDS: usize = 60;

/// Each thread replaces a large trace of its own many times, removes it if told to, and idles while `meanwhile` runs,
/// which gets all versions that there were, and returns how many it leaves.
fn left_by_idle_threads(
    store: TraceStore,
    removes: bool,
    meanwhile: impl FnOnce(TraceStore, &[Weak<Trace>]) -> usize,
) -> usize {
    let payloads = ["a", "b"].map(|letter| Payload::text(&letter.repeat(1 << 19)));
    let (idle, replaced) = (Barrier::new(THREADS + 1), Mutex::new(Vec::new()));
    let left = std::thread::scope(|scope| {
        for _ in 0..THREADS {
            let (store, payloads, idle, replaced) = (store.clone(), &payloads, &idle, &replaced);
            scope.spawn(move || {
                let versions = replace(&store, payloads, removes);
                drop(store);
                if let (Ok(versions), Ok(mut replaced)) = (versions, replaced.lock()) {
                    replaced.extend(versions);
                }
                idle.wait();
                idle.wait();
            });
        }
        idle.wait();
        let left = replaced.lock().map(|replaced| meanwhile(store, &replaced));
        idle.wait();
        left.expect("nobody panics")
    });
    assert_eq!(
        replaced.lock().map(|replaced| replaced.len()).ok(),
        Some(THREADS * ROUNDS),
        "all was written"
    );
    left
}

fn replace(store: &TraceStore, payloads: &[Payload; 2], removes: bool) -> mnemon::Result<Vec<Weak<Trace>>> {
    let id = TraceId::new();
    store.insert(NewTrace::semantic(payloads[0].clone()).id(id))?;
    let mut versions = Vec::new();
    for round in 1..=ROUNDS {
        let changed = store.update(id, |trace| trace.payload(payloads[round % 2].clone()))?;
        versions.extend(changed.as_ref().map(Arc::downgrade));
    }
    if removes {
        store.remove(id)?;
    }
    Ok(versions)
}

fn live(versions: &[Weak<Trace>]) -> usize {
    versions.iter().filter(|version| version.strong_count() > 0).count()
}

#[test]
fn idle_threads_keep_no_garbage() -> Outcome {
    alone(|| {
        let left = left_by_idle_threads(TraceStore::in_memory(), true, |store, versions| {
            // The thread that keeps the views may hold one for a moment.
            for n in 0..1_000 {
                let cut = store
                    .insert(NewTrace::semantic(Payload::text(&n.to_string())))
                    .and_then(|_| store.flush());
                if cut.is_err() || live(versions) == 0 {
                    break;
                }
            }
            live(versions)
        });
        assert_eq!(left, 0, "versions are kept for threads that idle");
        Ok(())
    })
}

#[test]
fn closed_and_dropped_store_leaves_nothing() -> Outcome {
    alone(|| {
        let left = left_by_idle_threads(TraceStore::in_memory(), false, |store, versions| {
            let closed = store.close();
            if closed.is_ok() { live(versions) } else { usize::MAX }
        });
        assert_eq!(left, 0, "versions outlive the store");
        Ok(())
    })
}

/// A handle that a caller keeps holds that version alone.
#[test]
fn held_trace_keeps_no_other() -> Outcome {
    alone(|| {
        let store = TraceStore::in_memory();
        let id = store.insert(NewTrace::semantic(Payload::text("first")))?;
        let first = Arc::downgrade(&store.get(id).ok_or("it is there")?);
        store.flush()?;
        let held = store.update(id, |trace| trace.confidence(0.25))?;
        assert!(first.strong_count() > 0, "it is the image before");
        drop(store);
        assert_eq!((held.map(|held| held.confidence()), first.strong_count()), (Some(0.25), 0));
        Ok(())
    })
}
