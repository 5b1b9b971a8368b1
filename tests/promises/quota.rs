//! The quota: which traces go, how many, and which never.
#![cfg(feature = "sqlite")]

use super::retrieval::settle;
use crate::OpenAt;
use harness::{Outcome, TestDir, clock, manual_flush, minutes, note, seconds};
use mnemon::{Eviction, NewTrace, Payload, Quota, TraceId, TraceStore};
use serde_json::json;

fn sized(bytes: usize) -> NewTrace {
    NewTrace::semantic(json!("x".repeat(bytes - 2)))
}

fn quota(max_traces: usize, max_bytes: u64, eviction: Eviction) -> Quota {
    Quota { max_traces, max_bytes, eviction }
}

fn payload_bytes(store: &TraceStore) -> usize {
    store.iter().map(|trace| trace.payload().as_str().len()).sum()
}

fn left(store: &TraceStore, ids: &[TraceId]) -> Vec<usize> {
    (0..ids.len()).filter(|at| store.contains(ids[*at])).collect()
}

/// Which go first, when one more is evicted each time: the same, whether the views have them yet or not.
fn order_of_eviction(eviction: Eviction, new: Vec<NewTrace>) -> Outcome<Vec<usize>> {
    let order = order_when(false, eviction, new.clone())?;
    assert_eq!(order_when(true, eviction, new)?, order);
    Ok(order)
}

fn order_when(settled: bool, eviction: Eviction, new: Vec<NewTrace>) -> Outcome<Vec<usize>> {
    let (mut order, count) = (Vec::new(), new.len());
    for most in (0..count).rev() {
        let clock = clock();
        let store = manual_flush().clock(&clock).quota(quota(most, u64::MAX, eviction)).in_memory()?;
        // Some are of a time that is still to come when the clock has been set back.
        let now = clock.now();
        clock.advance(minutes(2));
        let ids = if settled {
            // One after the other, so that the order of their slots is not that of their ids.
            let one = |new: &NewTrace| store.insert(new.clone()).inspect(|_| settle(&store));
            new.iter().map(one).collect::<Result<Vec<_>, _>>()?
        } else {
            store.insert_many(new.clone())?
        };
        clock.set(now);
        assert_eq!((store.enforce_quota()?.traces, store.len()), (count - most, most));
        let gone = (0..count).filter(|at| !store.contains(ids[*at])).find(|at| !order.contains(at));
        order.extend(gone);
    }
    Ok(order)
}

fn numbered(number: u128) -> TraceId {
    TraceId::from_bytes(number.to_be_bytes())
}

#[test]
fn the_least_recently_reinforced_go_first() -> Outcome {
    let at = |n: u128, age| note(n).id(numbered(n)).last_reinforced(clock().now() - seconds(age));
    let future = |n: u128, after| note(n).id(numbered(n)).last_reinforced(clock().now() + seconds(after));
    // Of two that are equal the smaller id goes first. Times in the future count as now.
    let new = vec![
        at(1, 5).confidence(0.1),
        at(2, 50),
        at(4, 20),
        at(3, 20),
        at(5, 500).confidence(0.9),
        future(7, 60),
        future(6, 90),
    ];
    assert_eq!(order_of_eviction(Eviction::LeastRecentlyReinforced, new)?, [4, 1, 3, 2, 0, 6, 5]);
    Ok(())
}

#[test]
fn the_least_sure_go_first() -> Outcome {
    let at = |n: u128, confidence| note(n).id(numbered(n)).confidence(confidence);
    let now = clock().now();
    let new = vec![at(1, 0.9), at(2, 0.0), at(4, 0.5), at(3, 0.5), at(5, 0.1).last_reinforced(now)];
    assert_eq!(order_of_eviction(Eviction::LowestConfidence, new)?, [1, 4, 3, 2, 0]);
    Ok(())
}

#[test]
fn reinforced_trace_is_not_evicted() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).quota(quota(2, u64::MAX, Eviction::default())).in_memory()?;
    let ids = store.insert_many((0..3).map(note))?;
    clock.advance(seconds(1));
    for at in [0, 2] {
        assert!(store.reinforce(ids[at])?.is_some());
    }
    assert_eq!((store.enforce_quota()?.traces, left(&store, &ids)), (1, vec![0, 2]));
    Ok(())
}

#[test]
fn future_reinforcement_evicts_no_used_trace() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).quota(quota(1, u64::MAX, Eviction::default())).in_memory()?;
    let ids = store.insert_many([note(1).id(numbered(1)), note(2).id(numbered(2))])?;
    let now = clock.now() + seconds(1);
    clock.advance(minutes(5_256_000));
    assert!(store.reinforce(ids[0])?.is_some());
    clock.set(now);
    assert!(store.reinforce(ids[1])?.is_some());
    assert_eq!((store.enforce_quota()?.traces, left(&store, &ids)), (1, vec![1]));
    Ok(())
}

#[test]
fn quota_evicts_no_more_than_needed() -> Outcome {
    let clock = clock();
    // Of 10, 20, 30, 40 bytes, the smallest is the oldest.
    for (most, evicted, bytes) in
        [(100, 0, 0), (99, 1, 10), (90, 1, 10), (89, 2, 30), (65, 3, 60), (0, 4, 100)]
    {
        let store = manual_flush().clock(&clock).quota(quota(100, most, Eviction::default())).in_memory()?;
        let aged = |n: u64| sized(10 * n as usize).last_reinforced(clock.now() - seconds(100 - n));
        let ids = store.insert_many((1..=4).map(aged))?;
        assert_eq!(store.enforce_quota()?.traces, evicted, "{most} bytes");
        assert_eq!(payload_bytes(&store), 100 - bytes, "{most} bytes");
        assert_eq!(left(&store, &ids), (evicted..4).collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn both_limits_hold() -> Outcome {
    for (most_traces, most_bytes, evicted) in [(5, 1_000, 5), (8, 60, 4), (4, 60, 6), (10, 100, 0)] {
        let store = manual_flush()
            .clock(&clock())
            .quota(quota(most_traces, most_bytes, Eviction::default()))
            .in_memory()?;
        store.insert_many((0..10).map(|_| sized(10)))?;
        assert_eq!(store.enforce_quota()?.traces, evicted);
        assert_eq!(payload_bytes(&store), 100 - 10 * evicted);
        assert_eq!((store.len(), store.enforce_quota()?.traces), (10 - evicted, 0));
    }
    Ok(())
}

#[test]
fn eviction_takes_rows_and_links() -> Outcome {
    let file = TestDir::new()?;
    let store =
        manual_flush().clock(&clock()).quota(quota(1, u64::MAX, Eviction::default())).open_at(file.path())?;
    let ids = store.insert_many([note(1).last_reinforced(clock().now() - seconds(1)), note(2)])?;
    store.co_activate(ids[0], ids[1])?;
    store.flush()?;
    let removed = store.enforce_quota()?;
    assert_eq!((removed.traces, removed.links, removed.rows), (1, 1, 0));
    let flushed = store.flush()?;
    assert_eq!((flushed.rows_deleted, flushed.links_deleted, flushed.rows_upserted), (1, 1, 0));
    assert_eq!((left(&store, &ids), store.link_count()), (vec![1], 0));
    Ok(())
}

#[test]
fn firmware_and_pinned_are_never_evicted() -> Outcome {
    let old = clock().now() - minutes(1_000_000);
    for eviction in [Eviction::LeastRecentlyReinforced, Eviction::LowestConfidence] {
        let store = manual_flush().clock(&clock()).quota(quota(2, u64::MAX, eviction)).in_memory()?;
        let ids = store.insert_many([
            NewTrace::firmware(json!(1)).last_reinforced(old).confidence(0.0),
            note(2).last_reinforced(old).confidence(0.0).pinned(true),
            note(3).confidence(1.0),
        ])?;
        assert_eq!((store.enforce_quota()?.traces, left(&store, &ids)), (1, vec![0, 1]));
    }
    Ok(())
}

#[test]
fn unmeetable_quota_leaves_only_pinned() -> Outcome {
    for limits in [quota(2, u64::MAX, Eviction::default()), quota(10, 40, Eviction::default())] {
        let store = manual_flush().clock(&clock()).quota(limits).in_memory()?;
        let pinned = (0..3).map(|_| sized(20).pinned(true));
        store.insert_many(pinned.chain([sized(20), sized(20)]))?;
        assert_eq!((store.enforce_quota()?.traces, store.len()), (2, 3));
        assert!(store.iter().all(|trace| trace.is_pinned()));
        assert_eq!((store.enforce_quota()?.traces, store.len()), (0, 3));
    }
    Ok(())
}

#[test]
fn nothing_is_evicted_without_a_quota() -> Outcome {
    let limited = Quota { max_traces: 10_001, ..Quota::default() };
    assert_eq!(limited.eviction, Eviction::LeastRecentlyReinforced);
    let payload = Payload::try_from(json!("x".repeat((1 << 20) - 2)))?;
    for (builder, evicted) in [(manual_flush(), 0), (manual_flush().quota(limited), 63)] {
        let store = builder.clock(&clock()).in_memory()?;
        store.insert_many((0..10_000).map(note))?;
        store.insert_many((0..3).map(note))?;
        let large = || NewTrace::semantic(payload.clone());
        store.insert(large())?;
        (0..60).try_for_each(|_| store.insert(large().pinned(true)).map(drop))?;
        assert_eq!(store.enforce_quota()?.traces, evicted, "whatever its payloads take");
    }
    Ok(())
}
