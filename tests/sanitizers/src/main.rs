//! The stress program that runs under the sanitizers: see README.md beside this crate.
//!
//! ```text
//! sanitizers [CALLS]      the stress; each thread makes so many calls (4,000)
//! sanitizers MISTAKE      one of: unordered, freed, leaked; or `ordered`, which is none
//! ```
#![deny(unsafe_code)]

#[cfg(mnemon_sanitize_thread)]
#[allow(unsafe_code)]
mod counts;
mod ends;
mod everything;
#[allow(unsafe_code)]
mod planted;
mod threads;

use fault_tests::Outcome;
use std::sync::atomic::Ordering;

fn main() -> Outcome {
    let argument = std::env::args().nth(1);
    match argument.as_deref() {
        Some("ordered") => planted::publish(Ordering::Release, Ordering::Acquire),
        Some("unordered") => planted::publish(Ordering::Relaxed, Ordering::Relaxed),
        Some("freed") => planted::use_freed(),
        Some("leaked") => planted::leak(),
        calls => {
            let calls = calls.map_or(Ok(4_000), str::parse)?;
            everything::run(calls)?;
            ends::closed_under_writers(calls.div_ceil(400))?;
            ends::dropped_by_whoever_is_last(calls.div_ceil(400))?;
            ends::threads_that_come_and_go(calls.div_ceil(200))?;
        }
    }
    Ok(())
}
