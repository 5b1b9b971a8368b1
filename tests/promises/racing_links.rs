//! Links made and removed by several threads at once: each row of a link has the rows of both its traces.
#![cfg(feature = "sqlite")]

use super::links::{rows, traces};
use crate::OpenAt;
use harness::{Outcome, TestDir, manual_flush};
use mnemon::{NewTrace, TraceId, TraceStore};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[test]
fn concurrent_co_activations_all_count() -> Outcome {
    let store = TraceStore::in_memory();
    let [a, b] = traces(&store, 2)?[..] else { unreachable!() };
    let formed = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    (0..500).filter(|_| store.co_activate(a, b).is_ok_and(|link| link.count() == 3)).count()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(99)).sum::<usize>()
    });
    assert_eq!((store.link(a, b).map(|link| link.count()), formed), (Some(4_000), 1));
    Ok(())
}

/// Removals and insertions race co-activations over a few ids while the flusher never rests: in every state of the
/// file each link joins traces that are there, and in the end file and memory agree.
#[test]
fn racing_links_always_have_traces() -> Outcome {
    let scratch = TestDir::new()?;
    let store = TraceStore::builder().flush_interval(Duration::ZERO).open_at(scratch.path())?;
    let all: Vec<_> = (0..6).map(|n| TraceId::from_reference(&n.to_string())).collect();
    let (done, seen, start) = (AtomicBool::new(false), AtomicBool::new(false), Barrier::new(5));
    let refused = std::thread::scope(|scope| -> Outcome<usize> {
        let looking = scope.spawn(|| {
            start.wait();
            while !done.load(Ordering::Relaxed) {
                let Ok((links, dangling)) = rows(&scratch) else { continue };
                assert_eq!(dangling, 0, "{links:?}");
                seen.fetch_or(!links.is_empty(), Ordering::Relaxed);
            }
        });
        let workers: Vec<_> = (0..4)
            .map(|worker: usize| {
                let (store, all, start, seen) = (&store, &all, &start, &seen);
                scope.spawn(move || {
                    start.wait();
                    let mut refused = 0;
                    // Long enough, and until links were there to be looked at.
                    let enough = |n| n >= 20_000 && (seen.load(Ordering::Relaxed) || n >= 1_000_000);
                    for n in (0_usize..).take_while(|n| !enough(*n)) {
                        let (a, b) = (all[(n * 7 + worker) % 6], all[(n * 5 + 3 * worker + 1) % 6]);
                        match n % 8 {
                            0 => refused += usize::from(store.remove(a).is_err()),
                            1 => drop(store.insert(NewTrace::sensory(json!(n)).id(a))),
                            _ => refused += usize::from(store.co_activate(a, b).is_err()),
                        }
                    }
                    refused
                })
            })
            .collect();
        let refused = workers.into_iter().map(|worker| worker.join().unwrap_or_default()).sum();
        done.store(true, Ordering::Relaxed);
        assert!(looking.join().is_ok(), "a link row was without its traces");
        assert!(seen.load(Ordering::Relaxed), "links were there to be looked at");
        Ok(refused)
    })?;
    assert!(refused > 0, "some came too late");
    let links: BTreeSet<_> =
        all.iter().flat_map(|id| store.links(*id)).map(|link| (link.ends(), link.count())).collect();
    assert_eq!(links.len(), store.link_count(), "every link is found from its ends");
    for ((a, b), _) in &links {
        assert!(store.contains(*a) && store.contains(*b));
    }
    store.flush()?;
    let (stored, dangling) = rows(&scratch)?;
    assert_eq!(dangling, 0);
    assert_eq!(stored.into_iter().map(|(a, b, count)| ((a, b), count)).collect::<BTreeSet<_>>(), links);
    Ok(())
}

/// The removal of a trace with many links takes its time, and cuts fall in the middle of it.
#[test]
fn cut_during_removal_leaves_no_link() -> Outcome {
    let scratch = TestDir::new()?;
    let store = manual_flush().open_at(scratch.path())?;
    let others = traces(&store, 3_000)?;
    let hub = TraceId::from_reference("hub");
    let (done, mut in_the_middle) = (AtomicBool::new(false), 0);
    for _ in 0..10 {
        store.insert(NewTrace::semantic(json!("hub")).id(hub))?;
        others.iter().try_for_each(|other| store.co_activate(hub, *other).map(drop))?;
        store.flush()?;
        let cuts = store.stats().cuts;
        done.store(false, Ordering::Relaxed);
        let flushed = std::thread::scope(|scope| -> Outcome<u64> {
            let flushing = scope.spawn(|| -> mnemon::Result<()> {
                while !done.load(Ordering::Relaxed) {
                    store.flush()?;
                    assert_eq!(rows(&scratch).map_or(1, |(_, dangling)| dangling), 0);
                }
                Ok(())
            });
            let linking =
                scope.spawn(|| others.iter().filter(|other| store.co_activate(hub, **other).is_ok()).count());
            store.remove(hub)?;
            done.store(true, Ordering::Relaxed);
            assert!(linking.join().is_ok());
            flushing.join().map_err(|_| "a link without its trace")??;
            Ok(store.stats().cuts - cuts)
        })?;
        in_the_middle += flushed;
        assert_eq!((store.link_count(), store.links(others[0]).len()), (0, 0));
    }
    assert!(in_the_middle > 0);
    Ok(())
}
