//! Reinforcement: what is used again grows stronger, and no use of it is lost.
#![cfg(feature = "sqlite")]

use crate::OpenAt;
use harness::{Outcome, TestDir, clock, flush_always, held, manual_flush, minutes, note, seconds};
use mnemon::{NewTrace, TraceId, TraceStore};
use serde_json::json;
use std::sync::Barrier;
use std::thread;

fn reinforced(store: &TraceStore, id: TraceId) -> Outcome<std::sync::Arc<mnemon::Trace>> {
    Ok(store.reinforce(id)?.ok_or("it is there")?)
}

#[test]
fn reinforcement_adds_a_tenth() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let id = store.insert(NewTrace::episodic(json!(1)))?;
    clock.advance(minutes(10));
    let left = store.strength_at(&*held(&store, id)?, clock.now());
    let after = reinforced(&store, id)?;
    assert_eq!(after.strength(), left + 0.10);
    assert!((after.strength() - 0.671904346).abs() < 1e-9);
    assert_eq!(after.peak_strength(), after.strength(), "the peak rises with it");
    assert_eq!((after.last_reinforced(), after.last_decayed()), (clock.now(), clock.now()));
    assert_eq!((after.reinforcement_count(), after.revision()), (1, 2));
    assert_eq!(held(&store, id)?, after, "the answer is what the store holds");
    assert_eq!(store.strength(&after), after.strength(), "it fades anew from now on");
    Ok(())
}

#[test]
fn reinforcement_below_peak_keeps_peak() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let id = store.insert(NewTrace::sensory(json!(1)).strength(0.9))?;
    clock.advance(minutes(525_600));
    let left = store.strength(&*held(&store, id)?);
    let after = reinforced(&store, id)?;
    assert!(left < 0.3 && after.strength() == left + 0.10);
    assert_eq!(after.peak_strength(), 0.9);
    store.decay()?;
    assert_eq!(held(&store, id)?, after, "a cycle at the same time finds nothing to do");
    Ok(())
}

#[test]
fn no_strength_rises_above_one() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    let id = store.insert(note(1).strength(0.95))?;
    for count in 1..=3 {
        let after = reinforced(&store, id)?;
        assert_eq!((after.strength(), after.peak_strength()), (1.0, 1.0));
        assert_eq!((after.reinforcement_count(), after.revision()), (count, u64::from(count) + 1));
    }
    Ok(())
}

#[test]
fn imprint_window_triples_reinforcement() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).imprint_until(clock.now() + minutes(1)).in_memory()?;
    let steady = || note(1).strength(0.1).base_decay_rate(0.0);
    let inside = store.insert(steady())?;
    assert_eq!(held(&store, inside)?.reinforcement_count(), 1);
    assert_eq!(held(&store, store.insert(steady().reinforcement_count(0))?)?.reinforcement_count(), 0);
    clock.advance(seconds(60) - std::time::Duration::from_micros(1));
    let after = reinforced(&store, inside)?;
    assert_eq!((after.strength(), after.reinforcement_count()), (0.1 + 0.10 * 3.0, 2));
    clock.advance(std::time::Duration::from_micros(1));
    let outside = store.insert(steady())?;
    assert_eq!(held(&store, outside)?.reinforcement_count(), 0, "the window has ended");
    assert_eq!(reinforced(&store, outside)?.strength(), 0.1 + 0.10);
    Ok(())
}

#[test]
fn no_imprint_window_by_default() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    let id = store.insert(note(1).strength(0.1))?;
    assert_eq!(held(&store, id)?.reinforcement_count(), 0);
    assert_eq!(reinforced(&store, id)?.strength(), 0.1 + 0.10);
    Ok(())
}

#[test]
fn firmware_is_neither_reinforced_nor_written() -> Outcome {
    let (file, clock) = (TestDir::new()?, clock());
    let store = manual_flush().clock(&clock).open_at(file.path())?;
    let id = store.insert(NewTrace::firmware(json!(1)).strength(0.5))?;
    store.flush()?;
    let before = held(&store, id)?;
    clock.advance(minutes(1));
    assert_eq!(store.reinforce(id)?.as_ref(), Some(&before));
    assert_eq!((held(&store, id)?, store.stats().dirty), (before, 0));
    Ok(())
}

#[test]
fn reinforcing_absent_trace_is_not_found() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    let removed = store.insert(note(1))?;
    store.remove(removed)?;
    for id in [removed, TraceId::new()] {
        assert_eq!(store.reinforce(id)?, None);
    }
    assert_eq!(store.len(), 0);
    Ok(())
}

#[test]
fn retrieval_reinforces_the_strongest() -> Outcome {
    let clock = clock();
    let store = manual_flush().clock(&clock).in_memory()?;
    let steady = |strength: f64| note(strength).strength(strength).base_decay_rate(0.0);
    let strengths = [0.1, 0.1_f64.next_down(), 0.9, 0.3, 0.05, 0.6];
    let ids = store.insert_many(strengths.map(steady))?;
    // Strong once, and faded since.
    let faded = store.insert(note("faded").strength(1.0).base_decay_rate(3.0))?;
    clock.advance(minutes(10));
    let found = store.retrieve_and_reinforce(2)?;
    assert_eq!(found.iter().map(|trace| trace.id()).collect::<Vec<_>>(), [ids[2], ids[5]]);
    assert_eq!(found.iter().map(|trace| trace.strength()).collect::<Vec<_>>(), [1.0, 0.6 + 0.10]);
    let all = store.retrieve_and_reinforce(100)?;
    assert_eq!(all.iter().map(|trace| trace.id()).collect::<Vec<_>>(), [ids[2], ids[5], ids[3], ids[0]]);
    for trace in &all {
        assert_eq!((held(&store, trace.id())?, trace.last_reinforced()), (trace.clone(), clock.now()));
    }
    let counts = ids.iter().map(|id| held(&store, *id).map(|trace| trace.reinforcement_count()));
    assert_eq!(counts.collect::<Outcome<Vec<_>>>()?, [1, 0, 2, 1, 0, 2]);
    assert_eq!(held(&store, faded)?.reinforcement_count(), 0, "as strong as it is now");
    assert!(store.retrieve_and_reinforce(0)?.is_empty());
    Ok(())
}

#[test]
fn retrieval_leaves_firmware_unchanged() -> Outcome {
    let store = manual_flush().clock(&clock()).in_memory()?;
    let firm = store.insert(NewTrace::firmware(json!(1)))?;
    let loose = store.insert(note(1))?;
    let before = held(&store, firm)?;
    let found = store.retrieve_and_reinforce(2)?;
    assert_eq!(found, [before, held(&store, loose)?]);
    assert_eq!(found[1].reinforcement_count(), 1);
    Ok(())
}

#[test]
fn concurrent_reinforcements_are_all_counted() -> Outcome {
    const THREADS: usize = 8;
    const EACH: usize = 2_000;
    let file = TestDir::new()?;
    let store = flush_always().open_at(file.path())?;
    let ids = store.insert_many((0..4).map(|n| note(n).base_decay_rate(0.0)))?;
    let start = Barrier::new(THREADS);
    let refused: usize = thread::scope(|scope| {
        let threads = (0..THREADS).map(|thread| {
            let (store, ids, start) = (&store, &ids, &start);
            scope.spawn(move || {
                start.wait();
                let done = |n: usize| store.reinforce(ids[(thread + n) % ids.len()]);
                (0..EACH).filter(|n| !done(*n).is_ok_and(|done| done.is_some())).count()
            })
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(EACH)).sum()
    });
    assert_eq!(refused, 0);
    let counted: u32 = store.iter().map(|trace| trace.reinforcement_count()).sum();
    assert_eq!(counted as usize, THREADS * EACH);
    let changes: u64 = store.iter().map(|trace| trace.revision() - 1).sum();
    assert_eq!(changes as usize, THREADS * EACH);
    assert!(store.iter().all(|trace| trace.strength() == 1.0));
    store.flush()?;
    let sql = "SELECT sum(reinforcement_count) FROM traces";
    assert_eq!(file.reader()?.query_row(sql, [], |row| row.get::<_, i64>(0))?, (THREADS * EACH) as i64);
    Ok(())
}
