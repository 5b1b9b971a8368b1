//! What the flusher does next.

use super::*;

#[test]
fn a_change_waits_for_the_interval_or_the_threshold() {
    let with = |interval, threshold| driver(FlushOptions { interval, threshold, ..NEVER });
    let hour = Duration::from_secs(3600);
    let (idle, shared, _) = with(hour, 2);
    shared.put('a');
    let (next, time) = job(&idle, false);
    assert!(next == "sleep" && time <= hour && time > hour - Duration::from_secs(600), "{next} {time:?}");
    shared.put('b');
    assert_eq!(name(&idle), "commit");
    let (idle, shared, _) = with(Duration::ZERO, usize::MAX);
    assert_eq!(name(&idle), "rest");
    shared.put('a');
    assert_eq!(name(&idle), "commit");
}

/// However short the interval: of a store that nobody writes to, nothing is due but the housekeeping, once.
#[test]
fn an_idle_flusher_sleeps_until_it_is_rung_for() {
    let (mut idle, shared, told) = driver(FlushOptions { interval: Duration::from_millis(50), ..NEVER });
    let (next, time) = job(&idle, false);
    assert!(
        next == "sleep" && time > Duration::from_millis(50),
        "until it has been idle for a while, {time:?}"
    );
    idle.rested_for(crate::flusher::IDLE_AFTER);
    assert_eq!(job(&idle, false).0, "tidy");
    assert!(idle.tidy(true));
    assert_eq!((name(&idle), told.calls()), ("rest", vec!["tidy".to_owned()]));
    shared.bell.sleep(Some(Duration::ZERO));
    shared.put('a');
    assert!(shared.bell.is_rung(), "the first write of a generation rings");
    shared.bell.sleep(None);
    shared.put('b');
    shared.touch('a');
    assert!(!shared.bell.is_rung(), "the others do not");
    assert_eq!(name(&idle), "sleep", "the interval has begun");
}

#[test]
fn who_asks_is_served_at_once_unless_it_is_mere_contention() {
    for (class, served) in [(ErrorClass::Full, "sync"), (ErrorClass::Busy, "sleep")] {
        let (mut driver, shared, told) = driver(NEVER);
        shared.put('a');
        assert!(shared.progress.request(1).is_ok());
        assert_eq!(name(&driver), "sync");
        told.next(Turn::Fail(class));
        assert!(!driver.turn(Reach::Durable, Opening::Open));
        let (job, time) = job(&driver, true);
        assert!(
            job == "sleep" && time > Duration::ZERO && time <= Duration::from_millis(1250),
            "{job} {time:?}"
        );
        assert_eq!(driver.is_failing(), class == ErrorClass::Full);
        let error = shared.telemetry.present_error();
        assert_eq!(error.map(|error| error.kind()), Some(class.into()), "whether it counts or not");
        assert!(shared.progress.request(2).is_ok());
        assert_eq!(name(&driver), served);
        erase(&shared, TraceType::Sensory);
        assert_eq!(name(&driver), if served == "sync" { "sync" } else { "commit" }, "errands don't wait");
    }
}

/// A write that was seen coming and did not come, and a close that was taken back, leave a mark beyond what is committed
/// and nothing that would ever make it so.
#[test]
fn a_mark_that_nothing_else_would_reach_is_reached() {
    let (mut driver, shared, _) = driver(NEVER);
    assert!(shared.await_generation(1).is_ok() && shared.bell.is_rung(), "the open generation");
    assert_eq!(name(&driver), "commit");
    assert!(driver.turn(Reach::Committed, Opening::Open));
    assert_eq!(name(&driver), "rest");
    // Where something is dirty, the interval decides.
    shared.put('a');
    shared.bell.sleep(None);
    assert!(shared.await_generation(2).is_ok() && !shared.bell.is_rung());
    assert_eq!(name(&driver), "sleep");
}

#[test]
fn a_failure_is_tried_again_without_being_asked() {
    // Of a commit, and of housekeeping, after which nothing is owed.
    for owes in [true, false] {
        let (mut driver, shared, told) = driver(NEVER);
        told.next(Turn::Fail(ErrorClass::Busy));
        if owes {
            shared.put('a');
            assert!(!driver.turn(Reach::Committed, Opening::Open));
        } else {
            driver.tidy(true);
        }
        assert_eq!(name(&driver), "sleep");
        while name(&driver) == "sleep" {
            std::thread::yield_now();
        }
        assert_eq!(name(&driver), "commit");
        assert!(driver.is_behind() && driver.retry_at().is_some_and(|at| at <= Instant::now()));
    }
}

#[test]
fn a_close_is_tried_when_it_is_asked_for_and_when_a_retry_is_due() {
    let (mut driver, shared, told) = driver(NEVER);
    shared.put('a');
    shared.progress.start_closing();
    assert_eq!((name(&driver), name(&driver)), ("close", "close"));
    told.next(Turn::Fail(ErrorClass::Full));
    assert!(!driver.close());
    assert_eq!(name(&driver), "sleep");
    shared.progress.start_closing();
    assert_eq!((name(&driver), name(&driver)), ("close", "sleep"));
    assert!(driver.turn(Reach::Durable, Opening::Open));
    assert_eq!(name(&driver), "close");
}
