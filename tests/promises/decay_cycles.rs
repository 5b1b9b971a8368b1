//! Cycles of decay: what they write, and what they prune.
#![cfg(feature = "sqlite")]

use super::decay::{cycle, fading, near};
use harness::{Outcome, TestDir, clock, held, manual_flush, minutes, row, seconds};
use mnemon::{FlushReport, ManualClock, NewTrace, StoreBuilder, TraceId, TraceStore, TraceType};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Up to so many seconds old.
#[derive(Clone, Copy)]
struct Ages(u64);

/// Of hours, in which some have faded away already.
const HOURS: Ages = Ages(20_000);
const NEW: Ages = Ages(1);

/// Traces of every type, rate and emotion.
fn mixed(count: u64, Ages(oldest): Ages, now: jiff::Timestamp) -> impl Iterator<Item = NewTrace> {
    (0..count).map(move |n| {
        let kind = TraceType::ALL[n as usize % TraceType::ALL.len()];
        let new = NewTrace::new(kind, json!({"note": n}))
            .emotional_intensity((n % 5) as f64 / 4.0)
            .last_reinforced(now - seconds(n * 37 % oldest))
            .pinned(n % 100 == 0);
        match n % 11 {
            0 => new.base_decay_rate(2.0),
            1 => new.base_decay_rate(0.3),
            _ => new,
        }
    })
}

fn filled(file: &TestDir, builder: StoreBuilder, ages: Ages, clock: &ManualClock) -> Outcome<TraceStore> {
    let store = builder.clock(clock).open(file.path())?;
    store.insert_many(mixed(10_000, ages, clock.now()))?;
    store.flush()?;
    Ok(store)
}

fn trace_rows(report: &FlushReport) -> [u64; 4] {
    [report.rows_upserted, report.rows_updated, report.rows_deleted, report.payload_bytes_serialized]
}

#[test]
fn a_cycle_says_what_it_did() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let ids = store.insert_many([
        NewTrace::firmware(json!("never")),
        NewTrace::identity(json!("fades by less than a step")),
        NewTrace::episodic(json!("fades by more")),
        NewTrace::sensory(json!("fades away")).base_decay_rate(2.0),
        NewTrace::semantic(json!("has no rate")).base_decay_rate(0.0),
    ])?;
    assert_eq!(cycle(&store)?, (0, 0), "no time has passed");
    clock.advance(minutes(10));
    assert_eq!(fading(&store), 3);
    assert_eq!(cycle(&store)?, (1, 1));
    assert_eq!(held(&store, ids[1])?.strength(), 1.0);
    assert!(near(held(&store, ids[2])?.strength(), 0.571904346));
    assert_eq!(held(&store, ids[2])?.last_decayed(), clock.now());
    assert!(!store.contains(ids[3]));
    assert_eq!((fading(&store), cycle(&store)?), (1, (0, 0)), "of the stored strengths");
    Ok(())
}

#[test]
fn cycle_writes_only_checkpoints_and_prunes() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    let store = filled(&file, manual_flush(), HOURS, &clock)?;
    let fading = fading(&store);
    let (checkpointed, pruned) = cycle(&store)?;
    assert!(checkpointed > 100 && pruned > 100 && fading as u64 > checkpointed + pruned);
    assert_eq!(store.stats().dirty as u64, checkpointed + pruned);
    let flushed = store.flush()?;
    assert_eq!(trace_rows(&flushed), [0, checkpointed, pruned, 0]);
    Ok(())
}

#[test]
fn file_strength_is_within_a_step() -> Outcome {
    for step in [0.0, 0.01, 0.1] {
        let (file, clock) = (TestDir::new()?, clock());
        let store = filled(&file, manual_flush().checkpoint_step(step), HOURS, &clock)?;
        clock.advance(minutes(5));
        let (checkpointed, pruned) = cycle(&store)?;
        let flushed = store.flush()?;
        let written = flushed.rows_updated + flushed.rows_deleted;
        assert_eq!(written, checkpointed + pruned, "step {step}");
        let reader = file.reader()?;
        let mut statement = reader.prepare("SELECT id, strength FROM traces")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, f64>(1)?)))?;
        let stored: BTreeMap<_, _> = rows.collect::<Result<_, _>>()?;
        assert_eq!(stored.len() as u64, 10_000 - pruned, "none that was pruned is there");
        assert_eq!(stored.len(), store.len());
        for trace in store.iter() {
            let row = *stored.get(trace.id().as_bytes()).ok_or("a survivor has its row")?;
            let strength = store.strength_at(&trace, clock.now());
            assert!((row - strength).abs() <= step, "step {step}: stored {row}, is {strength}");
        }
    }
    Ok(())
}

#[test]
fn a_checkpoint_leaves_the_revision() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    let store = manual_flush().clock(&clock).open(file.path())?;
    let id = store.insert(NewTrace::episodic(json!(1)))?;
    store.update(id, |trace| trace.confidence(0.7))?;
    clock.advance(minutes(100));
    assert_eq!(cycle(&store)?.0, 1);
    let after = held(&store, id)?;
    assert_eq!((after.revision(), after.reinforcement_count()), (2, 0));
    assert_eq!((after.peak_strength(), after.last_reinforced()), (0.6, after.created_at()));
    store.flush()?;
    assert_eq!(row(&file.reader()?, id)?.map(|(revision, _)| revision), Some(2));
    Ok(())
}

#[test]
fn checkpoint_keeps_later_strength() -> Outcome {
    let clock = clock();
    let never = manual_flush().clock(&clock).in_memory()?;
    let often = manual_flush().clock(&clock).checkpoint_step(0.0).prune(false).in_memory()?;
    let ids: Vec<_> = (0..500).map(|_| TraceId::new()).collect();
    for store in [&never, &often] {
        store.insert_many(mixed(500, HOURS, clock.now()).zip(&ids).map(|(new, id)| new.id(*id)))?;
    }
    for minute in 0..200 {
        clock.advance(seconds(61));
        often.decay()?;
        for id in &ids {
            let [plain, kept] = [held(&never, *id)?, held(&often, *id)?];
            for later in [seconds(0), minutes(1), minutes(10_000)] {
                let at = clock.now() + later;
                assert_eq!(never.strength_at(&plain, at), often.strength_at(&kept, at), "minute {minute}");
            }
        }
    }
    Ok(())
}

/// How many rows an hour of cycles writes, a minute each.
fn rows_of_an_hour(store: &TraceStore, clock: &ManualClock) -> Outcome<Vec<u64>> {
    let mut rows = Vec::new();
    for _ in 0..60 {
        clock.advance(minutes(1));
        let (checkpointed, pruned) = cycle(store)?;
        let flushed = store.flush()?;
        assert_eq!(trace_rows(&flushed), [0, checkpointed, pruned, 0]);
        rows.push(flushed.rows_updated + flushed.rows_deleted);
    }
    Ok(rows)
}

/// A write of every trace each minute, as the original did, would be 60 rows a trace.
#[test]
fn hour_of_cycles_writes_few_rows() -> Outcome {
    for (ages, expected) in [(HOURS, 2_500), (NEW, 33_342)] {
        let (file, clock) = (TestDir::new()?, clock());
        let store = filled(&file, manual_flush(), ages, &clock)?;
        // What has faded before the hour is not counted for it.
        store.decay()?;
        store.flush()?;
        let held = store.len();
        let rows: u64 = rows_of_an_hour(&store, &clock)?.iter().sum();
        println!(
            "{held} traces up to {} s old: an hour of cycles wrote {rows} rows of {}",
            ages.0,
            held * 60
        );
        assert_eq!(rows, expected);
    }
    Ok(())
}

#[test]
fn step_of_zero_writes_all_fading() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    let store = filled(&file, manual_flush().checkpoint_step(0.0).prune(false), NEW, &clock)?;
    let fading = store.iter().filter(|trace| trace.trace_type() != TraceType::Firmware).count() as u64;
    assert_eq!(rows_of_an_hour(&store, &clock)?, [fading; 60]);
    Ok(())
}

#[test]
fn prunes_at_a_hundredth() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    let [gone, less, kept] = [0.01, 0.0, 0.01_f64.next_up()]
        .map(|strength| store.insert(NewTrace::semantic(json!(strength)).strength(strength)));
    assert_eq!(store.decay()?.traces, 2);
    assert_eq!([gone?, less?, kept?].map(|id| store.contains(id)), [false, false, true]);
    Ok(())
}

#[test]
fn pruning_can_be_switched_off() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).prune(false).in_memory()?;
    let id = store.insert(NewTrace::sensory(json!(1)).base_decay_rate(3.0))?;
    clock.advance(minutes(1_000));
    assert_eq!(cycle(&store)?, (1, 0));
    assert!(held(&store, id)?.strength() < 1e-9, "it fades all the same");
    Ok(())
}

#[test]
fn what_is_pinned_fades_and_stays() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let fast = || NewTrace::sensory(json!(1)).base_decay_rate(3.0);
    let [pinned, loose] = [store.insert(fast().pinned(true))?, store.insert(fast())?];
    clock.advance(minutes(1_000));
    assert_eq!(cycle(&store)?, (1, 1));
    assert!(held(&store, pinned)?.strength() < 1e-9);
    assert!(!store.contains(loose));
    Ok(())
}

#[test]
fn cycle_revives_no_removed_trace() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    let store = manual_flush().clock(&clock).checkpoint_step(0.0).prune(false).open(file.path())?;
    for _ in 0..100 {
        let ids = store.insert_many((0..300).map(|n| NewTrace::episodic(json!(n))))?;
        clock.advance(minutes(1));
        let (start, done) = (Barrier::new(3), AtomicBool::new(false));
        let failed = thread::scope(|scope| {
            let cycles = scope.spawn(|| {
                start.wait();
                let mut failed = store.decay().is_err();
                while !done.load(Ordering::Relaxed) {
                    clock.advance(minutes(1));
                    failed |= store.decay().is_err();
                }
                failed
            });
            let removers = ids.chunks(150).map(|ids| {
                let (store, start) = (&store, &start);
                scope.spawn(move || {
                    start.wait();
                    ids.iter().filter(|id| !matches!(store.remove(**id), Ok(Some(_)))).count()
                })
            });
            let removers: Vec<_> = removers.collect();
            let missed: usize =
                removers.into_iter().map(|remover| remover.join().unwrap_or(usize::MAX)).sum();
            done.store(true, Ordering::Relaxed);
            (missed, cycles.join().unwrap_or(true))
        });
        assert_eq!(failed, (0, false), "each was there to be removed, once");
        assert_eq!(store.len(), 0);
    }
    store.flush()?;
    assert_eq!(harness::rows(&file.reader()?)?, 0);
    Ok(())
}

#[test]
fn a_cycle_never_undoes_a_reinforcement() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).checkpoint_step(0.0).in_memory()?;
    let ids = store.insert_many((0..500).map(|n| NewTrace::episodic(json!(n)).base_decay_rate(0.2)))?;
    for round in 1..=100 {
        clock.advance(minutes(3));
        let now = clock.now();
        let expected: BTreeMap<_, _> = store
            .iter()
            .map(|trace| (trace.id(), (store.strength_at(&trace, now) + 0.10).min(1.0)))
            .collect();
        let start = Barrier::new(2);
        let failed = thread::scope(|scope| {
            let cycles = scope.spawn(|| {
                start.wait();
                (0..5).filter(|_| store.decay().is_err()).count()
            });
            start.wait();
            let refused = ids.iter().filter(|id| !store.reinforce(**id).is_ok_and(|done| done.is_some()));
            (refused.count(), cycles.join().unwrap_or(usize::MAX))
        });
        assert_eq!(failed, (0, 0));
        for (id, strength) in expected {
            let trace = held(&store, id)?;
            assert_eq!((trace.strength(), trace.reinforcement_count()), (strength, round));
            assert_eq!(trace.last_reinforced(), now);
        }
    }
    Ok(())
}
