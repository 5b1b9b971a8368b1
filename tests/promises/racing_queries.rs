//! Queries while other threads write: none finds what is not so, or misses what stays.
#![cfg(feature = "sqlite")]

use super::retrieval::visited;
use crate::OpenAt;
use harness::{Outcome, TestDir, flush_always, held, note};
use mnemon::{NewTrace, Trace, TraceStore, TraceType};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

/// Fails if an answer gives a trace twice, or one that is not tagged so.
fn check(answer: &[Arc<Trace>], tag: &str) {
    let distinct: BTreeSet<_> = answer.iter().map(|trace| trace.id()).collect();
    assert_eq!(distinct.len(), answer.len(), "a trace is given twice");
    assert!(answer.iter().all(|trace| trace.has_tag(tag)), "a trace is given under a tag that it has not");
}

#[test]
fn racing_queries_see_current_tags() -> Outcome {
    const WRITERS: usize = 3;
    const ROUNDS: usize = 2_000;
    let file = TestDir::new()?;
    let store = flush_always().open_at(file.path())?;
    // Each writer moves its own traces to and fro, and all of them change what else the steady ones have.
    let steady = store.insert_many((0..8).map(|n| note(n).tags(["a", "b"])))?;
    let own: Vec<_> = (0..WRITERS)
        .map(|_| store.insert_many((0..4).map(|n| note(n).tag("a"))))
        .collect::<Result<_, _>>()?;
    let (start, done) = (Barrier::new(WRITERS + 1), AtomicBool::new(false));
    let find = |tag: &str| store.query().tagged(tag).limit(usize::MAX).run();
    thread::scope(|scope| -> Outcome {
        let reader = scope.spawn(|| {
            start.wait();
            while !done.load(Ordering::Relaxed) {
                for tag in ["a", "b"] {
                    let answer = find(tag);
                    check(&answer, tag);
                    let found = steady.iter().filter(|id| answer.iter().any(|trace| trace.id() == **id));
                    assert_eq!(found.count(), steady.len(), "a trace that is always tagged {tag} is missed");
                }
            }
        });
        let writers = own.iter().enumerate().map(|(writer, own)| {
            let (store, steady, start, find) = (&store, &steady, &start, &find);
            scope.spawn(move || -> mnemon::Result<()> {
                start.wait();
                for round in 0..ROUNDS {
                    let id = own[round % own.len()];
                    let [old, new] = if round / own.len() % 2 == 0 { ["a", "b"] } else { ["b", "a"] };
                    store.update(id, |trace| trace.tags([new]))?;
                    assert!(find(old).iter().all(|trace| trace.id() != id), "found under an old tag");
                    assert!(find(new).iter().any(|trace| trace.id() == id), "missed under its new tag");
                    let other = ["x", "y", "z"][(writer + round) % 3];
                    store.update(steady[round % steady.len()], |trace| trace.tags(["a", "b", other]))?;
                }
                Ok(())
            })
        });
        let writers: Vec<_> = writers.collect();
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        done.store(true, Ordering::Relaxed);
        reader.join().map_err(|_| "the reader panicked")?;
        for ended in ended {
            ended.map_err(|_| "a writer panicked")??;
        }
        Ok(())
    })?;
    // Nothing is left behind of all the moves.
    let visits: u64 = ["a", "b", "x", "y", "z"]
        .iter()
        .map(|tag| visited(&store, store.query().tagged(*tag).limit(usize::MAX)))
        .sum();
    assert_eq!(visits, 8 * 3 + 4 * WRITERS as u64);
    Ok(())
}

/// All writers set the tags of one trace: those that lose the race must not take away what the winner has set.
#[test]
fn contended_trace_is_found_by_tags() -> Outcome {
    const WRITERS: usize = 4;
    let store = TraceStore::builder().flush_interval(std::time::Duration::ZERO).in_memory()?;
    let id = store.insert(note(1).tags(["kept", "a"]))?;
    let start = Barrier::new(WRITERS);
    let failed: usize = thread::scope(|scope| {
        let writers = (0..WRITERS).map(|writer| {
            let (store, start) = (&store, &start);
            scope.spawn(move || {
                start.wait();
                let move_on = |round: usize| {
                    let tag = ["a", "b", "c"][(writer + round) % 3];
                    let moved = store.update(id, |trace| trace.tags(["kept", tag])).is_ok();
                    let kept = store.query().tagged("kept").run();
                    moved && kept.len() == 1
                };
                (0..5_000).filter(|round| !move_on(*round)).count()
            })
        });
        let writers: Vec<_> = writers.collect();
        writers.into_iter().map(|writer| writer.join().unwrap_or(usize::MAX / 8)).sum()
    });
    assert_eq!(failed, 0, "found each time");
    let tags: Vec<_> = held(&store, id)?.tags().map(str::to_owned).collect();
    for tag in ["a", "b", "c", "kept"] {
        let expected = u64::from(tags.iter().any(|has| has == tag));
        assert_eq!(
            visited(&store, store.query().tagged(tag).limit(usize::MAX)),
            expected,
            "{tag} of {tags:?}"
        );
    }
    Ok(())
}

#[test]
fn passing_trace_is_never_given_twice() -> Outcome {
    let file = TestDir::new()?;
    let store = flush_always().open_at(file.path())?;
    let coming = store.insert_many((0..4).map(|n| note(n).tag("here")))?;
    let done = AtomicBool::new(false);
    let start = Barrier::new(3);
    thread::scope(|scope| -> Outcome {
        let writers = [0, 1].map(|half| {
            let (store, coming, start) = (&store, &coming[half * 2..half * 2 + 2], &start);
            scope.spawn(move || -> mnemon::Result<()> {
                start.wait();
                for n in 0..5_000 {
                    let id = coming[n % 2];
                    store.remove(id)?;
                    let kind = TraceType::ALL[n % TraceType::ALL.len()];
                    store.insert(NewTrace::new(kind, json!(n)).tag("here").id(id))?;
                }
                Ok(())
            })
        });
        let reader = scope.spawn(|| {
            start.wait();
            while !done.load(Ordering::Relaxed) {
                check(&store.query().tagged("here").run(), "here");
                let all = TraceType::ALL.iter().fold(store.query(), |query, kind| query.of_type(*kind));
                check(&all.run(), "here");
            }
        });
        let ended = writers.map(|writer| writer.join());
        done.store(true, Ordering::Relaxed);
        reader.join().map_err(|_| "the reader panicked")?;
        for ended in ended {
            ended.map_err(|_| "a writer panicked")??;
        }
        Ok(())
    })?;
    assert_eq!(store.query().tagged("here").run().len(), 4);
    Ok(())
}
