//! Ends the process in the middle of something, without a word to anybody: no destructor runs, no buffer is
//! written.

use crate::log::Log;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A thread that ends the process at a given time after it was lit.
pub struct Fuse {
    lit: Arc<AtomicBool>,
    inside: Arc<AtomicBool>,
}

impl Fuse {
    /// One that burns for so long.
    pub fn new(log: &Arc<Log>, burns: Duration) -> Self {
        let (lit, inside) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let fuse = Self { lit: lit.clone(), inside: inside.clone() };
        let ready = Arc::new(std::sync::Barrier::new(2));
        let (log, waiting) = (log.clone(), ready.clone());
        thread::spawn(move || {
            waiting.wait();
            while !lit.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            let end = Instant::now() + burns;
            while Instant::now() < end {
                std::hint::spin_loop();
            }
            end_here(&log, inside.load(Ordering::Acquire));
        });
        ready.wait();
        fuse
    }

    /// Does something while it burns.
    pub fn during<T>(self, work: impl FnOnce() -> T) -> T {
        self.inside.store(true, Ordering::Release);
        self.lit.store(true, Ordering::Release);
        let done = work();
        self.inside.store(false, Ordering::Release);
        done
    }
}

/// The end of the process, here and now.
pub fn end_here(log: &Log, inside: bool) -> ! {
    if inside {
        log.inside();
    }
    std::process::abort()
}
