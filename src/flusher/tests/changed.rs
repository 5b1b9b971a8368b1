//! What somebody else may have changed is read again and compared with memory.

use super::*;
use crate::backend::Unreadable;

/// The rows of these traces as memory has them, and of the link of the first two.
fn rows(state: &State, letters: &str, linked: bool) -> Vec<Stored> {
    let trace = |letter| state.traces.get(&id(letter)).expect("it is there");
    let row = |letter| Stored::Trace { row: 1, trace: Ok(Trace::clone(&trace(letter))) };
    let capture = |ends| state.links.capture(&ends, 1, |_| ())?.0.value;
    let link = state.links.keys().into_iter().next().and_then(capture).filter(|_| linked);
    letters.chars().map(row).chain(link.map(|tie| Stored::Link(Ok(tie.link)))).collect()
}

/// What a turn asks of a backend that was found to hold this, after something else was changed.
fn calls_when_found(change: impl FnOnce(&State) -> Vec<Stored>) -> Vec<String> {
    let (mut flusher, state, told) = two_linked();
    let stored = change(&state);
    (told.desk().touched, told.desk().stored) = (true, stored);
    told.next(Turn::Changed);
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    told.calls()
}

#[test]
fn what_is_found_as_it_was_written_is_not_written_again() {
    let calls = calls_when_found(|state| rows(state, "ab", true));
    assert_eq!(calls, ["reopen"]);
    // What is owed is another by now, or not there yet.
    let calls = calls_when_found(|state| {
        let stored = rows(state, "ab", true);
        state.touch('a');
        state.put('c');
        stored
    });
    assert_eq!(calls, ["reopen", "sync 2 +c ~a"]);
    let calls = calls_when_found(|state| {
        let stored = rows(state, "ab", true);
        state.remove('b');
        state.unlink('a', 'b');
        stored
    });
    assert_eq!(calls, ["reopen", "sync 2 -b -ab"]);
}

#[test]
fn what_is_found_to_be_another_is_replaced_and_written_whole() {
    let all = ["reopen", "replace", "sync 2 +a +b +ab"];
    assert_eq!(calls_when_found(|_| Vec::new()), all);
    assert_eq!(calls_when_found(|state| rows(state, "a", true)), all, "a trace is missing");
    assert_eq!(calls_when_found(|state| rows(state, "ab", false)), all, "a link is missing");
    assert_eq!(calls_when_found(|state| rows(state, "abb", true)), all, "one is there twice");
    let unreadable = |state: &State| {
        let unreadable = Unreadable { id: Some(id('b')), reason: "garbage".to_owned() };
        let row = Stored::Trace { row: 2, trace: Err(unreadable) };
        rows(state, "a", true).into_iter().chain([row]).collect()
    };
    assert_eq!(calls_when_found(unreadable), all, "one can't be read");
    let older = |state: &State| {
        let mut stored = rows(state, "ab", true);
        if let Some(Stored::Trace { trace: Ok(trace), .. }) = stored.first_mut() {
            trace.numbers.confidence /= 2.0;
        }
        stored
    };
    assert_eq!(calls_when_found(older), all, "one is another");
}

#[test]
fn what_was_set_aside_before_is_no_damage() {
    let unreadable = || Unreadable { id: None, reason: "garbage".to_owned() };
    let calls = calls_when_found(|state| {
        let known = Quarantined { id: None, is_link: false, reason: "garbage".to_owned(), times: 1 };
        state.counters.lock().unreadable.push(known);
        let mut stored = rows(state, "ab", true);
        stored.push(Stored::Trace { row: 3, trace: Err(unreadable()) });
        stored
    });
    assert_eq!(calls, ["reopen"]);
    let calls = calls_when_found(|state| {
        state.counters.refuse(id('b'), "too big");
        state.counters.refuse_link((id('a'), id('b')));
        rows(state, "a", false)
    });
    assert_eq!(calls, ["reopen"]);
}

/// Panics whatever it is told.
struct Hostile;

impl tracing::Subscriber for Hostile {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event()
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::Id, _: &tracing::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        std::panic::resume_unwind(Box::new("as the test says"))
    }

    fn enter(&self, _: &tracing::Id) {}

    fn exit(&self, _: &tracing::Id) {}
}

#[test]
fn a_subscriber_that_panics_at_damage_hinders_nothing() {
    let calls = tracing::subscriber::with_default(Hostile, || calls_when_found(|_| Vec::new()));
    assert_eq!(calls, ["reopen", "replace", "sync 2 +a +b +ab"]);
}
