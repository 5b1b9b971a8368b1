//! Ranking: what a score is made of, and in which order traces come.
#![cfg(feature = "sqlite")]

use super::retrieval::{ids, numbered};
use harness::{Outcome, clock, manual_flush, minutes, note, seconds};
use mnemon::{NewTrace, Order, TraceId};
use serde_json::json;

/// Strength, emotional intensity and rate of the traces that the golden scores are of.
pub(super) fn half() -> NewTrace {
    note("half").strength(0.5).emotional_intensity(0.5).base_decay_rate(0.0)
}

#[test]
fn scores_are_the_golden_ones() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let start = clock.now();
    let [alone, a, b] = [store.insert(half())?, store.insert(half())?, store.insert(half())?];
    for _ in 0..3 {
        store.co_activate(a, b)?;
    }
    for (at, plain, associated) in [
        (start, 0.75, 0.8625),
        (start + seconds(3_600), 0.375, 0.43125),
        (start + seconds(7_200), 0.1875, 0.215625),
        (start - seconds(3_600), 0.75, 0.8625),
    ] {
        clock.set(at);
        let ranked = store.rank([alone, a, b]);
        for (ranked, (id, score)) in ranked.iter().zip([(a, associated), (b, associated), (alone, plain)]) {
            assert_eq!(ranked.trace.id(), id, "at {at}");
            assert!((ranked.score - score).abs() < 1e-12, "{} at {at}, not {score}", ranked.score);
        }
        assert_eq!(ranked.len(), 3);
        for ranked in &ranked {
            let product = ranked.strength * ranked.recency * ranked.emotion * ranked.association;
            assert_eq!((product, ranked.strength, ranked.emotion), (ranked.score, 0.5, 1.5));
        }
        let scores = |ranked: &[mnemon::Ranked]| -> Vec<_> {
            ranked.iter().map(|ranked| (ranked.trace.id(), ranked.score)).collect()
        };
        assert_eq!(scores(&store.rank([b, a, alone])), scores(&ranked), "in whatever order they are given");
    }
    Ok(())
}

#[test]
fn a_score_fades_with_the_strength() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let id = store.insert(NewTrace::episodic(json!(1)))?;
    clock.advance(minutes(100));
    let [ranked] = &store.rank([id])[..] else { return Err("one is known".into()) };
    assert!((ranked.strength - 0.547097617).abs() < 1e-9);
    assert!((ranked.score - 0.547097617 * (-100.0_f64 / 60.0).exp2()).abs() < 1e-9);
    Ok(())
}

/// A score of so long ago is 0 as a number.
#[test]
fn old_scores_keep_their_order() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    // By id, the weakest and oldest first.
    let new = |n: u32, age| {
        let strength = 0.1 * f64::from(n);
        note(n)
            .id(numbered(u128::from(n)))
            .strength(strength)
            .base_decay_rate(0.0)
            .last_reinforced(clock.now() - age)
    };
    let days = |days: u64| seconds(86_400 * days);
    let mut stored =
        store.insert_many([new(1, days(400)), new(2, days(400)), new(3, days(399)), new(4, days(50))])?;
    for _ in 0..3 {
        store.co_activate(stored[0], stored[1])?;
    }
    stored.reverse();
    assert_eq!(ids(&store.query().order(Order::Score).run()), stored);
    assert_eq!(ids(&store.query().order(Order::Score).limit(2).run()), stored[..2]);
    let ranked = store.rank(stored.clone());
    assert_eq!(ranked.iter().map(|ranked| ranked.trace.id()).collect::<Vec<_>>(), stored);
    assert_eq!((ranked[0].score, ranked[0].recency), (0.0, 0.0));
    Ok(())
}

#[test]
fn equal_scores_order_by_strength_next() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let new = |n: u32, strength: f64, age| {
        let new = note(n).id(numbered(u128::from(n))).strength(strength).base_decay_rate(0.0);
        new.last_reinforced(clock.now() - seconds(age))
    };
    let stored = store.insert_many([
        new(6, 1.0, 0),
        new(5, 0.5, 0).emotional_intensity(1.0),
        new(7, 0.5, 0).emotional_intensity(1.0),
        new(4, 0.0, 1),
        new(2, 0.0, 2),
        new(3, 0.0, 2),
    ])?;
    assert_eq!(ids(&store.query().order(Order::Score).run()), stored);
    let ranked = store.rank(stored.clone());
    assert_eq!(ranked.iter().map(|ranked| ranked.trace.id()).collect::<Vec<_>>(), stored);
    assert_eq!(ranked.iter().map(|ranked| ranked.score).collect::<Vec<_>>(), [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    Ok(())
}

#[test]
fn ranking_skips_unknown_and_duplicates() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    let [a, b] = [store.insert(half())?, store.insert(half().strength(0.7))?];
    let gone = store.insert(half())?;
    store.remove(gone)?;
    let ranked = store.rank([a, TraceId::new(), b, a, gone, b, a]);
    assert_eq!(ranked.iter().map(|ranked| ranked.trace.id()).collect::<Vec<_>>(), [b, a]);
    assert!(store.rank([]).is_empty() && store.rank([gone]).is_empty());
    Ok(())
}

#[test]
fn only_associations_within_list_count() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    let [a, b, c] = [store.insert(half())?, store.insert(half())?, store.insert(half())?];
    let bonus = |ids: &[TraceId], id| {
        let ranked = store.rank(ids.iter().copied()).into_iter().find(|ranked| ranked.trace.id() == id);
        ranked.map(|ranked| ranked.association)
    };
    for _ in 0..2 {
        store.co_activate(a, b)?;
    }
    assert_eq!(bonus(&[a, b], a), Some(1.0), "twice is not yet associated");
    store.co_activate(b, a)?;
    assert_eq!(
        [bonus(&[a, b, c], a), bonus(&[a, b, c], b), bonus(&[a, b, c], c)],
        [Some(1.15), Some(1.15), Some(1.0)]
    );
    assert_eq!([bonus(&[a, c], a), bonus(&[a], a), bonus(&[a, a], a)], [Some(1.0); 3]);
    Ok(())
}

#[test]
fn only_twenty_nearest_are_associated() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    let hub = store.insert(half())?;
    let near = store.insert_many((0..21).map(|_| half()))?;
    for (at, id) in near.iter().enumerate() {
        for _ in 0..if at == 10 { 3 } else { 4 } {
            store.co_activate(hub, *id)?;
        }
    }
    let ranked = store.rank([hub, near[10]]);
    let bonuses: Vec<_> = ranked.iter().map(|ranked| (ranked.trace.id(), ranked.association)).collect();
    assert_eq!(bonuses, [(hub, 1.15), (near[10], 1.0)]);
    Ok(())
}
