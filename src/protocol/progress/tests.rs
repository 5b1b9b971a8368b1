//! Who waits is answered by what it asked for, once, and nobody else is.

use super::{Closing, FlushOutcome, FlushProgress, FlushTicket, Patience, Reached};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

type Watched = FlushProgress<u64, &'static str>;

/// Everything up to 5 is stored; a flush reports the cut that it committed.
fn progress() -> Watched {
    FlushProgress::new(at(5), 5)
}

/// A sink that has recorded this cut.
fn at(cut: u64) -> Reached {
    Reached::recorded(cut)
}

fn goal(progress: &Watched, generation: u64) -> FlushTicket {
    match progress.request(generation) {
        Ok(goal) => goal,
        Err(durable) => unreachable!("{durable} is durable already"),
    }
}

/// How often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn what_is_durable_is_not_wanted_again() {
    let progress = progress();
    assert!(matches!(progress.request(5), Err(5)) && !progress.flush_requested());
    assert!(!progress.has_waiters());
    assert!(
        progress.ticket(6).is_ok() && !progress.flush_requested(),
        "who waits without asking wants nothing"
    );
    assert!(progress.has_waiters());
    assert!(progress.request(6).is_ok() && progress.flush_requested());
    progress.publish(at(6), false, 6);
    assert!(progress.flush_requested() && !progress.has_waiters(), "committed is not durable");
    assert_eq!((progress.watermarks(), progress.report()), ((6, 5), 6));
    progress.durable();
    assert!(!progress.flush_requested());
    assert_eq!(progress.watermarks(), (6, 6));
    progress.publish(at(7), true, 7);
    assert_eq!(progress.watermarks(), (7, 7));
}

/// A retry that is not synced comes before the waiter has looked: it is answered all the same, or it would wait for a
/// sync that nobody asks for any more.
#[test]
fn failure_answers_until_its_cut_is_durable() {
    let progress = progress();
    let slow = goal(&progress, 6);
    assert!(progress.request(6).is_ok());
    progress.fail(6, "full");
    progress.publish(at(6), false, 6);
    assert!(matches!(progress.wait(slow), FlushOutcome::Failed("full")));
    let later = goal(&progress, 6);
    progress.durable();
    assert!(matches!(progress.wait(later), FlushOutcome::Done(6)));
}

/// Who waits for it is done, and is told what the sink says of itself.
#[test]
fn cut_with_nothing_in_it_is_covered_and_not_told() {
    let progress = progress();
    let empty = goal(&progress, 7);
    assert_eq!((progress.watermark_of(4), progress.watermark_of(7)), (5, 7));
    progress.publish(Reached { cut: 7, stored: 5 }, true, 5);
    assert!(matches!(progress.wait(empty), FlushOutcome::Done(5)));
    assert!(matches!(progress.request(7), Err(5)) && matches!(progress.ticket(7), Err(5)));
    assert!(!progress.flush_requested() && !progress.has_waiters());
    assert_eq!((progress.watermarks(), progress.watermark_of(7)), ((5, 5), 5));
    progress.publish(Reached { cut: 9, stored: 8 }, false, 8);
    assert_eq!((progress.watermarks(), progress.watermark_of(9)), ((8, 5), 9));
    progress.durable();
    assert_eq!((progress.watermarks(), progress.watermark_of(9)), ((8, 8), 8));
}

#[test]
fn what_is_lost_is_told_no_more() {
    let progress = progress();
    progress.publish(Reached { cut: 7, stored: 6 }, false, 6);
    assert_eq!((progress.lost(false), progress.watermarks()), (at(5), (5, 5)));
    assert!(progress.ticket(6).is_ok() && progress.ticket(5).is_err());
    assert_eq!((progress.lost(true), progress.watermarks()), (at(0), (0, 0)));
    let again = goal(&progress, 5);
    progress.publish(at(8), true, 8);
    assert!(matches!(progress.wait(again), FlushOutcome::Done(8)));
}

#[test]
fn a_smaller_wish_does_not_take_the_place_of_a_greater_one() {
    let progress = progress();
    assert!(progress.request(9).is_ok() && progress.request(6).is_ok());
    progress.publish(at(8), true, 8);
    assert!(progress.flush_requested());
}

#[test]
fn a_failure_answers_those_who_asked_before_it_for_what_it_covers() {
    let progress = progress();
    let [covered, later] = [goal(&progress, 6), goal(&progress, 8)];
    progress.fail(6, "full");
    assert!(matches!(progress.wait(covered), FlushOutcome::Failed("full")));
    assert!(progress.flush_requested(), "the failed cut does not answer who asked for more");
    let mut context = Context::from_waker(Waker::noop());
    assert!(progress.poll(later, &mut None, &mut context).is_pending());
    progress.fail(8, "still");
    assert!(!progress.flush_requested(), "all have been answered");
    let after = goal(&progress, 8);
    assert!(progress.poll(after, &mut None, &mut context).is_pending(), "that was before the call");
    progress.publish(at(8), true, 8);
    assert!(matches!(progress.wait(after), FlushOutcome::Done(8)));
    assert!(matches!(progress.wait(later), FlushOutcome::Done(8)));
}

#[test]
fn what_is_owed_is_told_until_it_is_committed() {
    let (progress, now) = (progress(), Instant::now());
    assert_eq!(progress.pending(), (0, None));
    progress.owes(3, Some(now));
    progress.fail(6, "full");
    assert_eq!(progress.pending(), (3, Some(now)));
    progress.publish(at(6), false, 6);
    assert_eq!(progress.pending(), (0, None));
}

#[test]
fn a_future_is_woken_once_by_each_end_that_is_its_own() {
    type End = fn(&Watched);
    let ends: [End; 3] = [|p| p.publish(at(6), true, 6), |p| p.durable(), |p| p.fail(6, "full")];
    for end in ends {
        let (progress, woken) = (progress(), Arc::<Woken>::default());
        progress.publish(at(6), false, 6);
        let (waker, mut waiter) = (Waker::from(woken.clone()), None);
        let (goal, mut context) = (goal(&progress, 6), Context::from_waker(&waker));
        assert!(progress.poll(goal, &mut waiter, &mut context).is_pending());
        assert!(progress.poll(goal, &mut waiter, &mut context).is_pending());
        // Another future of the same goal, one of a later, and one that is dropped.
        let others: [Arc<Woken>; 3] = Default::default();
        for (other, (generation, given_up)) in others.iter().zip([(6, false), (7, false), (6, true)]) {
            let (waker, mut waiter) = (Waker::from(other.clone()), None);
            let goal = self::goal(&progress, generation);
            assert!(progress.poll(goal, &mut waiter, &mut Context::from_waker(&waker)).is_pending());
            waiter.filter(|_| given_up).into_iter().for_each(|waiter| progress.give_up(waiter));
        }
        assert_eq!((woken.times(), Arc::strong_count(&others[2])), (0, 1));
        end(&progress);
        assert_eq!((woken.times(), others.each_ref().map(|other| other.times())), (1, [1, 0, 0]));
        assert!(matches!(progress.poll(goal, &mut waiter, &mut context), Poll::Ready(_)));
        end(&progress);
        assert_eq!(woken.times(), 1);
    }
}

#[test]
fn a_close_is_asked_for_once_and_waited_for_until_given_up() {
    let progress = progress();
    assert_eq!(progress.closing(), Closing::No);
    progress.start_closing();
    assert_eq!((progress.closing(), progress.closing()), (Closing::Asked, Closing::Waiting));
    progress.start_closing();
    assert_eq!(progress.closing(), Closing::Asked);
    assert!(progress.give_up_closing());
    assert_eq!(progress.closing(), Closing::Waiting, "the other waits still");
    assert!(progress.give_up_closing());
    assert_eq!(progress.closing(), Closing::No);
    assert!(!progress.finish_closing() && !progress.is_closed(), "nobody waits any more");
    progress.start_closing();
    assert!(progress.finish_closing() && progress.is_closed());
    assert!(!progress.give_up_closing(), "too late");
    assert!(progress.finish_closing(), "and it stays closed");
}

/// An error may hold what is the caller's, whose drop looks at the store, or panics.
#[test]
fn an_error_is_dropped_without_the_lock_and_its_panic_goes_no_further() {
    #[derive(Clone)]
    struct Looks(Weak<FlushProgress<u64, Self>>, Arc<AtomicUsize>);
    impl Drop for Looks {
        fn drop(&mut self) {
            if let Some(progress) = self.0.upgrade() {
                progress.watermarks();
                self.1.fetch_add(1, Ordering::Relaxed);
                std::panic::resume_unwind(Box::new("of the caller's own"));
            }
        }
    }
    let (progress, dropped) = (Arc::new(FlushProgress::new(at(5), 5)), Arc::default());
    let error = || Looks(Arc::downgrade(&progress), Arc::clone(&dropped));
    progress.fail(6, error());
    progress.fail(6, error());
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    progress.publish(at(6), true, 6);
    assert_eq!((dropped.load(Ordering::Relaxed), progress.watermarks()), (2, (6, 6)));
}

/// However long a process is stopped.
#[test]
fn a_slice_of_patience_counts_no_more_than_its_length() {
    let hour = Duration::from_secs(3600);
    for whole in [Duration::from_millis(10), Duration::from_secs(30), Duration::MAX] {
        let mut patience = Patience::new(whole);
        let slice = patience.slice().unwrap_or_default();
        assert!(!slice.is_zero() && slice <= whole / 10, "{slice:?} of {whole:?}");
        patience.spend(hour);
        assert_eq!(patience.left, whole - slice);
        patience.spend(slice / 2);
        assert_eq!(patience.left, whole - slice - slice / 2, "what ends early counts as it was");
    }
    let mut patience = Patience::new(Duration::from_millis(3));
    for _ in 0..3 {
        assert_eq!(patience.slice(), Some(Duration::from_millis(1)));
        patience.spend(hour);
    }
    assert_eq!(patience.slice(), None);
    assert_eq!(Patience::new(Duration::ZERO).slice(), None);
}

#[test]
fn who_waits_for_a_close_is_told_the_last_failure_when_patience_ends() {
    let progress = progress();
    progress.start_closing();
    assert_eq!(progress.wait_closed(Duration::ZERO), Err(None));
    progress.fail(6, "full");
    assert_eq!(progress.wait_closed(Duration::from_millis(1)), Err(Some("full")));
    progress.publish(at(7), true, 7);
    assert_eq!(progress.wait_closed(Duration::ZERO), Err(None), "that is over");
    progress.finish_closing();
    assert_eq!(progress.wait_closed(Duration::ZERO), Ok(7));
    assert_eq!(progress.wait_closed(Duration::MAX), Ok(7));
}
