//! Cycles of decay: they prune, and write nothing else.
#![cfg(feature = "sqlite")]

use super::decay::cycle;
use crate::OpenAt;
use harness::{Outcome, TestDir, clock, held, manual_flush, minutes, rounds, seconds};
use mnemon::{FlushReport, ManualClock, NewTrace, StoreBuilder, TraceStore, TraceType};
use serde_json::json;
use std::sync::Barrier;
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
    let store = builder.clock(clock).open_at(file.path())?;
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
        NewTrace::episodic(json!("fades")),
        NewTrace::sensory(json!("fades away")).base_decay_rate(2.0),
        NewTrace::semantic(json!("has no rate")).base_decay_rate(0.0),
    ])?;
    let all = || -> Vec<_> { ids.iter().map(|id| store.get(*id)).collect() };
    let before = all();
    assert_eq!(cycle(&store)?, 0, "no time has passed");
    clock.advance(minutes(10));
    assert_eq!(cycle(&store)?, 1);
    let after = all();
    assert!(after[2].is_none());
    assert_eq!(
        [&after[..2], &after[3..]].concat(),
        [&before[..2], &before[3..]].concat(),
        "no other has changed"
    );
    assert_eq!(cycle(&store)?, 0);
    Ok(())
}

/// The hour after a cycle, in cycles of a minute.
#[test]
fn cycles_write_nothing_but_removals() -> Outcome {
    for ages in [HOURS, NEW] {
        let (file, clock) = (TestDir::new()?, clock());
        let store = filled(&file, manual_flush(), ages, &clock)?;
        let mut all = 0;
        for _ in 0..=60 {
            let pruned = cycle(&store)?;
            assert_eq!(store.stats().dirty as u64, pruned);
            assert_eq!(trace_rows(&store.flush()?), [0, 0, pruned, 0]);
            all += pruned;
            clock.advance(minutes(1));
        }
        assert!(all > 100 && store.len() as u64 == 10_000 - all, "{all}");
    }
    Ok(())
}

/// Earlier versions of the crate stored a strength again when it had faded by some step.
#[test]
fn strengths_stored_by_earlier_versions_stand() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let ids = store.insert_many(mixed(500, HOURS, clock.now()))?;
    for later in [0, 61, 86_400] {
        clock.advance(seconds(later));
        for id in &ids {
            let plain = held(&store, *id)?;
            let strength = store.strength(&plain);
            let stored = NewTrace::new(plain.trace_type(), json!(0))
                .strength(strength)
                .peak_strength(plain.peak_strength())
                .base_decay_rate(plain.base_decay_rate())
                .emotional_intensity(plain.emotional_intensity())
                .created_at(plain.created_at())
                .last_reinforced(plain.last_reinforced())
                .last_decayed(clock.now());
            let stored = stored.into_trace()?;
            for later in [seconds(0), minutes(1), minutes(10_000)] {
                let at = clock.now() + later;
                assert_eq!(store.strength_at(&stored, at), store.strength_at(&plain, at), "{stored:?}");
            }
        }
    }
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
    assert_eq!(cycle(&store)?, 0);
    assert!(store.strength(&*held(&store, id)?) < 1e-9, "it fades all the same");
    Ok(())
}

#[test]
fn what_is_pinned_fades_and_stays() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let fast = || NewTrace::sensory(json!(1)).base_decay_rate(3.0);
    let [pinned, loose] = [store.insert(fast().pinned(true))?, store.insert(fast())?];
    clock.advance(minutes(1_000));
    assert_eq!(cycle(&store)?, 1);
    assert!(store.strength(&*held(&store, pinned)?) < 1e-9);
    assert!(!store.contains(loose));
    Ok(())
}

#[test]
fn each_trace_is_removed_once() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    let store = manual_flush().clock(&clock).open_at(file.path())?;
    for _ in 0..100 {
        let ids = store.insert_many((0..300).map(|n| NewTrace::episodic(json!(n)).base_decay_rate(6.0)))?;
        clock.advance(minutes(1));
        let start = Barrier::new(3);
        let removed = thread::scope(|scope| {
            let cycles = scope.spawn(|| {
                start.wait();
                (0..3).try_fold(0, |pruned, _| Ok(pruned + store.decay()?.traces))
            });
            let removers = ids.chunks(150).map(|ids| {
                let (store, start) = (&store, &start);
                scope.spawn(move || {
                    start.wait();
                    ids.iter().filter(|id| matches!(store.remove(**id), Ok(Some(_)))).count()
                })
            });
            let removers: Vec<_> = removers.collect();
            let removed: usize =
                removers.into_iter().map(|remover| remover.join().unwrap_or(usize::MAX)).sum();
            cycles.join().unwrap_or(Ok(usize::MAX)).map(|pruned: usize| pruned + removed)
        });
        assert_eq!(removed.map_err(|error: mnemon::Error| error.to_string()), Ok(300));
        assert_eq!(store.len(), 0);
    }
    store.flush()?;
    assert_eq!(harness::rows(&file.reader()?)?, 0);
    Ok(())
}

/// Traces that have faded away are pruned or reinforced, whichever comes first.
#[test]
fn a_cycle_never_undoes_a_reinforcement() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let (mut pruned, mut reinforced) = (0, 0);
    for _ in 0..rounds(20, 100) {
        let ids = store.insert_many((0..500).map(|n| NewTrace::episodic(json!(n)).base_decay_rate(6.0)))?;
        clock.advance(minutes(1));
        let start = Barrier::new(2);
        let (reinforcements, cycles) = thread::scope(|scope| {
            let cycles = scope.spawn(|| {
                start.wait();
                (0..5).try_for_each(|_| store.decay().map(drop))
            });
            start.wait();
            let reinforcements: Vec<_> = ids.iter().rev().map(|id| store.reinforce(*id)).collect();
            (reinforcements, cycles.join())
        });
        cycles.map_err(|_| "the cycles panicked")??;
        for (id, reinforcement) in ids.iter().rev().zip(reinforcements) {
            assert_eq!(store.get(*id), reinforcement?, "as it was told");
            match store.remove(*id)? {
                None => pruned += 1,
                Some(trace) => {
                    assert_eq!((trace.reinforcement_count(), trace.last_reinforced()), (1, clock.now()));
                    reinforced += 1;
                }
            }
        }
    }
    println!("{pruned} pruned, {reinforced} reinforced");
    Ok(())
}
