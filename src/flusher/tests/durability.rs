//! How far the backend is, as the flusher tells it, and what it keeps to be written again.

use super::*;

/// A cut that failed is no commit: what a checkpoint makes durable is what was applied.
#[test]
fn checkpoint_makes_durable_what_was_committed() {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    state.put('b');
    told.next(Turn::Fail(ErrorKind::DiskFull));
    assert!(!flusher.flush_once(Durability::Committed, Opening::Open));
    assert_eq!(state.progress.watermarks(), (1, 0));
    let waits = state.progress.ticket(2);
    told.desk().synced_by_tidying = true;
    assert!(flusher.maintain(true));
    assert_eq!(state.progress.watermarks(), (1, 1));
    assert!(waits.is_ok() && state.progress.ticket(2).is_ok(), "the second cut is owed");
    assert_eq!(told.calls(), ["commit 1 +a", "commit 2 +b", "tidy"]);
}

/// Nothing of it is known to be there, until it is written again.
#[test]
fn watermarks_fall_back_to_what_the_backend_still_has() {
    for (found, told_then) in [(None, (1, 1)), (Some(Turn::Empty), (0, 0))] {
        let (mut flusher, state, told) = two_linked();
        state.touch('a');
        assert!(flusher.flush_once(Durability::Committed, Opening::Open));
        assert_eq!(state.progress.watermarks(), (2, 1));
        state.touch('b');
        told.next(Turn::Fail(ErrorKind::Io));
        assert!(!flusher.flush_once(Durability::Committed, Opening::Open));
        let again = state.clone();
        told.next(found.unwrap_or_else(|| Turn::Meanwhile(Box::new(|| ()))));
        told.next(Turn::Meanwhile(Box::new(move || {
            assert_eq!(again.progress.watermarks(), told_then, "while all of it is written again");
        })));
        assert!(
            flusher.flush_once(Durability::Durable, Opening::Open),
            "{:?}",
            state.counters.present_error()
        );
        assert_eq!(state.progress.watermarks(), (4, 4));
    }
}

/// As a backend without housekeeping of its own has it: nothing but a sync ever tells that a row is gone for good.
#[test]
fn what_is_kept_to_be_written_again_is_bounded_by_what_lives() {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    let mut most = 0;
    for _ in 0..400 {
        state.put('b');
        assert!(flusher.flush_once(Durability::Committed, Opening::Open));
        state.remove('b');
        assert!(flusher.flush_once(Durability::Committed, Opening::Open));
        most = most.max(flusher.unsynced_count());
    }
    assert!(most < 160, "{most} rows are kept for one trace that lives");
    let calls = told.calls();
    let syncs = calls.iter().filter(|call| call.starts_with("sync")).count();
    assert!((1..=10).contains(&syncs), "and a sync is rare: {syncs} of {}", calls.len());
}

/// Whoever asks for a spill may come before the task of an erasure that has removed something already.
#[cfg(all(feature = "snapshot", feature = "sqlite"))]
#[test]
fn spill_asked_for_during_an_erasure_names_it() {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    let block = state.generations.block_cuts();
    state.remove('a');
    let (show, shown) = std::sync::mpsc::channel();
    state.send(CutTask::Spill(Box::new(move |spill| drop(show.send(spill)))));
    erase(&state, TraceType::Semantic);
    drop(block);
    told.next(Turn::Fail(ErrorKind::DiskFull));
    assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
    let spill = shown.try_recv().expect("it is shown at the cut");
    assert_eq!(spill.erased, [Scope::Type(TraceType::Semantic)]);
    assert_eq!((spill.durable, spill.cut, spill.traces), (1, 2, vec![(id('a'), None)]));
}

/// What is written anew is all in it, so that it can be applied to the empty file.
#[cfg(all(feature = "snapshot", feature = "sqlite"))]
#[test]
fn spill_of_a_store_whose_backend_was_emptied_goes_on_from_nothing() {
    let (mut flusher, state, told) = two_linked();
    state.touch('a');
    told.next(Turn::Fail(ErrorKind::Io));
    assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
    told.next(Turn::Empty);
    told.next(Turn::Fail(ErrorKind::DiskFull));
    assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
    let (show, shown) = std::sync::mpsc::channel();
    state.send(CutTask::Spill(Box::new(move |spill| drop(show.send(spill)))));
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    let spill = shown.try_recv().expect("it is shown at the cut");
    assert_eq!((spill.durable, spill.traces.len(), spill.links.len()), (0, 2, 1));
}
