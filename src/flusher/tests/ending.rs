//! Closing, and housekeeping.

use super::*;

#[test]
fn a_close_drains_and_ends() {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    state.progress.start_closing();
    let writer = state.clone();
    told.next(Turn::Meanwhile(Box::new(move || writer.put('b'))));
    told.desk().wal_bytes = 9;
    assert!(flusher.close());
    assert_eq!(told.calls(), ["sync 1 +a", "sync 2 +b", "close 2"]);
    assert!(state.progress.is_closed() && state.generations.enter().is_sealed());
    assert_eq!((state.health(), state.counters.lock().wal_bytes), (Health::Closed, 0));
}

#[test]
fn a_close_that_nobody_waits_for_goes_on_with_a_reopened_backend() {
    let (mut flusher, state, told) = two_linked();
    let eraser = state.clone();
    told.next(Turn::Meanwhile(Box::new(move || drop(erase(&eraser, TraceType::Sensory)))));
    assert!(!flusher.close() && !state.progress.is_closed());
    assert_eq!(name(&flusher), "commit", "what came too late for the close is owed");
    state.touch('a');
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(told.calls(), ["close 1", "reopen", "sync 5 erase ~a"]);
}

#[test]
fn a_close_whose_last_drain_or_end_fails_goes_on() {
    for fails in ["drain", "end"] {
        let (mut flusher, state, told) = flusher(NEVER);
        state.put('a');
        state.progress.start_closing();
        let writer = state.clone();
        told.next(Turn::Meanwhile(Box::new(move || writer.put('b'))));
        if fails == "end" {
            told.next(Turn::Meanwhile(Box::new(|| ())));
        }
        told.next(Turn::Fail(ErrorKind::DiskFull));
        assert!(!flusher.close() && !state.progress.is_closed());
        state.put('c');
        let failed = told.calls();
        assert!(flusher.close() && state.progress.is_closed(), "the next goes through");
        let (tried, again) = match fails {
            "drain" => (vec!["sync 1 +a", "sync 2 +b"], vec!["sync 4 +b +c", "close 4"]),
            _ => (vec!["sync 1 +a", "sync 2 +b", "close 2"], vec!["sync 4 +c", "close 4"]),
        };
        assert_eq!(
            (failed, told.calls()),
            (
                tried.iter().map(ToString::to_string).collect(),
                again.iter().map(ToString::to_string).collect()
            )
        );
        assert!(state.counters.outage().is_none(), "and its trouble is over");
    }
}

#[test]
fn a_backend_in_doubt_is_neither_tidied_nor_ended() {
    for kind in [ErrorKind::Io, ErrorKind::Corrupt] {
        let (mut flusher, state, told) = two_linked();
        state.progress.start_closing();
        // After the first drain, which the second mends, and after the second.
        told.desk().tidying_fails = [kind, kind].into();
        assert!(!flusher.close());
        let mend = if kind == ErrorKind::Io { vec!["reopen"] } else { vec!["replace", "sync 3 +a +b +ab"] };
        assert_eq!(told.calls(), mend);
        assert!(flusher.maintain(true), "nothing to come back for");
        assert!(told.calls().is_empty());
        assert!(state.counters.outage().is_some());
    }
}

#[test]
fn a_log_that_is_left_is_worth_another_try() {
    let (mut flusher, state, told) = flusher(NEVER);
    for (wal_bytes, synced, done) in [(0, false, true), (9, false, false), (9, true, true), (0, true, true)] {
        told.desk().wal_bytes = wal_bytes;
        told.desk().synced_by_tidying = synced;
        assert_eq!(flusher.maintain(true), done, "{wal_bytes} bytes, synced: {synced}");
        assert_eq!(state.counters.lock().wal_bytes, wal_bytes);
    }
    told.next(Turn::Fail(ErrorKind::DiskFull));
    assert!(flusher.maintain(true), "it is tried again as a failure is");
}

/// Each step's trouble is its own: a commit that succeeds says nothing of the housekeeping.
#[test]
fn trouble_ends_with_the_success_of_the_step_that_failed() {
    let (mut flusher, state, told) = flusher(NEVER);
    told.next(Turn::Fail(ErrorKind::DiskFull));
    flusher.maintain(true);
    state.put('a');
    // The housekeeping after this commit fails as well.
    told.desk().tidying_fails.push_back(ErrorKind::DiskFull);
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert!(matches!(state.health(), Health::Degraded { attempts: 2, .. }), "{:?}", state.health());
    assert!(flusher.maintain(true));
    assert_eq!((state.health(), flusher.is_failing(), flusher.is_behind()), (Health::Healthy, false, false));
    assert!(state.counters.present_error().is_none() && state.counters.lock().last_error.is_some());
}
