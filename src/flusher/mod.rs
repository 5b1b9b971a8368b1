//! The flusher: the one thread that cuts, captures, applies and retries.
//!
//! It owns the backend, the right to cut, and all that is captured and not yet committed. Writers never
//! wait for it; callers of flush and close wait for the watermark that it publishes. It is supervised: a
//! panic in a backend gives its batch back, is reported as health, and the thread goes on.
//!
//! - [`shared`]: what writers, readers and the flusher share;
//! - [`driver`]: one flush, and closing;
//! - [`owed`]: captured changes, merged until they are committed, and the batch made of them;
//! - [`links`]: the same for links;
//! - [`supervised`]: calling the backend, which may panic;
//! - [`retry`]: what each class of failure gets;
//! - [`telemetry`]: what has been done and what fails, and [`health`]: how it goes, for people;
//! - [`tell`]: the same as it happens, for logs.

mod driver;
mod health;
mod links;
mod owed;
mod retry;
mod shared;
mod supervised;
mod telemetry;
mod tell;

pub(crate) use driver::Driver;
pub use health::Health;
pub(crate) use links::LinkRow;
pub(crate) use owed::Row;
#[cfg(all(feature = "snapshot", not(loom)))]
pub(crate) use shared::View;
pub(crate) use shared::{Erasure, Errand, FlushOptions, Links, Shared, Traces};
pub use telemetry::{FlushReport, Quarantined};
pub(crate) use tell::{Name, cause, milliseconds};

use crate::backend::Reach;
use crate::core::{Closing, Opening};
use retry::Step;
use std::time::{Duration, Instant};

/// How long the flusher sleeps at least: an interval of zero must not make it spin.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// Nothing to do for so long: the time to tidy up.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// What the flusher does next.
enum Job {
    Flush(Reach),
    Close,
    Tidy,
    Sleep(Duration),
}

/// The body of the flusher's thread: works until the store has closed.
pub(crate) fn serve(mut driver: Driver) {
    let mut tidied = false;
    loop {
        match next_job(&driver, tidied) {
            Job::Flush(reach) => {
                tidied = false;
                if driver.turn(reach, Opening::Open) {
                    // Nobody waits for a close that has failed any more, or would have been served first.
                    driver.recovered(Step::Close);
                }
            }
            Job::Close => {
                if driver.close() {
                    return;
                }
            }
            Job::Tidy => tidied = driver.tidy(true),
            Job::Sleep(time) => {
                driver.collect();
                driver.shared().bell.sleep(time.max(SHORTEST_SLEEP));
            }
        }
    }
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
        return Job::Sleep(wait);
    }
    if driver.is_behind() {
        return background;
    }
    let inside = shared.clock.enter();
    let Some(first_write) = inside.first_write() else {
        if shared.progress.awaited() {
            return background;
        }
        let quiet = driver.last_turn().elapsed();
        return match !tidied && quiet >= IDLE_AFTER {
            true => Job::Tidy,
            false => Job::Sleep(shared.options.interval.min(IDLE_AFTER)),
        };
    };
    let left = shared.options.interval.saturating_sub(now.saturating_duration_since(first_write));
    match left.is_zero() || inside.dirty() >= shared.options.threshold {
        true => background,
        false => Job::Sleep(left),
    }
}

#[cfg(all(test, not(any(loom, crossbeam_loom))))]
#[allow(clippy::expect_used, reason = "what can't be made fails its test")]
mod tests;
