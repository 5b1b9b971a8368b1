//! Fading: strength is a function of time; a cycle writes checkpoints and prunes, and nothing else.
#![cfg(feature = "sqlite")]

use harness::{Outcome, TestDir, clock, held, manual_flush, minutes, row, seconds};
use mnemon::{DecayCurve, FlushReport, ManualClock, NewTrace, StoreBuilder, TraceId, TraceStore, TraceType};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// After 1, 10, 100, 1,440 and 525,600 ticks, and after 100 with full emotional intensity.
const GOLDEN: [(TraceType, [f64; 6]); 6] = [
    (TraceType::Identity, [0.999307093, 0.997604977, 0.995395513, 0.992753292, 0.986914077, 0.996456201]),
    (TraceType::Procedural, [0.398616105, 0.395232844, 0.390875441, 0.385715127, 0.374504215, 0.392962459]),
    (TraceType::Trust, [0.298341051, 0.294299899, 0.289125691, 0.28304269, 0.269995176, 0.291599631]),
    (TraceType::Semantic, [0.496546248, 0.488153129, 0.477448783, 0.464925498, 0.438291898, 0.48256092]),
    (TraceType::Episodic, [0.591739623, 0.571904346, 0.547097617, 0.518773724, 0.461039491, 0.558876099]),
    (TraceType::Sensory, [0.373213197, 0.314717377, 0.252131933, 0.193282971, 0.107150542, 0.280466777]),
];

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 1e-9
}

#[test]
fn strength_fades_by_the_golden_values() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let start = clock.now();
    for (kind, golden) in GOLDEN {
        clock.set(start);
        let plain = held(&store, store.insert(NewTrace::new(kind, json!(1)))?)?;
        let moved = held(&store, store.insert(NewTrace::new(kind, json!(1)).emotional_intensity(1.0))?)?;
        let cases = [1, 10, 100, 1_440, 525_600].into_iter().zip([&plain; 5]).chain([(100, &moved)]);
        for ((ticks, trace), expected) in cases.zip(golden) {
            let at = start + minutes(ticks);
            let found = store.strength_at(trace, at);
            assert!(near(found, expected), "{kind} after {ticks} ticks: {found}, not {expected}");
            assert_eq!(DecayCurve::PowerLaw.strength_at(trace, at), found);
            clock.set(at);
            assert_eq!(store.strength(trace), found, "the store's clock is the time of its strengths");
        }
    }
    Ok(())
}

#[test]
fn rates_and_starts_are_the_models() {
    let rates = [0.0, 0.001, 0.005, 0.008, 0.010, 0.020, 0.100];
    let starts = [1.0, 1.0, 0.4, 0.3, 0.5, 0.6, 0.4];
    for ((kind, rate), start) in TraceType::ALL.iter().zip(rates).zip(starts) {
        assert_eq!((kind.base_decay_rate(), kind.starting_strength()), (rate, start), "{kind}");
    }
}

#[test]
fn time_before_reinforcement_counts_as_it() -> Outcome {
    let clock = clock();
    for curve in [DecayCurve::PowerLaw, DecayCurve::Exponential { half_life: minutes(1) }] {
        let store = manual_flush().clock(&clock).decay_curve(curve).in_memory()?;
        let trace = held(&store, store.insert(NewTrace::sensory(json!(1)))?)?;
        for earlier in [seconds(0), seconds(1), minutes(525_600)] {
            assert_eq!(store.strength_at(&trace, clock.now() - earlier), 0.4, "{curve:?} {earlier:?} before");
        }
        assert!(store.strength_at(&trace, clock.now() + seconds(1)) < 0.4);
    }
    Ok(())
}

/// Runs a decay cycle; returns the number of strengths stored again, and of traces removed.
fn cycle(store: &TraceStore) -> Outcome<(u64, u64)> {
    let before = store.stats();
    let removed = store.decay()?;
    let after = store.stats();
    assert_eq!((removed.traces as u64, removed.rows), (after.pruned - before.pruned, 0));
    Ok((after.checkpointed - before.checkpointed, removed.traces as u64))
}

/// Number of traces weaker than their stored strength.
fn fading(store: &TraceStore) -> usize {
    store.iter().filter(|trace| store.strength(trace) < trace.strength()).count()
}

/// A store that has run a cycle while its clock was ten years early, and the time before and after that.
fn with_future_checkpoint(file: &TestDir, clock: &ManualClock) -> Outcome<(TraceStore, TraceId)> {
    let curve = DecayCurve::Exponential { half_life: minutes(60) };
    let store = manual_flush().clock(clock).decay_curve(curve).prune(false).open(file.path())?;
    let id = store.insert(NewTrace::semantic(json!(1)).strength(0.8))?;
    clock.advance(minutes(10));
    assert_eq!(cycle(&store)?.0, 1);
    let now = clock.now();
    clock.advance(minutes(5_256_000));
    assert_eq!(cycle(&store)?.0, 1);
    assert!(held(&store, id)?.strength() < 1e-9);
    clock.set(now);
    Ok((store, id))
}

#[test]
fn future_checkpoint_is_not_believed() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    let expected = 0.8 * (-1.0_f64 / 6.0).exp2();
    let (store, id) = with_future_checkpoint(&file, &clock)?;
    let strength = store.strength(&*held(&store, id)?);
    assert!(near(strength, expected), "{strength}, not {expected}");
    assert_eq!(store.query().min_strength(0.5).run().len(), 1, "it is found by that");
    assert_eq!(store.decay()?.traces, 0);
    store.close()?;
    let store = manual_flush().clock(&clock).decay_curve(DecayCurve::None).open(file.path())?;
    assert!(near(store.strength(&*held(&store, id)?), 0.8), "nor one that is read from the file");
    let reinforced = store.reinforce(id)?.trace().ok_or("it is there")?;
    assert!(near(reinforced.strength(), 0.9), "a reinforcement adds to what it is");
    Ok(())
}

#[test]
fn edit_overrides_future_checkpoint() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    let (store, id) = with_future_checkpoint(&file, &clock)?;
    store.update(id, |trace| trace.tag("tide"))?;
    assert!(store.strength(&*held(&store, id)?) > 0.7, "of an edit that leaves the strength");
    let edited = store.update(id, |trace| trace.strength(0.2))?.ok_or("it is there")?;
    assert_eq!((store.strength(&edited), edited.last_decayed()), (0.2, clock.now()));
    Ok(())
}

/// A reinforcement is no checkpoint: what it says stands, though the clock was set back since.
#[test]
fn reinforcement_survives_clock_set_back() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let id = store.insert(NewTrace::semantic(json!(1)).strength(0.2).peak_strength(0.9))?;
    clock.advance(minutes(1));
    let trace = store.reinforce(id)?.trace().ok_or("it is there")?;
    clock.set(clock.now() - seconds(1));
    assert!(near(store.strength(&trace), 0.3), "{}", store.strength(&trace));
    Ok(())
}

#[test]
fn firmware_never_fades_whatever_its_rate() -> Outcome {
    let clock = clock();
    let half_life = minutes(1);
    for curve in [DecayCurve::PowerLaw, DecayCurve::Exponential { half_life }, DecayCurve::None] {
        let store = manual_flush().clock(&clock).decay_curve(curve).in_memory()?;
        let new = NewTrace::firmware(json!(1)).base_decay_rate(5.0).strength(0.7).peak_strength(0.9);
        let id = store.insert(new)?;
        let before = held(&store, id)?;
        clock.advance(minutes(1_000_000));
        assert_eq!(store.strength(&before), 0.7, "{curve:?}");
        assert_eq!(cycle(&store)?, (0, 0));
        assert_eq!(held(&store, id)?, before);
    }
    Ok(())
}

#[test]
fn rate_of_zero_never_fades() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    let trace = held(&store, store.insert(NewTrace::sensory(json!(1)).base_decay_rate(0.0))?)?;
    assert_eq!(store.strength_at(&trace, clock().now() + minutes(525_600)), 0.4);
    Ok(())
}

#[test]
fn exponential_curve_halves_at_half_life() -> Outcome {
    let half_life = seconds(86_400);
    let clock = clock();
    let store =
        manual_flush().clock(&clock).decay_curve(DecayCurve::Exponential { half_life }).in_memory()?;
    let semantic = held(&store, store.insert(NewTrace::semantic(json!(1)).strength(0.8))?)?;
    let faster =
        held(&store, store.insert(NewTrace::semantic(json!(1)).strength(0.8).base_decay_rate(0.02))?)?;
    let start = clock.now();
    for (days, expected) in [(0, 0.8), (1, 0.4), (2, 0.2), (3, 0.1)] {
        let found = store.strength_at(&semantic, start + half_life * days);
        assert!(near(found, expected), "after {days} half-lives: {found}");
    }
    for (halves, expected) in [(1, 0.4), (2, 0.2), (4, 0.05)] {
        let found = store.strength_at(&faster, start + half_life * halves / 2);
        assert!(near(found, expected), "at twice the rate after {halves} halves of the half-life: {found}");
    }
    Ok(())
}

#[test]
fn without_a_curve_nothing_fades() -> Outcome {
    let clock = clock();
    let store =
        manual_flush().clock(&clock).decay_curve(DecayCurve::None).checkpoint_step(0.0).in_memory()?;
    let id = store.insert(NewTrace::sensory(json!(1)).base_decay_rate(100.0))?;
    clock.advance(minutes(525_600));
    assert_eq!(store.strength(&*held(&store, id)?), 0.4);
    assert_eq!(cycle(&store)?, (0, 0));
    Ok(())
}

#[test]
fn emotional_intensity_alone_slows_fading() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    let at = |intensity: f64, valence: f64| -> Outcome<f64> {
        let new = NewTrace::episodic(json!(1)).emotional_intensity(intensity).emotional_valence(valence);
        let trace = held(&store, store.insert(new)?)?;
        Ok(store.strength_at(&trace, clock().now() + minutes(100)))
    };
    assert!(at(0.0, 0.0)? < at(0.5, 0.0)? && at(0.5, 0.0)? < at(1.0, 0.0)?);
    assert_eq!(at(0.5, -1.0)?, at(0.5, 1.0)?);
    Ok(())
}

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
        for trace in &store {
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
            let refused =
                ids.iter().filter(|id| !store.reinforce(**id).is_ok_and(|done| done.is_reinforced()));
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

#[test]
fn shared_clock_adds_all_advances() {
    let clock = clock();
    let start = clock.now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10_000).for_each(|_| clock.advance(seconds(1))));
        }
    });
    assert_eq!(clock.now().duration_since(start).as_secs(), 40_000);
}

#[test]
fn nan_has_no_strength() {
    let curve = DecayCurve::PowerLaw;
    let nan = [(f64::NAN, 0.1, 0.0, 1.0), (0.5, f64::NAN, 0.0, 1.0), (f64::INFINITY, 1e9, 0.0, 1e9)];
    for (peak, rate, intensity, ticks) in nan {
        assert_eq!(curve.decayed(peak, rate, intensity, ticks), 0.0);
    }
}
