//! What a write and a read of the store cost beside the bare map: one thread, 100,000 traces in random order.
//!
//! The other side is a `DashMap` from id to `Arc` of the same record: `get` plus cloning the `Arc`, and
//! `get_mut` plus putting a new `Arc` of a changed record in its place. It is measured with the hasher that
//! DashMap has by default and with the one that the store uses.

mod support;

use dashmap::DashMap;
use mnemon::{Trace, TraceId, TraceStore};
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use support::{fill, in_turn, report, timed};

const TRACES: usize = 100_000;
const ROUNDS: usize = 15;

fn main() -> mnemon::Result<()> {
    let store = TraceStore::builder()
        .flush_interval(Duration::from_secs(3600))
        .flush_threshold(usize::MAX)
        .in_memory()?;
    let ids = fill(&store, TRACES)?;
    store.flush()?;
    let bare: DashMap<_, _> = store.iter().map(|trace| (trace.id(), copy(&trace))).collect();
    let same_hasher: DashMap<_, _, foldhash::fast::RandomState> =
        store.iter().map(|trace| (trace.id(), copy(&trace))).collect();
    compare("default hasher", &store, &ids, &bare);
    compare("same hasher", &store, &ids, &same_hasher);
    Ok(())
}

/// The same record in an allocation of its own.
fn copy(trace: &Arc<Trace>) -> Arc<Trace> {
    Arc::new(Trace::clone(trace))
}

fn compare<S: BuildHasher + Clone>(
    hasher: &str,
    store: &TraceStore,
    ids: &[TraceId],
    bare: &DashMap<TraceId, Arc<Trace>, S>,
) {
    let each = 1e9 / ids.len() as f64;
    assert!(store.flush().is_ok());
    let gets = in_turn(
        ROUNDS,
        || timed(|| ids.iter().for_each(|id| drop(black_box(store.get(*id))))),
        || {
            timed(|| {
                ids.iter().for_each(|id| drop(black_box(bare.get(id).map(|found| found.value().clone()))))
            })
        },
    );
    report(&format!("get, beside DashMap with {hasher}"), "ns", &gets, each, 2.0);
    for (what, flushes) in [("update of a number", false), ("the same, each the first after a flush", true)] {
        let mut round = 0;
        let mut next = || {
            round += 1;
            f64::from(round % 100) / 100.0
        };
        let updates = in_turn(
            ROUNDS,
            || {
                let confidence = next();
                if flushes {
                    // Outside the measured time, as it is outside the writers' threads.
                    assert!(store.flush().is_ok());
                }
                timed(|| {
                    for id in ids {
                        black_box(store.update(*id, |trace| trace.confidence(confidence)).is_ok());
                    }
                })
            },
            || {
                timed(|| {
                    for id in ids {
                        if let Some(mut found) = bare.get_mut(id) {
                            let changed = Trace::clone(black_box(found.value()));
                            *found.value_mut() = Arc::new(changed);
                        }
                    }
                })
            },
        );
        report(&format!("{what}, beside DashMap with {hasher}"), "ns", &updates, each, 2.0);
    }
}
