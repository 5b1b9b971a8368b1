//! A trace is valid until the end of its validity, and then kept for a time.

use harness::{Outcome, clock, held, manual_flush, minutes, note, wait_until};
use mnemon::{ErrorKind, ManualClock, NewTrace, Order, Stats, Trace, TraceId, TraceStore, TraceType, Upkeep};
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

fn until(clock: &ManualClock, later: Duration) -> jiff::Timestamp {
    clock.now() + jiff::SignedDuration::try_from(later).unwrap_or_default()
}

fn open() -> Outcome<(ManualClock, TraceStore)> {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    Ok((clock, store))
}

fn ids(traces: &[Arc<Trace>]) -> Vec<TraceId> {
    let mut ids: Vec<_> = traces.iter().map(|trace| trace.id()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn queries_leave_out_what_has_ended() -> Outcome {
    let (clock, store) = open()?;
    let stays = store.insert(note("stays"))?;
    let ends = store.insert(note("ends").valid_until(until(&clock, minutes(5))))?;
    let both = [stays, ends];
    for _ in 0..3 {
        store.co_activate(stays, ends)?;
    }
    assert_eq!(store.query().count(), 2);
    clock.set(until(&clock, minutes(5)));
    assert!(!held(&store, ends)?.is_valid_at(clock.now()));
    for order in [Order::Strength, Order::Recency, Order::Created, Order::Score] {
        assert_eq!(ids(&store.query().order(order).run()), [stays]);
        assert_eq!(store.query().order(order).include_invalid().run().len(), 2);
    }
    assert_eq!((store.query().count(), store.query().include_invalid().count(), store.len()), (1, 2, 2));
    assert_eq!(ids(&store.retrieve_and_reinforce(9)?), [stays]);
    assert_eq!((store.walk(stays, 9, 0.0).count(), store.associated(stays, 0.0, 9).len()), (0, 0));
    assert_eq!((store.walk(ends, 9, 0.0).count(), store.links(stays).len()), (1, 1));
    // What is asked for by its id, and what the store holds.
    assert_eq!((store.rank(both).len(), store.get_many(both).iter().flatten().count()), (2, 2));
    assert_eq!((store.partitions()["default"], store.in_partition("default").len()), (2, 2));
    // The clock was wrong.
    clock.set(until(&clock, Duration::ZERO) - minutes(1));
    assert_eq!(store.query().count(), 2);
    store.update(ends, |trace| trace.no_valid_until())?;
    clock.advance(DAY);
    assert_eq!(store.query().count(), 2);
    Ok(())
}

#[test]
fn successor_ends_validity_now_or_then() -> Outcome {
    let (clock, store) = open()?;
    let old = store.insert(note("old"))?;
    let new = store.supersede(old, note("new"))?;
    let superseded = held(&store, old)?;
    assert_eq!((superseded.superseded_by(), superseded.valid_until()), (Some(new), Some(clock.now())));
    assert_eq!(ids(&store.query().run()), [new]);
    // Whether or not the store holds the other.
    store.remove(new)?;
    assert_eq!(store.query().count(), 0);
    let was = clock.now();
    clock.advance(minutes(1));
    store.update(old, |trace| trace.superseded_by(TraceId::from_reference("another")))?;
    assert_eq!(held(&store, old)?.valid_until(), Some(was), "it had ended before");
    let later = until(&clock, minutes(1));
    store.update(old, |trace| trace.superseded_by(new).valid_until(later))?;
    assert_eq!((store.query().count(), held(&store, old)?.valid_until()), (1, Some(later)));
    store.update(old, |trace| trace.superseded_by(new))?;
    assert_eq!((store.query().count(), held(&store, old)?.valid_until()), (0, Some(clock.now())));
    let again = store.update(old, |trace| trace.no_valid_until())?.ok_or("gone")?;
    assert_eq!((again.valid_until(), again.superseded_by()), (None, None));
    let given = store.insert(note("given").superseded_by(old))?;
    assert_eq!(held(&store, given)?.valid_until(), Some(clock.now()));
    Ok(())
}

#[test]
fn trace_is_not_its_own_successor() -> Outcome {
    let (_, store) = open()?;
    let id = store.insert(note("one"))?;
    let refused = store.update(id, |trace| trace.superseded_by(id)).err().ok_or("taken")?;
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.to_string().starts_with("superseded_by is "), "{refused}");
    let another = TraceId::new();
    let refused = store.insert(note("two").id(another).superseded_by(another));
    assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::InvalidInput));
    let refused = store.supersede(TraceId::new(), note("three"));
    assert_eq!((refused.map_err(|error| error.kind()), store.len()), (Err(ErrorKind::NotFound), 1));
    Ok(())
}

/// Of many that are no longer valid a query sees none, once the indexer has taken them out of the orders.
#[test]
fn cost_ignores_invalid_traces() -> Outcome {
    let (clock, store) = open()?;
    let end = until(&clock, minutes(1));
    let sorted = [Order::Strength, Order::Recency, Order::Created, Order::Score];
    store.insert_many((0..20_000).map(|n| note(n).strength(0.9).tag("x").valid_until(end)))?;
    let valid = store.insert_many((0..5).map(|n| note(n).strength(0.4).tag("x").created_at(end - DAY)))?;
    let visited = |store: &TraceStore| store.stats().entries_visited;
    for moved in [minutes(2), Duration::ZERO] {
        clock.advance(moved);
        // The first questions have the indexer go on.
        wait_until(|| {
            let before = visited(&store);
            store.query().limit(5).run();
            store.query().count();
            visited(&store) - before < 20
        });
        for order in sorted {
            for query in [store.query(), store.query().tagged("x")] {
                let before = visited(&store);
                assert_eq!(query.clone().order(order).limit(5).run().len(), 5);
                assert_eq!(query.count(), 5);
                assert!(visited(&store) - before < 50, "{order:?}: {}", visited(&store) - before);
            }
        }
    }
    // Back in the orders once the clock was set back.
    clock.set(end - minutes(1));
    assert_eq!(store.query().limit(50).run().iter().filter(|trace| valid.contains(&trace.id())).count(), 0);
    assert_eq!(store.query().count(), 20_005);
    Ok(())
}

#[test]
fn pages_keep_time_of_the_first() -> Outcome {
    let (clock, store) = open()?;
    let end = until(&clock, minutes(1));
    store.insert_many((0..40).map(|n| if n % 2 == 0 { note(n).valid_until(end) } else { note(n) }))?;
    for order in [Order::Strength, Order::Recency, Order::Created, Order::Score] {
        clock.set(end - minutes(1));
        let first = store.query().order(order).limit(10).page();
        clock.set(end);
        // The indexer may have come by then, or not.
        assert_eq!(store.query().count(), 20);
        let mut seen = ids(&first.traces);
        let mut next = first.next;
        while let Some(cursor) = next {
            let page = store.query().limit(10).after(cursor).page();
            seen.extend(ids(&page.traces));
            next = page.next;
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 40, "{order:?}");
    }
    Ok(())
}

#[test]
fn decay_removes_traces_long_invalid() -> Outcome {
    let clock = clock();
    for (keep, left) in [(None, 5), (Some(DAY), 3)] {
        let store = manual_flush().clock(&clock).keep_invalid(keep).in_memory()?;
        let end = until(&clock, minutes(1));
        let new = |kind| NewTrace::new(kind, serde_json::json!(1)).valid_until(end).base_decay_rate(0.0);
        store.insert_many([
            new(TraceType::Semantic),
            new(TraceType::Episodic),
            new(TraceType::Semantic).pinned(true),
            new(TraceType::Firmware),
            new(TraceType::Semantic).valid_until(end + DAY),
        ])?;
        clock.advance(minutes(1) + DAY - Duration::from_micros(1));
        assert_eq!((store.decay()?.traces, store.len()), (0, 5));
        clock.advance(Duration::from_micros(1));
        assert_eq!((store.decay()?.traces, store.len()), (5 - left, left));
        let Stats { expired, pruned, .. } = store.stats();
        assert_eq!((expired, pruned), (5 - left as u64, 0));
    }
    Ok(())
}

#[test]
fn upkeep_removes_what_ended_long_ago() -> Outcome {
    let clock = clock();
    let upkeep = Upkeep { decay: Some(Duration::from_millis(1)), tiers: None, quota: None };
    let store = manual_flush().clock(&clock).upkeep(upkeep).prune(false).in_memory()?;
    let end = until(&clock, minutes(1));
    store.insert_many((0..100).map(|n| note(n).valid_until(end)))?;
    store.insert_many((0..100).map(note))?;
    clock.advance(minutes(2) + 7 * DAY);
    // It is counted at the end of a cycle.
    wait_until(|| store.stats().expired == 100);
    assert_eq!((store.len(), store.query().count()), (100, 100));
    Ok(())
}
