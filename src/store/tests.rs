//! Tests of interleavings that can't be timed from outside.

use super::{Eviction, Quota, Removed, TraceStore};
use crate::error::{Error, ErrorKind};
use crate::protocol::Change;
use crate::testkit::{Call, Fault, Faults};
use crate::trace::{Link, LinkKey, LinkState, NewTrace};
use std::cell::Cell;
use std::time::Duration;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// A removal has removed its trace, a co-activation has stored its link, and the store closes before either has done
/// its second half.
#[test]
fn close_that_fails_leaves_no_link_without_its_traces() -> Outcome {
    for fails in [true, false] {
        let faults = Faults::new();
        let never = Duration::from_secs(3600);
        let store = TraceStore::builder().flush_interval(never).open_with(faults.backend())?;
        let ids = store.insert_many((0..4).map(|n| NewTrace::semantic(serde_json::json!(n))))?;
        store.co_activate(ids[0], ids[1])?;
        store.co_activate(ids[0], ids[2])?;
        store.flush()?;
        let (inner, clock) = (store.inner(), &store.state().generations);
        let late = LinkKey::of(ids[0], ids[3]).ok_or("two")?;
        let births = inner.births(late, None)?;
        let removed = inner.traces().update::<_, Error>(clock, &ids[0], |_| Ok(Change::Remove));
        let gone = removed.ok().flatten().and_then(|done| done.old).ok_or("it was there")?;
        let now = jiff::Timestamp::UNIX_EPOCH;
        let tie = LinkState::new(Link::new((ids[0], ids[3]), 1, now, now)?, births);
        let put = inner.links().upsert::<_, Error>(clock, &late, |_| Ok(Change::put(tie.clone())));
        assert!(put.is_ok());
        faults.fail(Call::Close).with(Fault::Hang);
        if fails {
            faults.fail(Call::Close).with(ErrorKind::Io);
        }
        let closing = store.clone();
        let close = std::thread::spawn(move || closing.close().map(drop).map_err(|failed| failed.error));
        assert_eq!(faults.wait_until_hanging(), Call::Close);
        assert!(clock.enter().is_sealed() && store.insert(NewTrace::semantic(serde_json::json!(5))).is_err());
        assert!(!inner.look_again(late, births), "its trace is gone");
        assert_eq!(inner.drop_links(&gone), 2);
        assert_eq!((store.link_count(), store.stats().dirty), (0, 0));
        faults.release();
        // A close that fails is tried again until a caller gives up.
        close.join().map_err(|_| "the close panicked")??;
        assert_eq!((store.link_count(), store.stats().dirty, store.stats().oldest_unflushed), (0, 0, None));
        assert_eq!((faults.calls(Call::Close), faults.violations()), (1 + u64::from(fails), vec![]));
        let image = faults.durable();
        assert_eq!((image.len(), image.links().count()), (3, 0));
        store.flush()?;
    }
    Ok(())
}

/// As after a panic of the indexer.
#[test]
fn views_are_built_anew() -> Outcome {
    let store = TraceStore::builder().flush_interval(Duration::from_secs(3600)).in_memory()?;
    let tagged = |n| NewTrace::semantic(serde_json::json!(n)).tag("here");
    store.insert_many((0..1_000).map(tagged))?;
    store.flush()?;
    let found = || store.query().tagged("here").limit(usize::MAX).run().len();
    for round in 0..10 {
        store.state().index_anew();
        assert_eq!(found(), 1_000 + round);
        store.insert(tagged(1_000 + round))?;
        assert_eq!(found(), 1_001 + round);
    }
    store.flush()?;
    while !store.query().limit(0).explain().ends_with(": 0 looked at, 0 of them just changed") {
        std::thread::yield_now();
    }
    assert_eq!(found(), 1_010, "each once");
    Ok(())
}

/// Right after the quota has loaded the traces that it chooses from.
#[test]
fn trace_that_is_used_after_it_was_chosen_is_not_evicted() -> Outcome {
    let store = TraceStore::builder().flush_interval(Duration::from_secs(3600)).in_memory()?;
    let ids = store.insert_many((0..3).map(|n| NewTrace::semantic(serde_json::json!(n))))?;
    let is_used = Cell::new(false);
    let over = |traces, _| {
        if !is_used.replace(true) {
            assert!(store.reinforce(ids[0]).is_ok_and(|done| done.is_some()));
        }
        traces > 2
    };
    let mut removed = Removed::default();
    store.inner().evict(over, Eviction::default(), usize::MAX, &mut removed, &mut 0)?;
    let left: Vec<_> = ids.iter().map(|id| store.contains(*id)).collect();
    assert_eq!((removed.traces, left), (1, vec![true, false, true]));
    Ok(())
}

/// As an automatic cycle does, which comes again.
#[test]
fn no_more_is_evicted_than_is_asked_for() -> Outcome {
    let quota = Quota { max_traces: 2, ..Quota::default() };
    let store = TraceStore::builder().quota(quota).in_memory()?;
    store.insert_many((0..10).map(|n| NewTrace::semantic(serde_json::json!(n))))?;
    for (removed, left) in [(3, 7), (3, 4), (2, 2), (0, 2)] {
        assert_eq!((store.inner().enforce_quota(3)?.traces, store.len()), (removed, left));
    }
    Ok(())
}
