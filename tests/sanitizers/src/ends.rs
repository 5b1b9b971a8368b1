//! Ends: stores that are closed or dropped under the hands of writers, and threads that come and go.

use crate::threads::all;
use fault_tests::Outcome;
use fault_tests::scratch::{database, folder};
use mnemon::{ErrorKind, NewTrace, TraceId, TraceStore};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const WRITERS: usize = 4;

/// Writers write until they are refused, or have enough: what was accepted is there when the store is opened again.
pub fn closed_under_writers(rounds: usize) -> Outcome {
    const ENOUGH: usize = 4_000;
    let mut total = 0;
    for round in 0..rounds {
        let folder = folder()?;
        let path = database(&folder);
        let store = TraceStore::builder().flush_interval(Duration::ZERO).open(&path)?;
        let accepted = Arc::new(AtomicUsize::new(0));
        let writers = (0..WRITERS).map(|writer| {
            let (store, accepted) = (store.clone(), accepted.clone());
            move || {
                let mut mine = Vec::new();
                for n in 0..ENOUGH {
                    let id = TraceId::from_reference(&format!("{round} {writer} {n}"));
                    match store.insert(NewTrace::semantic(json!(n)).id(id)) {
                        Ok(id) => mine.push(id),
                        Err(error) if error.kind() == ErrorKind::Closed => break,
                        Err(error) => return Err(error.into()),
                    }
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
                Ok(mine)
            }
        });
        let closer = {
            let (store, accepted) = (store.clone(), accepted.clone());
            thread::spawn(move || {
                while accepted.load(Ordering::Relaxed) < 200 {
                    thread::yield_now();
                }
                store.close().map(drop).map_err(mnemon::Error::from)
            })
        };
        let written = all(writers)?.concat();
        closer.join().map_err(|_| "the closer panicked")??;
        total += written.len();
        drop(store);
        let store = TraceStore::open(&path)?;
        assert!(written.iter().all(|id| store.contains(*id)), "what was accepted is there");
        assert_eq!(store.len(), written.len(), "and nothing else");
    }
    println!("ends: closed under {WRITERS} writers {rounds} times, all {total} accepted traces are there");
    Ok(())
}

/// Each thread has a clone, and whoever is last drains the store.
pub fn dropped_by_whoever_is_last(rounds: usize) -> Outcome {
    let folder = folder()?;
    let path = database(&folder);
    for round in 0..rounds {
        let store = TraceStore::builder().flush_interval(Duration::ZERO).open(&path)?;
        let id = store.insert(NewTrace::semantic(json!(0)))?;
        let writers = (0..WRITERS).map(|writer| {
            let store = store.clone();
            move || {
                for n in 0..100 {
                    store.update(id, |trace| trace.payload(json!([writer, n])))?;
                }
                Ok(())
            }
        });
        let writers: Vec<_> = writers.collect();
        drop(store);
        all(writers)?;
        let store = TraceStore::open(&path)?;
        let revision = store.get(id).map(|trace| trace.revision());
        assert_eq!((store.len(), revision), (round + 1, Some(1 + 100 * WRITERS as u64)));
    }
    println!("ends: dropped by the last of {WRITERS} writers {rounds} times, all updates are there");
    Ok(())
}

/// Threads that end leave what they have replaced to others to free, and what they took with them stays.
pub fn threads_that_come_and_go(waves: usize) -> Outcome {
    const EACH: usize = 60;
    let store = TraceStore::builder().flush_interval(Duration::ZERO).in_memory()?;
    let ids = Arc::new(store.insert_many((0..4).map(|n| NewTrace::semantic(json!([n]))))?);
    let mut kept = Vec::new();
    for _ in 0..waves {
        kept.extend(all((0..WRITERS).map(|writer| {
            let (store, ids) = (store.clone(), ids.clone());
            move || {
                let mut kept = Vec::new();
                for n in 0..EACH {
                    let id = ids[(n + writer) % ids.len()];
                    kept.extend(store.update(id, |trace| trace.payload(json!([writer, n])))?);
                    kept.extend(store.get(id));
                }
                Ok(kept.split_off(kept.len() - 4))
            }
        }))?);
    }
    let updates: u64 = ids.iter().filter_map(|id| store.get(*id)).map(|trace| trace.revision() - 1).sum();
    assert_eq!(updates, (waves * WRITERS * EACH) as u64);
    drop(store);
    let texts = kept.iter().flatten().filter(|trace| trace.payload().as_str().starts_with('[')).count();
    assert_eq!(texts, 4 * waves * WRITERS, "what was taken out outlives the store");
    println!("ends: {} threads came and went, all {updates} updates count", waves * WRITERS);
    Ok(())
}
