//! The change feed: what was committed, in the order of cuts, bounded, and never in a writer's way.
#![cfg(feature = "testkit")]

use harness::{Outcome, manual_flush, note};
use mnemon::testkit::{Call, Faults};
use mnemon::{ErrorKind, FeedEvent, Subscription, TraceId, TraceStore};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};
use std::time::Duration;

/// Watermark, traces and whether they are there, links and whether they are there.
type Seen = (u64, Vec<(TraceId, bool)>, Vec<((TraceId, TraceId), bool)>);

fn next(feed: &Subscription) -> Option<Seen> {
    match feed.try_recv()? {
        FeedEvent::Committed(commit) => Some((
            commit.watermark,
            commit.traces.iter().map(|(id, trace)| (*id, trace.is_some())).collect(),
            commit.links.iter().map(|(ends, link)| (*ends, link.is_some())).collect(),
        )),
        other => panic!("{other:?}"),
    }
}

#[test]
fn feed_has_commit_when_flush_returns() -> Outcome {
    let store = manual_flush().in_memory()?;
    let before = store.insert(note(0))?;
    store.flush()?;
    let feed = store.subscribe(100);
    let (a, b) = (store.insert(note(1))?, store.insert(note(2))?);
    for n in 0..3 {
        store.update(a, |trace| trace.confidence(f64::from(n) / 10.0))?;
        store.co_activate(a, b)?;
    }
    store.remove(before)?;
    let short = store.insert(note(3))?;
    store.remove(short)?;
    assert!(feed.try_recv().is_none(), "nothing is told before it is committed");
    let watermark = store.flush()?.watermark;
    let mut traces = vec![(before, false), (a, true), (b, true)];
    traces.sort();
    let ends = (a.min(b), a.max(b));
    assert_eq!(
        next(&feed),
        Some((watermark, traces, vec![(ends, true)])),
        "what never had a row is no change"
    );
    store.flush()?;
    assert!(feed.try_recv().is_none(), "a flush of nothing is no event");

    // Gone and back under its id: one change, and the link is gone with what it was of.
    store.remove(b)?;
    store.insert(note(4).id(b))?;
    let watermark = store.flush()?.watermark;
    assert_eq!(next(&feed), Some((watermark, vec![(b, true)], vec![(ends, false)])));
    Ok(())
}

#[test]
fn feed_tells_committed_rows_only() -> Outcome {
    let faults = Faults::new();
    let store = manual_flush().open_with(faults.backend())?;
    let feed = store.subscribe(100);
    let (a, b) = (store.insert(note(1))?, store.insert(note(2))?);
    faults.fail(Call::Apply).for_good().with(ErrorKind::DiskFull);
    assert!(store.flush().is_err());
    assert!(feed.try_recv().is_none());
    faults.lift();
    faults.refuse(b);
    let watermark = store.flush()?.watermark;
    assert_eq!(next(&feed), Some((watermark, vec![(a, true)], vec![])));
    Ok(())
}

#[test]
fn slow_reader_finds_a_gap() -> Outcome {
    let store = manual_flush().in_memory()?;
    let (slow, quick) = (store.subscribe(5), store.subscribe(usize::MAX));
    let mut watermarks = Vec::new();
    for n in 0..4 {
        store.insert_many((0..2).map(|m| note(2 * n + m)))?;
        watermarks.push(store.flush()?.watermark);
    }
    match slow.try_recv() {
        Some(FeedEvent::Gap { commits: 2, watermark, .. }) => assert_eq!(watermark, watermarks[1]),
        other => panic!("{other:?}"),
    }
    let rest = |feed: &Subscription| -> Vec<u64> {
        std::iter::from_fn(|| next(feed)).map(|(watermark, ..)| watermark).collect()
    };
    assert_eq!(rest(&slow), watermarks[2..]);
    assert_eq!(rest(&quick), watermarks);
    // One that is more than all there is room for.
    store.insert_many((0..6).map(|n| note(100 + n)))?;
    let watermark = store.flush()?.watermark;
    assert!(
        matches!(slow.try_recv(), Some(FeedEvent::Gap { commits: 1, watermark: w, .. }) if w == watermark)
    );
    assert!(slow.try_recv().is_none());
    Ok(())
}

#[test]
fn copy_that_follows_equals_store() -> Outcome {
    const WRITERS: usize = 3;
    let store = TraceStore::builder().flush_interval(Duration::ZERO).in_memory()?;
    let ids = store.insert_many((0..50).map(note))?;
    let feed = store.subscribe(usize::MAX);
    let follower = std::thread::spawn(move || {
        let (mut copy, mut last) = (HashMap::new(), 0);
        while let Some(event) = feed.recv() {
            let FeedEvent::Committed(commit) = event else { panic!("{event:?}") };
            assert!(commit.watermark > last, "in the order of cuts");
            last = commit.watermark;
            for (id, trace) in &commit.traces {
                match trace {
                    Some(trace) => drop(copy.insert(*id, trace.clone())),
                    None => drop(copy.remove(id)),
                }
            }
        }
        assert!(feed.is_closed());
        copy
    });
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (store, ids) = (&store, &ids);
            scope.spawn(move || {
                for n in 0..2_000 {
                    let id = ids[(n * 7 + writer) % ids.len()];
                    match n % 10 {
                        0 => drop(store.remove(id)),
                        1 => drop(store.insert(note(n).id(id))),
                        _ => drop(store.update(id, |trace| trace.confidence(n as f64 / 2_000.0))),
                    }
                }
            });
        }
    });
    // Each is written once more, so that the copy has those too that were stored before it followed.
    for id in &ids {
        store.update(*id, |trace| trace.tag("last"))?;
    }
    let held: HashMap<_, _> = store.iter().map(|trace| (trace.id(), trace)).collect();
    store.close()?;
    assert!(follower.join().map_err(|_| "the follower panicked")? == held);
    Ok(())
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn commit_and_end_wake_futures() -> Outcome {
    let store = manual_flush().in_memory()?;
    let mut feed = store.subscribe(10);
    let woken = Arc::<Woken>::default();
    let (waker, times) = (woken.clone().into(), || woken.0.load(Ordering::Relaxed));
    let mut context = Context::from_waker(&waker);
    {
        let mut event = pin!(poll_fn(|context| feed.poll_recv(context)));
        assert!(event.as_mut().poll(&mut context).is_pending());
        store.insert(note(1))?;
        store.flush()?;
        assert_eq!(times(), 1);
        assert!(matches!(event.poll(&mut context), Poll::Ready(Some(FeedEvent::Committed(_)))));
    }
    assert!(feed.poll_recv(&mut context).is_pending());
    store.close()?;
    assert_eq!(times(), 2);
    assert!(matches!(feed.poll_recv(&mut context), Poll::Ready(None)));
    Ok(())
}

#[test]
fn feed_ends_with_its_store() -> Outcome {
    let store = manual_flush().in_memory()?;
    let feed = store.subscribe(10);
    assert!(feed.recv_timeout(Duration::from_millis(1)).is_none() && !feed.is_closed());
    store.insert(note(1))?;
    let other = store.clone();
    store.close()?;
    assert!(matches!(feed.recv(), Some(FeedEvent::Committed(_))), "what closing has written");
    assert!(feed.recv().is_none());
    let late = other.subscribe(10);
    assert!(late.is_closed() && late.recv().is_none());

    let faults = Faults::new();
    let store = manual_flush().close_timeout(Duration::ZERO).open_with(faults.backend())?;
    let feed = store.subscribe(10);
    store.insert(note(1))?;
    faults.fail(Call::Apply).for_good().with(ErrorKind::Busy);
    drop(store);
    assert!(feed.try_recv().is_none() && !feed.is_closed(), "the flusher goes on trying");
    faults.lift();
    assert!(matches!(feed.recv(), Some(FeedEvent::Committed(_))));
    assert!(feed.recv().is_none());
    Ok(())
}
