//! The loop of the flusher's thread: what is due next, and doing it.

use super::Flusher;
use crate::Durability;
use crate::guarded;
use crate::protocol::{Closing, Opening, at_work};
use crate::state::FailedStep;
use std::time::{Duration, Instant};

/// How long the flusher sleeps at least: an interval of zero must not make it spin.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// Nothing to do for so long: the time to tidy up.
pub(super) const IDLE_AFTER: Duration = Duration::from_secs(5);

/// How long a flusher rests that has panicked, unless it is notified.
const AFTER_PANIC: Duration = Duration::from_millis(250);

/// What the flusher does next.
pub(super) enum Job {
    Flush(Durability),
    Close,
    Compact,
    Tidy,
    /// Until so much time has passed, or, where nothing is due, until the flusher is notified.
    Sleep(Option<Duration>),
}

/// The body of the flusher's thread: works until the store has closed.
pub(crate) fn run(mut flusher: Flusher) {
    at_work(|| {
        let mut tidied = false;
        while !run_job(&mut flusher, &mut tidied) {}
        // With the backend, which is the host's, and owns what it has open until here. Whoever closes the store waits
        // for this thread, and so must not be called on it.
        guarded::run(|| drop(flusher));
    });
}

/// Does the next job, whatever comes of it. `true` if the store has closed.
pub(super) fn run_job(flusher: &mut Flusher, tidied: &mut bool) -> bool {
    match guarded::caught(|| do_job(next_job(flusher, *tidied), flusher, tidied)) {
        Ok(closed) => closed,
        Err(panic) => {
            guarded::run(|| flusher.panicked(&panic));
            // So that one that panics each time does not spin.
            flusher.state().notify.sleep(Some(AFTER_PANIC));
            flusher.state().progress.is_closed()
        }
    }
}

pub(super) fn do_job(job: Job, flusher: &mut Flusher, tidied: &mut bool) -> bool {
    match job {
        Job::Sleep(_) | Job::Tidy | Job::Compact if flusher.settle_step() => flusher.collect(),
        Job::Flush(durability) => {
            *tidied = false;
            if flusher.flush_once(durability, Opening::Open) {
                // Nobody waits for a close that has failed any more, or would have been served first.
                flusher.recovered(FailedStep::Close);
            }
            // Also where one flush comes after the other.
            if flusher.compacts() {
                flusher.compact();
            }
        }
        Job::Close => return flusher.close(),
        Job::Compact => {
            *tidied = false;
            flusher.compact();
        }
        Job::Tidy => *tidied = flusher.maintain(true),
        Job::Sleep(time) => {
            flusher.collect();
            flusher.state().notify.sleep(time.map(|time| time.max(SHORTEST_SLEEP)));
        }
    }
    false
}

pub(super) fn next_job(flusher: &Flusher, tidied: bool) -> Job {
    let state = flusher.state();
    let now = Instant::now();
    let wait = flusher.retry_at().map(|at| at.saturating_duration_since(now)).filter(|wait| !wait.is_zero());
    match state.progress.closing() {
        Closing::Asked => return Job::Close,
        Closing::Waiting if wait.is_none() => return Job::Close,
        Closing::Waiting | Closing::No => {}
    }
    // Who asks is tried for at once, unless what failed is mere contention.
    if state.progress.flush_requested() && (wait.is_none() || flusher.is_failing()) {
        return Job::Flush(Durability::Durable);
    }
    let background = Job::Flush(state.options.background);
    if state.has_tasks() {
        return background;
    }
    if let Some(wait) = wait {
        return Job::Sleep(Some(wait));
    }
    if flusher.is_behind() {
        return background;
    }
    let rested = flusher.last_flush().elapsed();
    // Also where a change waits for the interval.
    let tidy_in = flusher.tidy_interval.map(|interval| interval.min(IDLE_AFTER).saturating_sub(rested));
    let inside = state.generations.enter();
    let Some(first_write) = inside.first_write() else {
        if state.progress.has_waiters() {
            return background;
        }
        if flusher.compacts() {
            return Job::Compact;
        }
        let left = match tidy_in {
            Some(left) => left,
            // Nothing is due: the first write of a generation notifies, and so does whoever else has work.
            None if tidied => return Job::Sleep(None),
            None => IDLE_AFTER.saturating_sub(rested),
        };
        return if left.is_zero() { Job::Tidy } else { Job::Sleep(Some(left)) };
    };
    let left = state.options.interval.saturating_sub(now.saturating_duration_since(first_write));
    if left.is_zero() || inside.dirty() >= state.options.threshold {
        background
    } else if flusher.compacts() {
        Job::Compact
    } else if tidy_in.is_some_and(|left| left.is_zero()) {
        Job::Tidy
    } else {
        Job::Sleep(Some(tidy_in.map_or(left, |tidy| tidy.min(left))))
    }
}
