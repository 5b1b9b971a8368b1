//! Ctrl-C, and the polite end that `kill` asks for: noted, so that a command stops by itself, cleans up, and says what it
//! has done. Commands that leave nothing behind end at once instead.

use anyhow::{Result, bail};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

/// The signal that has come, or 0. Nothing else is read because of it: all of its accesses may be relaxed.
static SIGNAL: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// From here on the first signal is noted, and a second one ends the process at once.
pub fn catch() -> Result<()> {
    let again = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: what the first one sets, the second one finds.
        flag::register_conditional_shutdown(signal, 128 + signal, again.clone())?;
        flag::register(signal, again.clone())?;
        flag::register_usize(signal, SIGNAL.clone(), signal.unsigned_abs() as usize)?;
    }
    Ok(())
}

pub fn has_come() -> bool {
    SIGNAL.load(Ordering::Relaxed) != 0
}

/// The exit code of a command that has stopped early: 130 after Ctrl-C, and `otherwise` if no signal has come. A command
/// that was done all the same has its own exit code.
pub fn or(otherwise: ExitCode) -> ExitCode {
    let signal = SIGNAL.load(Ordering::Relaxed);
    let code = u8::try_from(128 + signal).ok().filter(|_| signal != 0);
    code.map_or(otherwise, ExitCode::from)
}

/// Where a command can stop, with what that means.
pub fn check(outcome: &str) -> Result<()> {
    if has_come() { bail!("interrupted: {outcome}") } else { Ok(()) }
}

/// For the library, which asks.
pub fn flow() -> ControlFlow<()> {
    if has_come() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
