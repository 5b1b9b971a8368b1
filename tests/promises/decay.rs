//! Fading: strength is a function of time, and a cycle prunes and writes nothing else.
#![cfg(feature = "sqlite")]

use crate::OpenAt;
use harness::{Outcome, TestDir, clock, held, manual_flush, minutes, seconds};
use mnemon::{DecayCurve, ManualClock, NewTrace, TraceId, TraceStore, TraceType};
use serde_json::json;

/// After 1, 10, 100, 1,440 and 525,600 ticks, and after 100 with full emotional intensity.
const GOLDEN: [(TraceType, [f64; 6]); 6] = [
    (TraceType::Identity, [0.999307093, 0.997604977, 0.995395513, 0.992753292, 0.986914077, 0.996456201]),
    (TraceType::Procedural, [0.398616105, 0.395232844, 0.390875441, 0.385715127, 0.374504215, 0.392962459]),
    (TraceType::Trust, [0.298341051, 0.294299899, 0.289125691, 0.28304269, 0.269995176, 0.291599631]),
    (TraceType::Semantic, [0.496546248, 0.488153129, 0.477448783, 0.464925498, 0.438291898, 0.48256092]),
    (TraceType::Episodic, [0.591739623, 0.571904346, 0.547097617, 0.518773724, 0.461039491, 0.558876099]),
    (TraceType::Sensory, [0.373213197, 0.314717377, 0.252131933, 0.193282971, 0.107150542, 0.280466777]),
];

pub(super) fn near(found: f64, expected: f64) -> bool {
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

/// Runs a decay cycle; returns the number of traces removed.
pub(super) fn cycle(store: &TraceStore) -> Outcome<u64> {
    let before = store.stats();
    let removed = store.decay()?;
    let after = store.stats();
    assert_eq!((removed.traces as u64, removed.rows), (after.pruned - before.pruned, 0));
    Ok(removed.traces as u64)
}

/// A store with a file of an earlier version of the crate, which stored strengths again as they faded, and did so while
/// its clock was ten years early.
fn with_future_strength(file: &TestDir, clock: &ManualClock) -> Outcome<(TraceStore, TraceId)> {
    let curve = DecayCurve::Exponential { half_life: minutes(60) };
    let builder = manual_flush().clock(clock).decay_curve(curve).prune(false);
    let store = builder.clone().open_at(file.path())?;
    let id = store.insert(NewTrace::semantic(json!(1)).strength(0.8))?;
    store.close()?;
    clock.advance(minutes(10));
    let early = (clock.now() + minutes(5_256_000)).as_microsecond();
    let stored = "UPDATE traces SET strength = 1e-12, last_decayed = ?1";
    assert_eq!(rusqlite::Connection::open(file.path())?.execute(stored, [early])?, 1);
    let store = builder.open_at(file.path())?;
    assert_eq!(held(&store, id)?.strength(), 1e-12);
    Ok((store, id))
}

#[test]
fn future_strength_is_not_believed() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    let expected = 0.8 * (-1.0_f64 / 6.0).exp2();
    let (store, id) = with_future_strength(&file, &clock)?;
    let strength = store.strength(&*held(&store, id)?);
    assert!(near(strength, expected), "{strength}, not {expected}");
    assert_eq!(store.query().min_strength(0.5).run().len(), 1, "it is found by that");
    assert_eq!(store.decay()?.traces, 0);
    store.close()?;
    let store = manual_flush().clock(&clock).decay_curve(DecayCurve::None).open_at(file.path())?;
    assert!(near(store.strength(&*held(&store, id)?), 0.8), "nor one that is read from the file");
    let reinforced = store.reinforce(id)?.ok_or("it is there")?;
    assert!(near(reinforced.strength(), 0.9), "a reinforcement adds to what it is");
    Ok(())
}

#[test]
fn edit_overrides_future_strength() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    let (store, id) = with_future_strength(&file, &clock)?;
    store.update(id, |trace| trace.tag("tide"))?;
    assert!(store.strength(&*held(&store, id)?) > 0.7, "of an edit that leaves the strength");
    let edited = store.update(id, |trace| trace.strength(0.2))?.ok_or("it is there")?;
    assert_eq!((store.strength(&edited), edited.last_decayed()), (0.2, clock.now()));
    Ok(())
}

/// What a reinforcement says stands, though the clock was set back since.
#[test]
fn reinforcement_survives_clock_set_back() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let id = store.insert(NewTrace::semantic(json!(1)).strength(0.2).peak_strength(0.9))?;
    clock.advance(minutes(1));
    let trace = store.reinforce(id)?.ok_or("it is there")?;
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
        assert_eq!(cycle(&store)?, 0);
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
    let store = manual_flush().clock(&clock).decay_curve(DecayCurve::None).in_memory()?;
    let id = store.insert(NewTrace::sensory(json!(1)).base_decay_rate(100.0))?;
    clock.advance(minutes(525_600));
    assert_eq!(store.strength(&*held(&store, id)?), 0.4);
    assert_eq!(cycle(&store)?, 0);
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
