//! Pages of a query don't overlap and miss nothing, whatever is written between them.
#![cfg(feature = "sqlite")]

use super::retrieval::{settle, visited};
use harness::steps::pick;
use harness::{Outcome, Rng, clock, manual_flush, minutes, note, seconds};
use mnemon::{Cursor, ErrorKind, ManualClock, NewTrace, Order, Query, TraceId, TraceStore, TraceType};
use std::collections::{BTreeMap, BTreeSet};

const ORDERS: [Order; 4] = [Order::Strength, Order::Recency, Order::Score, Order::Created];

fn filled(clock: &ManualClock, rng: &mut Rng, count: usize) -> Outcome<TraceStore> {
    let store = manual_flush().clock(clock).in_memory()?;
    let now = clock.now();
    store.insert_many((0..count).map(|n| {
        let age = seconds(rng.u64(..1_000_000));
        let new = NewTrace::new(pick(rng, TraceType::ALL), serde_json::json!(n)).strength(rng.f64());
        new.created_at(now - age).last_reinforced(now - age / 2)
    }))?;
    Ok(store)
}

#[test]
fn pages_hold_each_trace_once() -> Outcome {
    for (seed, order) in (0..).zip(ORDERS.repeat(3)) {
        let (clock, mut rng) = (clock(), Rng::with_seed(seed));
        let store = filled(&clock, &mut rng, 300)?;
        let before: BTreeMap<_, _> = store.iter().map(|trace| (trace.id(), trace)).collect();
        let (mut paged, mut next) = (Vec::new(), Some(None));
        while let Some(after) = next {
            let query = store.query().order(order).limit(rng.usize(1..40));
            let page = after.into_iter().fold(query, Query::after).page();
            paged.extend(page.traces.iter().map(|trace| trace.id()));
            next = page.next.map(Some);
            for _ in 0..rng.usize(..6) {
                let id = pick(&mut rng, &before.keys().copied().collect::<Vec<_>>());
                match rng.u8(..5) {
                    0 => drop(store.remove(id)?),
                    1 => drop(store.insert(note(1))?),
                    _ => drop(store.reinforce(id)?),
                }
            }
            match rng.u8(..4) {
                0 => clock.advance(minutes(rng.u64(..200))),
                1 => settle(&store),
                _ => {}
            }
        }
        let once: BTreeSet<_> = paged.iter().copied().collect();
        assert_eq!(once.len(), paged.len(), "{order:?}: one came twice");
        for (id, trace) in &before {
            let is_untouched = store.get(*id).is_some_and(|now| now == *trace);
            assert!(!is_untouched || once.contains(id), "{order:?}: {id} was on no page");
        }
    }
    Ok(())
}

#[test]
fn pages_look_at_what_they_have() -> Outcome {
    let (clock, mut rng) = (clock(), Rng::with_seed(1));
    let store = filled(&clock, &mut rng, 10_000)?;
    settle(&store);
    for order in [Order::Recency, Order::Created] {
        let mut next = None;
        for _ in 0..20 {
            let query = || next.into_iter().fold(store.query().order(order).limit(10), Query::after);
            let looked_at = visited(&store, query());
            assert!(looked_at < 15, "{order:?}: {looked_at}");
            next = query().page().next;
        }
    }
    // Within ten minutes the order of strengths is walked as well.
    let first = store.query().limit(10).page();
    clock.advance(minutes(9));
    store.insert(note(1))?;
    settle(&store);
    let second = || first.next.into_iter().fold(store.query().limit(10), Query::after);
    assert!(visited(&store, second()) < 600, "{}", second().explain());
    clock.advance(minutes(9));
    store.insert(note(1))?;
    settle(&store);
    assert!(second().explain().contains("each trace"), "{}", second().explain());
    Ok(())
}

#[test]
fn counts_look_at_nothing() -> Outcome {
    let (clock, mut rng) = (clock(), Rng::with_seed(1));
    let store = filled(&clock, &mut rng, 1_000)?;
    settle(&store);
    let before = store.stats().entries_visited;
    let of_type = |kind| store.query().of_type(kind).count();
    assert_eq!(TraceType::ALL.iter().map(|kind| of_type(*kind)).sum::<usize>(), 1_000);
    assert_eq!((store.query().count(), store.query().limit(1).count()), (1_000, 1_000));
    assert_eq!(
        (store.query().untagged("none").count(), store.query().tagged_any(["none"]).count()),
        (1_000, 0)
    );
    assert_eq!(store.query().tagged_any([""; 0]).count(), 0);
    assert_eq!(store.stats().entries_visited, before);
    Ok(())
}

#[test]
fn filters_run_without_locks() -> Outcome {
    let store = TraceStore::in_memory();
    store.insert_many((0..1_000).map(note))?;
    settle(&store);
    let id = TraceId::new();
    let writes = |_: &mnemon::Trace| {
        // From within the question: what it needs must not be held.
        let done = store.upsert(note(1).id(id), |trace| trace.tag("x")).is_ok();
        done && store.flush().is_ok() && store.query().limit(1).run().len() == 1
    };
    assert_eq!(store.query().filter(writes).limit(3).run().len(), 3);
    assert_eq!(store.query().filter(|_| false).run().len(), 0);
    Ok(())
}

#[test]
fn cursors_are_read_or_refused() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    store.insert_many((0..3).map(note))?;
    for order in ORDERS {
        let cursor = store.query().order(order).limit(1).page().next.ok_or("more")?;
        assert_eq!(cursor.to_string().parse::<Cursor>()?, cursor);
        for bad in ["", "s", "x.0.0.0.0.0", "s.0.0.0.0", "s.0.0.0.0.0.0", "s.g.0.0.0.0", "ss.0.0.0.0.0"] {
            let error = bad.parse::<Cursor>().unwrap_err();
            assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidInput, Some("cursor")), "{bad}");
        }
    }
    assert_eq!(
        store.query().limit(3).page().next.map(|_| 3),
        Some(3),
        "it can't know that there are no more"
    );
    assert_eq!(store.query().limit(4).page().next, None);
    assert_eq!(store.query().limit(0).page().next, None);
    Ok(())
}

/// More than the query takes at first are to be looked at before enough pass.
#[test]
fn filters_that_few_pass_find_them() -> Outcome {
    let store = TraceStore::in_memory();
    let ids = store.insert_many((0..1_000).map(|n| NewTrace::semantic(serde_json::json!(n))))?;
    let rare: BTreeSet<_> = ids.into_iter().step_by(250).collect();
    let query = || {
        let query = store.query().order(Order::Created);
        query.filter(|trace| rare.contains(&trace.id())).limit(3)
    };
    let first = query().page();
    let second = query().after(first.next.ok_or("one is left")?).page();
    assert_eq!((first.traces.len(), second.traces.len(), query().count()), (3, 1, 4));
    let found: BTreeSet<_> = first.traces.iter().chain(&second.traces).map(|trace| trace.id()).collect();
    assert_eq!(found, rare);
    Ok(())
}
