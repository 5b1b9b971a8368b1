//! Compacting between flushes.

use super::*;
use crate::error::{ErrorKind, Result};
use crate::state::CompactReport;
use std::sync::mpsc::{Receiver, channel};

/// A backend with so many steps to do, asked to compact.
fn asked(steps: usize) -> (Flusher, Arc<State>, Told, Receiver<Result<CompactReport>>) {
    let (flusher, state, told) = two_linked();
    told.desk().steps = steps;
    told.desk().space = Space { bytes: 100, free_bytes: 30 };
    let answer = ask(&state);
    (flusher, state, told, answer)
}

fn ask(state: &State) -> Receiver<Result<CompactReport>> {
    let (answer, answered) = channel();
    state.send(CutTask::Compact(Box::new(move |report| drop(answer.send(report)))));
    answered
}

#[test]
fn steps_run_between_flushes() {
    let (mut flusher, state, told, answered) = asked(3);
    assert_eq!(name(&flusher), "commit", "its cut");
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    assert_eq!(name(&flusher), "compact");
    flusher.compact();
    // A write alone waits for its interval; whoever asks for a flush, and an interval that is over, do not wait.
    state.touch('a');
    assert_eq!(name(&flusher), "compact");
    assert!(state.progress.request(3).is_ok());
    assert_eq!(name(&flusher), "sync");
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(name(&flusher), "compact");
    flusher.compact();
    assert!(answered.try_recv().is_err());
    flusher.compact();
    let report = answered.try_recv().expect("an answer").expect("a report");
    assert_eq!((report.bytes_before, report.bytes_after), (100, 70));
    assert_eq!((name(&flusher), state.counters.lock().free_bytes), ("rest", 30));
    assert_eq!(told.calls(), ["step asked", "sync 3 ~a", "step asked", "step asked", "tidy"]);
}

#[test]
fn second_caller_joins() {
    let (mut flusher, state, told, first) = asked(3);
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    flusher.compact();
    let second = ask(&state);
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    flusher.compact();
    flusher.compact();
    let report =
        |answer: Receiver<Result<CompactReport>>| answer.try_recv().expect("an answer").expect("a report");
    let (first, second) = (report(first), report(second));
    assert_eq!((first.bytes_before, first.bytes_after), (100, 70));
    assert_eq!((second.bytes_before, second.bytes_after), (90, 70));
    assert_eq!(told.calls(), ["step asked", "step asked", "step asked", "tidy"]);
}

#[test]
fn failure_reaches_waiting_callers() {
    for at in ["flush", "step", "last housekeeping"] {
        let (mut flusher, state, told, answered) = asked(1);
        match at {
            "flush" => {
                state.touch('a');
                told.next(Turn::Fail(ErrorKind::DiskFull));
                assert!(!flusher.flush_once(Durability::Committed, Opening::Open));
            }
            "step" => {
                assert!(flusher.flush_once(Durability::Committed, Opening::Open));
                // Mere contention is a failure here.
                told.next(Turn::Fail(ErrorKind::Busy));
                flusher.compact();
            }
            _ => {
                assert!(flusher.flush_once(Durability::Committed, Opening::Open));
                told.desk().tidying_fails.push_back(ErrorKind::DiskFull);
                flusher.compact();
            }
        }
        let kind = if at == "step" { ErrorKind::Busy } else { ErrorKind::DiskFull };
        let error = answered.try_recv().expect("an answer").expect_err("the failure");
        assert_eq!((error.kind(), flusher.compacts()), (kind, false), "{at}");
        assert!(flusher.flush_once(Durability::Committed, Opening::Open));
        assert_eq!(state.health(), Health::Healthy, "{at}");
        // What failed itself is over, what was held up goes on.
        assert_eq!(name(&flusher), if at == "step" { "rest" } else { "compact" }, "{at}");
    }
}

#[test]
fn doubtful_backend_reopens_before_next_step() {
    let (mut flusher, _, told, answered) = asked(2);
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    told.next(Turn::Fail(ErrorKind::Io));
    flusher.compact();
    assert_eq!(answered.try_recv().expect("an answer").expect_err("the failure").kind(), ErrorKind::Io);
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    assert_eq!(told.calls(), ["step asked", "reopen"]);
}

#[test]
fn large_erasure_compacts_by_itself() {
    for (free_bytes, rows, next) in [(25, 7, "rest"), (26, 7, "compact"), (100, 0, "rest")] {
        let (mut flusher, state, told) = two_linked();
        told.desk().steps = 1;
        told.desk().space = Space { bytes: 100, free_bytes };
        if rows > 0 {
            erase(&state, TraceType::Sensory);
        } else {
            state.remove('a');
        }
        assert!(flusher.flush_once(Durability::Committed, Opening::Open));
        assert_eq!(name(&flusher), next, "{free_bytes} bytes, {rows} rows");
        told.calls();
        if next == "compact" {
            flusher.compact();
            assert_eq!(told.calls(), ["step", "tidy"], "and nobody waits for it");
            assert_eq!(name(&flusher), "rest");
        }
    }
}
