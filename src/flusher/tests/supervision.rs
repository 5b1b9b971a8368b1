//! A turn that panics outside of the backend's calls: whoever waits is told, and nothing is lost.

use super::*;
use crate::ErrorKind;
use crate::flusher::run::run_job;

/// The flusher's next turn panics after its cut.
fn panic_at_the_cut(state: &State) {
    state.send(CutTask::View(Box::new(|_| std::panic::resume_unwind(Box::new("as the test says")))));
}

fn turn(flusher: &mut Flusher) -> bool {
    run_job(flusher, &mut true)
}

#[test]
fn a_panic_is_told_to_all_who_wait_and_everything_is_owed_again() -> Outcome {
    let (mut flusher, state, told) = two_linked();
    state.touch('a');
    let goals = [2, 9].map(|generation| state.progress.request(generation));
    panic_at_the_cut(&state);
    assert!(!turn(&mut flusher));
    for goal in goals {
        let FlushOutcome::<_, Error>::Failed(error) =
            state.progress.wait(goal.map_err(|_| "it is not durable")?)
        else {
            return Err("it was not flushed".into());
        };
        assert_eq!(error.kind(), ErrorKind::Panicked);
        assert!(error.to_string().contains("as the test says"), "{error}");
    }
    let Health::Degraded { kind, attempts, .. } = state.health() else { return Err("it panicked".into()) };
    assert_eq!((kind, attempts), (ErrorKind::Panicked, 1));
    assert!(told.calls().is_empty());
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(
        told.calls(),
        ["reopen", "sync 3 +a +b +ab"],
        "what the turn had taken may be lost: all is written"
    );
    assert_eq!(state.health(), Health::Healthy);
    state.touch('b');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 4 ~b"], "once");
    Ok(())
}

/// It may have been in our own part of the commit, which had taken what was pending.
#[test]
fn panic_in_commit_recaptures_everything() {
    let (mut flusher, state, told) = two_linked();
    state.touch('a');
    told.next(Turn::Meanwhile(Box::new(|| std::panic::resume_unwind(Box::new("as the test says")))));
    assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
    flusher.pending.clear();
    told.calls();
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(told.calls(), ["reopen", "sync 3 +a +b +ab"]);
}

#[test]
fn a_panic_of_a_close_leaves_a_store_that_takes_writes_and_closes() {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    state.progress.start_closing();
    let other = state.clone();
    told.next(Turn::Meanwhile(Box::new(move || panic_at_the_cut(&other))));
    assert!(!turn(&mut flusher), "the second drain panics, which seals");
    assert!(!state.generations.enter().is_sealed() && !state.progress.is_closed());
    state.put('b');
    state.progress.start_closing();
    assert!(turn(&mut flusher) && state.progress.is_closed());
    assert_eq!(told.calls(), ["sync 1 +a", "reopen", "sync 4 +a +b", "close 4"]);
}

#[test]
fn one_that_panics_each_time_goes_on() {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    for attempt in 1..=3 {
        panic_at_the_cut(&state);
        assert!(!turn(&mut flusher));
        assert!(matches!(state.health(), Health::Degraded { attempts, .. } if attempts == attempt));
    }
    state.progress.start_closing();
    assert!(turn(&mut flusher));
    assert_eq!(told.calls(), ["reopen", "sync 4 +a", "close 4"]);
}

/// Its watermark would fall to 0.
#[test]
fn an_empty_store_that_panicked_goes_on_from_where_it_was() {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    state.remove('a');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(told.calls(), ["sync 1 +a", "sync 2 -a"]);
    panic_at_the_cut(&state);
    assert!(!turn(&mut flusher));
    state.progress.start_closing();
    assert!(turn(&mut flusher));
    assert_eq!(told.calls(), ["reopen", "close 2"]);
}

/// What a spill has that is taken with the next turn: what the file is said to hold, and how many traces and links.
#[cfg(feature = "sqlite")]
fn spilled(flusher: &mut Flusher, state: &State) -> Option<(u64, usize, usize)> {
    let (show, shown) = std::sync::mpsc::channel();
    state.send(CutTask::Spill(Box::new(move |spill| drop(show.send(spill)))));
    flusher.flush_once(Durability::Committed, Opening::Open);
    shown.try_recv().ok().map(|spill| (spill.durable, spill.traces.len(), spill.links.len()))
}

/// The process may end before it is mended.
#[cfg(feature = "sqlite")]
#[test]
fn a_spill_holds_everything_while_what_is_stored_can_not_be_counted_on() {
    let full = || Turn::Fail(ErrorKind::DiskFull);
    // As long as it can be: what is owed.
    let (mut flusher, state, told) = two_linked();
    state.touch('a');
    told.next(full());
    assert_eq!(spilled(&mut flusher, &state), Some((1, 1, 0)));
    // It is damaged, and can't be replaced.
    let (mut flusher, state, told) = two_linked();
    told.desk().touched = true;
    told.next(Turn::Changed);
    told.next(full());
    assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
    told.next(full());
    assert_eq!(spilled(&mut flusher, &state), Some((0, 2, 1)));
    assert_eq!(told.calls(), ["reopen", "replace", "replace"]);
    // It was touched, and nobody has looked yet.
    let (mut flusher, state, told) = two_linked();
    told.desk().touched = true;
    told.next(full());
    assert_eq!(spilled(&mut flusher, &state), Some((0, 2, 1)));
    // A turn has panicked.
    let (mut flusher, state, told) = two_linked();
    panic_at_the_cut(&state);
    assert!(!turn(&mut flusher));
    told.next(full());
    assert_eq!(spilled(&mut flusher, &state), Some((0, 2, 1)));
}
