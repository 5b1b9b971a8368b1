//! How far the backend is, as the flusher tells it, and what it keeps to be written again.

use super::*;

/// A cut that failed is no commit: what a checkpoint makes durable is what was applied.
#[test]
fn checkpoint_makes_durable_what_was_committed() {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    assert!(driver.turn(Reach::Committed, Opening::Open));
    shared.put('b');
    told.next(Turn::Fail(ErrorClass::Full));
    assert!(!driver.turn(Reach::Committed, Opening::Open));
    assert_eq!(shared.progress.watermarks(), (1, 0));
    let waits = shared.progress.goal(2);
    told.desk().synced_by_tidying = true;
    assert!(driver.tidy(true));
    assert_eq!(shared.progress.watermarks(), (1, 1));
    assert!(waits.is_ok() && shared.progress.goal(2).is_ok(), "the second cut is owed");
    assert_eq!(told.calls(), ["commit 1 +a", "commit 2 +b", "tidy"]);
}

/// Nothing of it is known to be there, until it is written again.
#[test]
fn watermarks_fall_back_to_what_the_backend_still_has() {
    for (found, told_then) in [(None, (1, 1)), (Some(Turn::Empty), (0, 0))] {
        let (mut driver, shared, told) = two_linked();
        shared.touch('a');
        assert!(driver.turn(Reach::Committed, Opening::Open));
        assert_eq!(shared.progress.watermarks(), (2, 1));
        shared.touch('b');
        told.next(Turn::Fail(ErrorClass::Io));
        assert!(!driver.turn(Reach::Committed, Opening::Open));
        let again = shared.clone();
        told.next(found.unwrap_or_else(|| Turn::Meanwhile(Box::new(|| ()))));
        told.next(Turn::Meanwhile(Box::new(move || {
            assert_eq!(again.progress.watermarks(), told_then, "while all of it is written again");
        })));
        assert!(driver.turn(Reach::Durable, Opening::Open), "{:?}", shared.telemetry.present_error());
        assert_eq!(shared.progress.watermarks(), (4, 4));
    }
}

/// As a backend without housekeeping of its own has it: nothing but a sync ever tells that a row is gone for good.
#[test]
fn what_is_kept_to_be_written_again_is_bounded_by_what_lives() {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    let mut most = 0;
    for _ in 0..20_000 {
        shared.put('b');
        assert!(driver.turn(Reach::Committed, Opening::Open));
        shared.remove('b');
        assert!(driver.turn(Reach::Committed, Opening::Open));
        most = most.max(driver.unsynced());
    }
    assert!(most < 10_000, "{most} rows are kept for one trace that lives");
    let calls = told.calls();
    let syncs = calls.iter().filter(|call| call.starts_with("sync")).count();
    assert!((1..=10).contains(&syncs), "and a sync is rare: {syncs} of {}", calls.len());
}

/// Whoever asks for a spill may come before the errand of an erasure that has removed something already.
#[cfg(all(feature = "snapshot", feature = "sqlite"))]
#[test]
fn spill_asked_for_during_an_erasure_names_it() {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    assert!(driver.turn(Reach::Durable, Opening::Open));
    let block = shared.clock.block_cuts();
    shared.remove('a');
    let (show, shown) = std::sync::mpsc::channel();
    shared.send(Errand::Spill(Box::new(move |spill| drop(show.send(spill)))));
    erase(&shared, TraceType::Semantic);
    drop(block);
    told.next(Turn::Fail(ErrorClass::Full));
    assert!(!driver.turn(Reach::Durable, Opening::Open));
    let spill = shown.try_recv().expect("it is shown at the cut");
    assert_eq!(spill.erased, [Scope::Type(TraceType::Semantic)]);
    assert_eq!((spill.durable, spill.cut, spill.traces), (1, 2, vec![(id('a'), None)]));
}

/// What is written anew is all in it, so that it can be applied to the empty file.
#[cfg(all(feature = "snapshot", feature = "sqlite"))]
#[test]
fn spill_of_a_store_whose_backend_was_emptied_goes_on_from_nothing() {
    let (mut driver, shared, told) = two_linked();
    shared.touch('a');
    told.next(Turn::Fail(ErrorClass::Io));
    assert!(!driver.turn(Reach::Durable, Opening::Open));
    told.next(Turn::Empty);
    told.next(Turn::Fail(ErrorClass::Full));
    assert!(!driver.turn(Reach::Durable, Opening::Open));
    let (show, shown) = std::sync::mpsc::channel();
    shared.send(Errand::Spill(Box::new(move |spill| drop(show.send(spill)))));
    assert!(driver.turn(Reach::Durable, Opening::Open));
    let spill = shown.try_recv().expect("it is shown at the cut");
    assert_eq!((spill.durable, spill.traces.len(), spill.links.len()), (0, 2, 1));
}
