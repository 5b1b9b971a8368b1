//! Questions while other threads write, erase and flush: what returned before is found, and nothing else.

#[cfg(feature = "sqlite")]
use crate::OpenAt;
use harness::{Outcome, TestDir, flush_always, wait_until};
use mnemon::testkit::{Call, Faults};
use mnemon::{ErrorKind, NewTrace, Payload, TextIndex, TraceId, TraceStore};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const WRITERS: usize = 4;
const ROUNDS: usize = 300;

fn found(store: &TraceStore, text: &str) -> mnemon::Result<Vec<TraceId>> {
    let found = store.recall(text).limit(usize::MAX).run()?;
    Ok(found.iter().map(|found| found.trace.id()).collect())
}

fn said(word: &str, writer: usize, round: usize) -> String {
    format!("{word}{writer}x{round} said beside the quay")
}

/// A trace says something else in each round, and is removed every fifth.
fn write(store: &TraceStore, writer: usize) -> Outcome {
    let mut id = store.insert(NewTrace::text(&said("early", writer, 0)).tag("race"))?;
    for round in 0..ROUNDS {
        let (old, new) = (said("early", writer, round), said("early", writer, round + 1));
        let word = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
        assert_eq!(found(store, &word(&old))?, [id], "what was written is missed");
        store.update(id, |trace| trace.payload(Payload::text(&new)))?;
        assert_eq!(found(store, &word(&old))?, [], "found by what it said before");
        assert_eq!(found(store, &word(&new))?, [id], "missed by what it says now");
        store.reinforce(id)?;
        assert_eq!(found(store, &word(&new))?, [id], "missed after its numbers have changed");
        if round % 5 == 0 {
            store.remove(id)?;
            assert_eq!(found(store, &word(&new))?, [], "found after it was removed");
            id = store.insert(NewTrace::text(&new).tag("race"))?;
        }
    }
    Ok(())
}

#[test]
fn racing_questions_see_current_texts() -> Outcome {
    let file = TestDir::new()?;
    let store = flush_always().text_index(TextIndex::english()).open_at(file.path())?;
    let (start, done) = (Barrier::new(WRITERS + 2), AtomicBool::new(false));
    let steady = store.insert_many((0..20).map(|n| NewTrace::text(&format!("steady anchor {n}"))))?;
    thread::scope(|scope| -> Outcome {
        let (store, start, done) = (&store, &start, &done);
        let reader = scope.spawn(move || -> mnemon::Result<()> {
            start.wait();
            while !done.load(Ordering::Relaxed) {
                let found = store.recall("quay").tagged("race").limit(usize::MAX).run()?;
                assert!(found.len() <= WRITERS, "a trace is given twice");
                for found in found {
                    assert!(found.trace.has_tag("race") && found.trace.payload().as_str().contains("quay"));
                }
                let found = store.recall("anchor").limit(usize::MAX).run()?;
                assert_eq!(found.len(), 20, "a trace that nobody touches is missed");
            }
            Ok(())
        });
        let eraser = scope.spawn(move || -> mnemon::Result<()> {
            start.wait();
            for round in 0..ROUNDS / 10 {
                let secret = || NewTrace::text(&format!("secret{round} kept")).partition("gone");
                store.insert_many([secret(), secret()])?;
                assert_eq!(found(store, &format!("secret{round}"))?.len(), 2);
                store.erase_partition("gone")?;
                assert_eq!(found(store, &format!("secret{round}"))?, [], "found after it was erased");
            }
            Ok(())
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                scope.spawn(move || {
                    start.wait();
                    write(store, writer).map_err(|error| error.to_string())
                })
            })
            .collect();
        let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
        let erased = eraser.join();
        done.store(true, Ordering::Relaxed);
        reader.join().map_err(|_| "the reader panicked")??;
        erased.map_err(|_| "the eraser panicked")??;
        for ended in ended {
            ended.map_err(|_| "a writer panicked")??;
        }
        Ok(())
    })?;
    assert_eq!(found(&store, "anchor")?.len(), steady.len());
    Ok(())
}

/// The index is fed by the cuts and not by the commits, and survives what the store survives.
#[test]
fn index_survives_what_the_store_does() -> Outcome {
    let file = TestDir::new()?;
    let builder = || flush_always().text_index(TextIndex::english());
    let faults = Faults::new();
    let store = builder().open_with(faults.backend())?;
    faults.fail(Call::Apply).for_good().with(ErrorKind::DiskFull);
    let id = store.insert(NewTrace::text("written while the disk is full"))?;
    assert_eq!(found(&store, "disk")?, [id]);
    wait_until(|| store.recall("disk").stale_ok().run().is_ok_and(|found| found.len() == 1));
    drop(faults);

    let store = builder().open_at(file.path())?;
    store.insert_many((0..600).map(|n| NewTrace::text(&format!("loaded pilot{n}"))))?;
    let clone = store.clone();
    store.close()?;
    assert_eq!(found(&clone, "pilot7")?.len(), 1, "a closed store answers from memory");
    drop(clone);
    let store = builder().open_at(file.path())?;
    assert_eq!(found(&store, "pilot599")?.len(), 1);
    assert_eq!(found(&store, "loaded")?.len(), 600);
    store.restore(["ebb tide", "flood tide"].map(NewTrace::text))?;
    assert_eq!((found(&store, "tide")?.len(), found(&store, "loaded")?.len()), (2, 0));
    Ok(())
}
