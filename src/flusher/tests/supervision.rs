//! A turn that panics outside of the backend's calls: whoever waits is told, and nothing is lost.

use super::*;
use crate::ErrorKind;
use crate::flusher::supervised_turn;

/// The flusher's next turn panics after its cut.
fn panic_at_the_cut(shared: &Shared) {
    shared.send(Errand::View(Box::new(|_| std::panic::resume_unwind(Box::new("as the test says")))));
}

fn turn(driver: &mut Driver) -> bool {
    supervised_turn(driver, &mut true)
}

#[test]
fn a_panic_is_told_to_all_who_wait_and_everything_is_owed_again() -> Outcome {
    let (mut driver, shared, told) = two_linked();
    shared.touch('a');
    let goals = [2, 9].map(|generation| shared.progress.request(generation));
    panic_at_the_cut(&shared);
    assert!(!turn(&mut driver));
    for goal in goals {
        let Wait::<_, Error>::Failed(error) = shared.progress.wait(goal.map_err(|_| "it is not durable")?)
        else {
            return Err("it was not flushed".into());
        };
        assert_eq!(error.kind(), ErrorKind::Panicked);
        assert!(error.to_string().contains("as the test says"), "{error}");
    }
    let Health::Degraded { kind, attempts, .. } = shared.health() else { return Err("it panicked".into()) };
    assert_eq!((kind, attempts, shared.telemetry.sequence() % 2), (ErrorKind::Panicked, 1, 0));
    assert!(told.calls().is_empty());
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(
        told.calls(),
        ["reopen", "sync 3 +a +b +ab"],
        "what the turn had taken may be lost: all is written"
    );
    assert_eq!(shared.health(), Health::Healthy);
    shared.touch('b');
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 4 ~b"], "once");
    Ok(())
}

#[test]
fn a_panic_of_a_close_leaves_a_store_that_takes_writes_and_closes() {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    shared.progress.start_closing();
    let other = shared.clone();
    told.next(Turn::Meanwhile(Box::new(move || panic_at_the_cut(&other))));
    assert!(!turn(&mut driver), "the second drain panics, which seals");
    assert!(!shared.clock.enter().is_sealed() && !shared.progress.is_closed());
    shared.put('b');
    shared.progress.start_closing();
    assert!(turn(&mut driver) && shared.progress.is_closed());
    assert_eq!(told.calls(), ["sync 1 +a", "reopen", "sync 4 +a +b", "close 4"]);
}

#[test]
fn one_that_panics_each_time_goes_on() {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    for attempt in 1..=3 {
        panic_at_the_cut(&shared);
        assert!(!turn(&mut driver));
        assert!(matches!(shared.health(), Health::Degraded { attempts, .. } if attempts == attempt));
    }
    shared.progress.start_closing();
    assert!(turn(&mut driver));
    assert_eq!(told.calls(), ["reopen", "sync 4 +a", "close 4"]);
}

/// Its watermark would fall to 0.
#[test]
fn an_empty_store_that_panicked_goes_on_from_where_it_was() {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    assert!(driver.turn(Reach::Durable, Opening::Open));
    shared.remove('a');
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 1 +a", "sync 2 -a"]);
    panic_at_the_cut(&shared);
    assert!(!turn(&mut driver));
    shared.progress.start_closing();
    assert!(turn(&mut driver));
    assert_eq!(told.calls(), ["reopen", "close 2"]);
}

/// What a spill has that is taken with the next turn: what the file is said to hold, and how many traces and links.
#[cfg(feature = "sqlite")]
fn spilled(driver: &mut Driver, shared: &Shared) -> Option<(u64, usize, usize)> {
    let (show, shown) = std::sync::mpsc::channel();
    shared.send(Errand::Spill(Box::new(move |spill| drop(show.send(spill)))));
    driver.turn(Reach::Committed, Opening::Open);
    shown.try_recv().ok().map(|spill| (spill.durable, spill.traces.len(), spill.links.len()))
}

/// The process may end before it is mended.
#[cfg(feature = "sqlite")]
#[test]
fn a_spill_holds_everything_while_what_is_stored_can_not_be_counted_on() {
    let full = || Turn::Fail(ErrorClass::Full);
    // As long as it can be: what is owed.
    let (mut driver, shared, told) = two_linked();
    shared.touch('a');
    told.next(full());
    assert_eq!(spilled(&mut driver, &shared), Some((1, 1, 0)));
    // It is damaged, and can't be replaced.
    let (mut driver, shared, told) = two_linked();
    told.desk().touched = true;
    told.next(Turn::Changed);
    told.next(full());
    assert!(!driver.turn(Reach::Durable, Opening::Open));
    told.next(full());
    assert_eq!(spilled(&mut driver, &shared), Some((0, 2, 1)));
    assert_eq!(told.calls(), ["reopen", "replace", "replace"]);
    // It was touched, and nobody has looked yet.
    let (mut driver, shared, told) = two_linked();
    told.desk().touched = true;
    told.next(full());
    assert_eq!(spilled(&mut driver, &shared), Some((0, 2, 1)));
    // A turn has panicked.
    let (mut driver, shared, told) = two_linked();
    panic_at_the_cut(&shared);
    assert!(!turn(&mut driver));
    told.next(full());
    assert_eq!(spilled(&mut driver, &shared), Some((0, 2, 1)));
}
