//! The flusher: the one thread that cuts, captures, applies and retries.
//!
//! It owns the backend, the right to cut, and all that is captured and not yet committed. Writers never
//! wait for it; callers of flush and close wait for the watermark that it publishes. It is supervised: no panic ends
//! its thread. What of the host's runs there is [guarded](crate::guarded), each call by itself; a panic in a backend gives
//! its batch back. Should a turn panic all the same, whoever waits is told at once, health says so, and the next turn
//! begins with everything owed again.
//!
//! - [`driver`]: one flush, closing, and compacting;
//! - [`pending`]: captured changes, merged until they are committed, and the batch made of them;
//! - [`links`]: captured changes of links;
//! - [`guarded_backend`]: calls of the backend, which may panic;
//! - [`events`]: `tracing` spans and events.
//!
//! What it shares with the threads of the host is in [`state`](crate::state).

mod driver;
mod events;
mod guarded_backend;
mod links;
mod pending;

pub(crate) use driver::Driver;

use crate::backend::Reach;
use crate::guarded;
use crate::protocol::{Closing, Opening, at_work};
use crate::state::Step;
use std::time::{Duration, Instant};

/// How long the flusher sleeps at least: an interval of zero must not make it spin.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// Nothing to do for so long: the time to tidy up.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// How long a flusher rests that has panicked, unless it is rung for.
const AFTER_PANIC: Duration = Duration::from_millis(250);

/// What the flusher does next.
enum Job {
    Flush(Reach),
    Close,
    Compact,
    Tidy,
    /// Until so much time has passed, or, where nothing is due, until the bell is rung.
    Sleep(Option<Duration>),
}

/// The body of the flusher's thread: works until the store has closed.
pub(crate) fn serve(mut driver: Driver) {
    at_work(|| {
        let mut tidied = false;
        while !supervised_turn(&mut driver, &mut tidied) {}
        // With the backend, which is the host's, and owns what it has open until here. Whoever closes the store waits for
        // this thread, and so must not be called on it.
        guarded::run(|| drop(driver));
    });
}

/// Does the next job, whatever comes of it. `true` if the store has closed.
fn supervised_turn(driver: &mut Driver, tidied: &mut bool) -> bool {
    match guarded::caught(|| do_job(next_job(driver, *tidied), driver, tidied)) {
        Ok(closed) => closed,
        Err(panic) => {
            guarded::run(|| driver.panicked(&panic));
            // So that one that panics each time does not spin.
            driver.shared().bell.sleep(Some(AFTER_PANIC));
            driver.shared().progress.is_closed()
        }
    }
}

fn do_job(job: Job, driver: &mut Driver, tidied: &mut bool) -> bool {
    match job {
        Job::Flush(reach) => {
            *tidied = false;
            if driver.turn(reach, Opening::Open) {
                // Nobody waits for a close that has failed any more, or would have been served first.
                driver.recovered(Step::Close);
            }
            // Also where one flush comes after the other.
            if driver.compacts() {
                driver.compact();
            }
        }
        Job::Close => return driver.close(),
        Job::Compact => {
            *tidied = false;
            driver.compact();
        }
        Job::Tidy => *tidied = driver.tidy(true),
        Job::Sleep(time) => {
            driver.collect();
            driver.shared().bell.sleep(time.map(|time| time.max(SHORTEST_SLEEP)));
        }
    }
    false
}

fn next_job(driver: &Driver, tidied: bool) -> Job {
    let shared = driver.shared();
    let now = Instant::now();
    let wait = driver.retry_at().map(|at| at.saturating_duration_since(now)).filter(|wait| !wait.is_zero());
    match shared.progress.closing() {
        Closing::Asked => return Job::Close,
        Closing::Waiting if wait.is_none() => return Job::Close,
        Closing::Waiting | Closing::No => {}
    }
    // Who asks is tried for at once, unless what failed is mere contention.
    if shared.progress.wanted() && (wait.is_none() || driver.is_failing()) {
        return Job::Flush(Reach::Durable);
    }
    let background = Job::Flush(shared.options.background);
    if shared.has_errands() {
        return background;
    }
    if let Some(wait) = wait {
        return Job::Sleep(Some(wait));
    }
    if driver.is_behind() {
        return background;
    }
    let inside = shared.clock.enter();
    let Some(first_write) = inside.first_write() else {
        if shared.progress.awaited() {
            return background;
        }
        if driver.compacts() {
            return Job::Compact;
        }
        if tidied {
            // Nothing is due: the first write of a generation rings, and whoever else has work for the flusher.
            return Job::Sleep(None);
        }
        let left = IDLE_AFTER.saturating_sub(driver.last_turn().elapsed());
        return if left.is_zero() { Job::Tidy } else { Job::Sleep(Some(left)) };
    };
    let left = shared.options.interval.saturating_sub(now.saturating_duration_since(first_write));
    match left.is_zero() || inside.dirty() >= shared.options.threshold {
        true => background,
        false if driver.compacts() => Job::Compact,
        false => Job::Sleep(Some(left)),
    }
}

#[cfg(all(test, not(any(loom, crossbeam_loom))))]
#[allow(clippy::expect_used, reason = "what can't be made fails its test")]
mod tests;
