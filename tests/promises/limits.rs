//! A backend that is down for long, with writers at full speed: memory stays bounded by the traces, writes never
//! block, the lag shows and is refused if so set, and one cut drains it all.
#![cfg(feature = "testkit")]

use super::faults::script::state_of;
use harness::process::alone;
use harness::{Outcome, State, manual_flush, note, wait_until};
use mnemon::testkit::{Call, Fault, Faults};
use mnemon::{ErrorKind, Health, LagPolicy, TraceId, TraceStore};
use std::sync::Barrier;
use std::time::Duration;

const TRACES: usize = 200;
const WRITERS: usize = 4;
const WRITES: usize = 20_000;

/// What the process holds, where the system says so: far above what the traces need, far below what a record of
/// every write would.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * 4_096)
}

/// Each writer writes over and over into all of the traces, from the same moment on; returns when all have.
fn write_at_full_speed(store: &TraceStore, ids: &[TraceId]) -> Outcome {
    let start = Barrier::new(WRITERS);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, start) = (store.clone(), &start);
                scope.spawn(move || {
                    start.wait();
                    for n in 0..WRITES {
                        let id = ids[(n * WRITERS + writer) % ids.len()];
                        match n % 100 {
                            // A trace of its own that is gone before it was ever stored.
                            0 => {
                                let short = store.insert(note(n))?;
                                store.remove(short)?;
                            }
                            1 => drop(store.co_activate(id, ids[n % TRACES / 2])),
                            _ => {
                                let payload = serde_json::json!([writer, n]);
                                store.update(id, |trace| trace.payload(payload.clone()))?;
                            }
                        }
                    }
                    Ok::<_, mnemon::Error>(())
                })
            })
            .collect();
        writers.into_iter().try_for_each(|writer| Ok(writer.join().map_err(|_| "a writer panicked")??))
    })
}

/// The traces, the few links among them, and those that came and went without a row.
const DISTINCT: usize = TRACES + 2 * WRITERS + WRITERS * WRITES / 100;

fn rows_and_memory_agree(faults: &Faults, store: &TraceStore) {
    let memory = State::of(store);
    assert!(state_of(&faults.live()) == memory && state_of(&faults.durable()) == memory);
    assert_eq!(faults.violations(), [""; 0]);
}

#[test]
fn one_cut_drains_a_hanging_backend() -> Outcome {
    alone(|| {
        let faults = Faults::new();
        let store = manual_flush().lag_bound(Duration::ZERO).open_with(faults.backend())?;
        let ids = store.insert_many((0..TRACES).map(note))?;
        store.flush()?;
        faults.fail(Call::Apply).with(Fault::Hang);
        store.update(ids[0], |trace| trace.confidence(0.1))?;
        let waiting = store.clone();
        let flush = std::thread::spawn(move || waiting.flush());
        assert_eq!(faults.wait_until_hanging(), Call::Apply);

        let before = resident_bytes();
        write_at_full_speed(&store, &ids)?;
        // All of them are through, and the backend has not moved.
        assert_eq!((faults.hanging(), flush.is_finished()), (Some(Call::Apply), false));
        let grown = resident_bytes().zip(before).map_or(0, |(now, before)| now.saturating_sub(before));
        assert!(grown < 48 << 20, "{grown} bytes for {TRACES} traces");
        let stats = store.stats();
        assert!(stats.dirty <= 1 + DISTINCT, "{} pending after {} writes", stats.dirty, WRITERS * WRITES);
        assert!(stats.oldest_unflushed.is_some_and(|age| !age.is_zero()));
        assert!(matches!(store.health(), Health::Lagging { .. }), "{:?}", store.health());

        let applied = faults.calls(Call::Apply);
        faults.release();
        flush.join().map_err(|_| "the flush panicked")??;
        store.flush()?;
        assert_eq!(faults.calls(Call::Apply), applied + 1, "one cut drains it");
        assert_eq!((store.stats().dirty, store.health()), (0, Health::Healthy));
        rows_and_memory_agree(&faults, &store);
        Ok(())
    })
}

#[test]
fn owed_rows_are_bounded_by_traces() -> Outcome {
    let faults = Faults::new();
    let store = manual_flush().open_with(faults.backend())?;
    let ids = store.insert_many((0..TRACES).map(note))?;
    store.flush()?;
    faults.fail(Call::Apply).for_good().with(ErrorKind::DiskFull);
    for round in 1..=20 {
        for _ in 0..10 {
            for id in &ids {
                store.update(*id, |trace| trace.payload(serde_json::json!(round)))?;
            }
        }
        // A removed trace is pending as well, under its id; a new one of that id is the same row.
        store.remove(ids[0])?;
        store.insert(note(round).id(ids[0]))?;
        for n in 0..50 {
            store.co_activate(ids[n], ids[n + 1])?;
        }
        assert_eq!(store.flush().err().map(|error| error.kind()), Some(ErrorKind::DiskFull));
        assert_eq!(store.stats().dirty, TRACES + 50, "not the writes, but the traces and links");
        assert!(
            matches!(store.health(), Health::Degraded { kind: ErrorKind::DiskFull, attempts, .. } if attempts >= round)
        );
    }
    faults.lift();
    let (applied, cut) = (faults.calls(Call::Apply), store.flush()?);
    assert_eq!((cut.rows_upserted, cut.links_upserted), (TRACES as u64, 50));
    assert!(faults.calls(Call::Apply) <= applied + 1, "one cut drains it");
    rows_and_memory_agree(&faults, &store);
    Ok(())
}

#[test]
fn refused_writes_are_taken_after_release() -> Outcome {
    let faults = Faults::new();
    let lag =
        manual_flush().lag_bound(Duration::ZERO).when_lagging(LagPolicy::RejectWrites).flush_threshold(1);
    faults.fail(Call::Apply).with(Fault::Hang);
    let store = lag.open_with(faults.backend())?;
    let first = store.insert(note(1))?;
    faults.wait_until_hanging();
    let refused = [
        store.insert(note(2)).err(),
        store.update(first, |trace| trace.confidence(0.1)).err(),
        store.remove(first).err(),
        store.reinforce(first).err(),
        store.co_activate(first, first).err(),
        store.restore([note(3)]).err(),
        store.erase_partition("default").err(),
    ];
    for error in refused {
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Lagging));
    }
    assert_eq!(
        (store.len(), faults.hanging()),
        (1, Some(Call::Apply)),
        "reads go on, and nothing was changed"
    );
    assert!(matches!(store.health(), Health::Lagging { .. }));
    faults.release();
    store.flush()?;
    wait_until(|| store.health() == Health::Healthy);
    let second = store.insert(note(4))?;
    store.flush()?;
    assert!(faults.durable().trace(second).is_some());
    rows_and_memory_agree(&faults, &store);
    Ok(())
}

/// By itself: nobody asks for a flush.
#[test]
fn every_failure_recovers_unasked() -> Outcome {
    use ErrorKind::{
        Backend, Busy, Corrupt, DiskFull, InUse, Io, NewerSchema, NotAStore, OutOfMemory, Unreachable,
    };
    let kinds =
        [Busy, DiskFull, Io, Corrupt, Unreachable, OutOfMemory, NotAStore, NewerSchema, InUse, Backend];
    let faults = kinds.map(Fault::Error).into_iter().chain([Fault::Panic, Fault::Vanish]);
    let mut stores = Vec::new();
    for fault in faults {
        let faults = Faults::new();
        let store = manual_flush().flush_threshold(1).open_with(faults.backend())?;
        faults.fail(Call::Apply).for_good().with(fault);
        let id = store.insert(note(1))?;
        stores.push((fault, faults, store, id));
    }
    for (fault, faults, store, id) in &stores {
        wait_until(|| matches!(store.health(), Health::Degraded { .. }));
        assert!(
            faults.durable().trace(*id).is_none() && store.stats().oldest_unflushed.is_some(),
            "{fault:?}"
        );
        faults.lift();
    }
    for (fault, faults, store, id) in stores {
        wait_until(|| store.stats().dirty == 0);
        assert!(faults.durable().trace(id).is_some(), "{fault:?}");
        wait_until(|| store.health() == Health::Healthy);
        rows_and_memory_agree(&faults, &store);
    }
    Ok(())
}
