//! What the flusher does next.

use super::*;
use crate::flusher::run::do_job;

#[test]
fn a_change_waits_for_the_interval_or_the_threshold() {
    let with = |interval, threshold| flusher(FlushOptions { interval, threshold, ..NEVER });
    let hour = Duration::from_secs(3600);
    let (idle, state, _) = with(hour, 2);
    state.put('a');
    let (next, time) = job(&idle, false);
    assert!(next == "sleep" && time <= hour && time > hour - Duration::from_secs(600), "{next} {time:?}");
    state.put('b');
    assert_eq!(name(&idle), "commit");
    let (idle, state, _) = with(Duration::ZERO, usize::MAX);
    assert_eq!(name(&idle), "rest");
    state.put('a');
    assert_eq!(name(&idle), "commit");
}

/// Otherwise the memory of replaced values would be kept while nobody writes.
#[test]
fn an_idle_flusher_settles_what_is_committed() {
    let (mut flusher, state, _) = flusher(NEVER);
    "abcd".chars().for_each(|letter| state.put(letter));
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    let waiting = |flusher: &Flusher| flusher.unsettled.iter().map(|batch| batch.traces.len()).sum::<usize>();
    assert_eq!(waiting(&flusher), 3, "one step was made after the commit");
    for left in [2, 1, 0] {
        do_job(Job::Sleep(Some(Duration::ZERO)), &mut flusher, &mut false);
        assert_eq!(waiting(&flusher), left);
    }
}

/// However short the interval: of a store that nobody writes to, nothing is due but the housekeeping, once.
#[test]
fn an_idle_flusher_sleeps_until_it_is_rung_for() {
    let (mut idle, state, told) = flusher(FlushOptions { interval: Duration::from_millis(50), ..NEVER });
    let (next, time) = job(&idle, false);
    assert!(
        next == "sleep" && time > Duration::from_millis(50),
        "until it has been idle for a while, {time:?}"
    );
    idle.rested_for(crate::flusher::run::IDLE_AFTER);
    assert_eq!(job(&idle, false).0, "tidy");
    assert!(idle.maintain(true));
    assert_eq!((name(&idle), told.calls()), ("rest", vec!["tidy".to_owned()]));
    state.notify.sleep(Some(Duration::ZERO));
    state.put('a');
    assert!(state.notify.is_notified(), "the first write of a generation rings");
    state.notify.sleep(None);
    state.put('b');
    state.touch('a');
    assert!(!state.notify.is_notified(), "the others do not");
    assert_eq!(name(&idle), "sleep", "the interval has begun");
}

/// A backend that has to notice something by itself is called though a change waits for its interval.
#[test]
fn tidy_interval_ends_while_dirty() {
    let (mut flusher, state, told) = flusher(NEVER);
    flusher.tidy_interval = Some(Duration::from_secs(2));
    state.put('a');
    let (next, time) = job(&flusher, false);
    assert!(next == "sleep" && time <= Duration::from_secs(2), "{next} {time:?}");
    flusher.rested_for(Duration::from_secs(2));
    assert_eq!(name(&flusher), "tidy");
    flusher.maintain(true);
    assert_eq!((name(&flusher), told.calls()), ("sleep", vec!["tidy".to_owned()]));
}

#[test]
fn who_asks_is_served_at_once_unless_it_is_mere_contention() {
    for (kind, served) in [(ErrorKind::DiskFull, "sync"), (ErrorKind::Busy, "sleep")] {
        let (mut flusher, state, told) = flusher(NEVER);
        state.put('a');
        assert!(state.progress.request(1).is_ok());
        assert_eq!(name(&flusher), "sync");
        told.next(Turn::Fail(kind));
        assert!(!flusher.flush_once(Durability::Durable, Opening::Open));
        let (job, time) = job(&flusher, true);
        assert!(
            job == "sleep" && time > Duration::ZERO && time <= Duration::from_millis(1250),
            "{job} {time:?}"
        );
        assert_eq!(flusher.is_failing(), kind == ErrorKind::DiskFull);
        let error = state.counters.present_error();
        assert_eq!(error.map(|error| error.kind()), Some(kind), "whether it counts or not");
        assert!(state.progress.request(2).is_ok());
        assert_eq!(name(&flusher), served);
        erase(&state, TraceType::Sensory);
        assert_eq!(name(&flusher), if served == "sync" { "sync" } else { "commit" }, "errands don't wait");
    }
}

/// A write that was seen coming and did not come, and a close that was taken back, leave a mark beyond what is
/// committed and nothing that would ever make it so.
#[test]
fn a_mark_that_nothing_else_would_reach_is_reached() {
    let (mut flusher, state, _) = flusher(NEVER);
    assert!(state.await_generation(1).is_ok() && state.notify.is_notified(), "the open generation");
    assert_eq!(name(&flusher), "commit");
    assert!(flusher.flush_once(Durability::Committed, Opening::Open));
    assert_eq!(name(&flusher), "rest");
    // Where something is dirty, the interval decides.
    state.put('a');
    state.notify.sleep(None);
    assert!(state.await_generation(2).is_ok() && !state.notify.is_notified());
    assert_eq!(name(&flusher), "sleep");
}

#[test]
fn a_failure_is_tried_again_without_being_asked() {
    // Of a commit, and of housekeeping, after which nothing is owed.
    for owes in [true, false] {
        let (mut flusher, state, told) = flusher(NEVER);
        told.next(Turn::Fail(ErrorKind::Busy));
        if owes {
            state.put('a');
            assert!(!flusher.flush_once(Durability::Committed, Opening::Open));
        } else {
            flusher.maintain(true);
        }
        assert_eq!(name(&flusher), "sleep");
        while name(&flusher) == "sleep" {
            std::thread::yield_now();
        }
        assert_eq!(name(&flusher), "commit");
        assert!(flusher.is_behind() && flusher.retry_at().is_some_and(|at| at <= Instant::now()));
    }
}

#[test]
fn a_close_is_tried_when_it_is_asked_for_and_when_a_retry_is_due() {
    let (mut flusher, state, told) = flusher(NEVER);
    state.put('a');
    state.progress.start_closing();
    assert_eq!((name(&flusher), name(&flusher)), ("close", "close"));
    told.next(Turn::Fail(ErrorKind::DiskFull));
    assert!(!flusher.close());
    assert_eq!(name(&flusher), "sleep");
    state.progress.start_closing();
    assert_eq!((name(&flusher), name(&flusher)), ("close", "sleep"));
    assert!(flusher.flush_once(Durability::Durable, Opening::Open));
    assert_eq!(name(&flusher), "close");
}
