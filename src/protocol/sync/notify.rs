//! How the flusher is woken, over the types of either half: the loom model of it runs these lines.

use super::{AtomicBool, OnceLock, Ordering, Thread, current_thread, fence, park};
use crate::protocol::planted::{Mistake, planted};
use std::time::Duration;

/// Wakes the flusher. Ringing takes no lock, so a writer may.
///
/// It remembers a notification, since the token of `unpark` may be consumed by whatever else parks on
/// the flusher's thread, in a backend for example.
#[derive(Default)]
pub struct Notify {
    rung: AtomicBool,
    flusher: OnceLock<Thread>,
}

impl Notify {
    /// Wakes the flusher, or spares it its next sleep.
    pub fn notify(&self) {
        // Release, with Acquire in `sleep`: the flusher sees what it was rung for. An exchange and no store, as loom
        // gives impossible results where a store races with the exchange there.
        self.rung.swap(true, Ordering::AcqRel);
        // With the fence before the exchange in `sleep`: either the name is seen here, or the flag there.
        fence(Ordering::SeqCst);
        if let Some(flusher) = self.flusher.get() {
            flusher.unpark();
        }
    }

    /// Whether it was rung since the last sleep: who sees `true` need not ring.
    pub fn is_notified(&self) -> bool {
        // With the fence after the exchange in `sleep`: either this sees the flag cleared, or the flusher sees what the
        // caller did before.
        fence(Ordering::SeqCst);
        self.rung.load(Ordering::Relaxed)
    }

    /// For the flusher's thread, always the same: sleeps until rung, or until `timeout` has passed if there is one, or
    /// for no reason. Returns at once if rung since the last sleep. What was done before a ring is seen when this
    /// returns because of it.
    pub fn sleep(&self, timeout: Option<Duration>) {
        // Named before the flag is looked at: who rings later finds the name, who rang earlier left the flag.
        if !planted(Mistake::NamedLate) {
            self.flusher.get_or_init(current_thread);
        }
        fence(Ordering::SeqCst);
        if self.rung.swap(false, Ordering::AcqRel) {
            fence(Ordering::SeqCst);
            return;
        }
        if planted(Mistake::NamedLate) {
            self.flusher.get_or_init(current_thread);
        }
        park(timeout);
    }
}
