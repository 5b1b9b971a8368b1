//! Which messages were claimed in the last minute.
//!
//! One immutable list, replaced as a whole by a compare-and-swap. Claims are rare, at most [`MOST`] a minute, so
//! copying the list costs little; a lookup is one load and a scan. Nobody waits: a swap fails only because another
//! claim succeeded.
//!
//! The list is ordered by time: a claim reads the clock after it has loaded the list, and succeeds only if the list
//! has not changed since. So stale claims are at the head.

use crate::protocol::sync::{Arc, AtomicArc};
use std::time::Duration;

/// Time in which a message is claimed at most once.
const APART: Duration = Duration::from_secs(60);

/// Maximum number of messages claimed in that time.
const MOST: usize = 1_024;

pub(super) struct Recent {
    claims: AtomicArc<Vec<Claim>>,
}

/// The hash of a message, and the time of the claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    message: u64,
    at: Duration,
}

/// The reason why a message can't be claimed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Denied {
    /// The message was claimed less than [`APART`] ago.
    Repeat,
    /// [`MOST`] other messages were claimed less than [`APART`] ago.
    Full,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { claims: AtomicArc::new(Arc::default()) }
    }

    /// Claims a message. `clock` returns the time since a fixed moment, and must never go back.
    pub(super) fn claim(&self, message: u64, clock: impl Fn() -> Duration) -> Result<Claim, Denied> {
        loop {
            let claims = self.claims.load();
            let at = clock();
            let stale = claims.partition_point(|claim| at.saturating_sub(claim.at) >= APART);
            let fresh = &claims[stale..];
            if fresh.iter().any(|claim| claim.message == message) {
                return Err(Denied::Repeat);
            }
            if fresh.len() >= MOST {
                return Err(Denied::Full);
            }
            let claim = Claim { message, at };
            let more = fresh.iter().copied().chain([claim]).collect();
            if self.claims.replace(&claims, Arc::new(more)) {
                return Ok(claim);
            }
        }
    }

    /// Undoes a claim.
    pub(super) fn give_back(&self, claim: Claim) {
        loop {
            let claims = self.claims.load();
            let others = claims.iter().copied().filter(|other| *other != claim).collect();
            if self.claims.replace(&claims, Arc::new(others)) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{APART, Denied, MOST, Recent};
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    const TICK: Duration = Duration::from_nanos(1);

    #[test]
    fn a_message_is_claimed_once_in_a_minute_and_again_after_it() {
        let recent = Recent::new();
        for minute in 0..3 {
            let start = APART * minute;
            assert!(recent.claim(7, || start).is_ok(), "minute {minute}");
            for later in [Duration::ZERO, TICK, APART - TICK] {
                assert_eq!(recent.claim(7, || start + later), Err(Denied::Repeat), "{later:?} later");
            }
        }
    }

    #[test]
    fn other_messages_are_claimed_until_the_list_is_full_and_again_as_they_grow_stale() {
        let recent = Recent::new();
        let time = |n: u64| Duration::from_millis(n);
        let most = MOST as u64;
        for n in 0..most {
            assert!(recent.claim(n, || time(n)).is_ok(), "{n}");
        }
        assert_eq!(recent.claim(most, || time(most)), Err(Denied::Full));
        assert_eq!(recent.claim(0, || time(most)), Err(Denied::Repeat), "a repeat is no loss");
        assert!(recent.claim(most, || APART).is_ok(), "the first one is stale");
        assert_eq!(recent.claim(most + 1, || APART), Err(Denied::Full), "the second one is not");
        assert_eq!(recent.claims.load().len(), MOST);
        assert!(recent.claim(most + 1, || APART * 3).is_ok());
        assert_eq!(recent.claims.load().len(), 1, "what is stale is forgotten");
    }

    #[test]
    fn a_claim_that_was_given_back_can_be_made_again() -> Result<(), Denied> {
        let recent = Recent::new();
        recent.claim(1, || TICK)?;
        let claim = recent.claim(2, || TICK)?;
        recent.give_back(claim);
        recent.claim(2, || TICK)?;
        assert_eq!(recent.claim(1, || TICK), Err(Denied::Repeat), "the others stay");
        Ok(())
    }

    /// Eight threads claim the same messages in each of many minutes; the first thread to come reads the time.
    #[test]
    fn of_several_threads_one_claims() {
        const THREADS: usize = 8;
        let (recent, barrier) = (Recent::new(), Barrier::new(THREADS));
        let granted = AtomicU64::new(0);
        let rounds = 200;
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for round in 0..rounds {
                        barrier.wait();
                        for message in 0..5 {
                            let claimed = recent.claim(message, || APART * round).is_ok();
                            granted.fetch_add(u64::from(claimed), Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(granted.into_inner(), 5 * u64::from(rounds));
    }
}
