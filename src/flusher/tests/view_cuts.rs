//! Cuts for the views, which the indexer makes at any time.

use super::*;

/// The backend is opened again after a failure. Meanwhile an erasure is asked for, and the indexer cuts: who waits for
/// that generation waits for the erasure too.
#[test]
fn reopening_takes_tasks_of_view_cuts() {
    let (mut flusher, state, told) = two_linked();
    state.touch('a');
    told.next(Turn::Fail(ErrorKind::Io));
    assert!(!flusher.flush_once(Durability::Committed, Opening::Open));
    told.calls();
    let eraser = state.clone();
    told.next(Turn::Meanwhile(Box::new(move || {
        eraser.remove('b');
        drop(erase(&eraser, TraceType::Semantic));
        eraser.generations.cut_for_views();
    })));
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    let calls = told.calls();
    assert_eq!(calls[0], "reopen");
    assert!(calls[1].starts_with("sync ") && calls[1].ends_with(" erase -b ~a -ab"), "{calls:?}");
    assert_eq!(calls.len(), 2);
    assert_eq!((state.dirty(), state.oldest_age()), (0, None));
}

#[test]
fn key_of_several_view_cuts_is_counted_once() {
    let (mut flusher, state, told) = two_linked();
    for dirty in [1, 1, 2] {
        state.touch(if dirty == 1 { 'a' } else { 'b' });
        assert_eq!(state.dirty(), dirty);
        state.generations.cut_for_views();
    }
    let first_write = state.oldest_age();
    assert!(first_write.is_some(), "it waits for its flush all the while");
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    assert_eq!(told.calls(), ["commit 5 ~a ~b"]);
    assert_eq!((state.dirty(), state.oldest_age()), (0, None));
}

/// Whoever has taken the step.
#[test]
fn views_are_built_anew_after_a_step_that_panicked() {
    let (_, state, _) = flusher(NEVER);
    let shown = || state.ask(|_, views| views.len());
    assert_eq!(shown(), Some(0));
    state.put('a');
    assert_eq!(state.guarded_index(|| panic!("the test's")), None);
    assert_eq!(shown(), Some(1));
}
