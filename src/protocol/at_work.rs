//! Whether this thread is doing a flusher's work, and so must not wait for it.

#[cfg(not(loom))]
mod here {
    use std::cell::Cell;

    thread_local! {
        static AT_WORK: Cell<bool> = const { Cell::new(false) };
    }

    /// Whether this thread is doing the work of a flusher, of whichever store. A waker, a `tracing` subscriber or a
    /// backend that runs on it must not wait for a flush: that of its own store would never come, and that of another
    /// might wait for this one.
    pub(crate) fn is_at_work() -> bool {
        AT_WORK.get()
    }

    /// Does a flusher's work on this thread.
    pub(crate) fn at_work<R>(work: impl FnOnce() -> R) -> R {
        struct Before(bool);
        impl Drop for Before {
            fn drop(&mut self) {
                AT_WORK.set(self.0);
            }
        }
        let _before = Before(AT_WORK.replace(true));
        work()
    }
}

/// Models have no code of a host's, and loom's threads share the variables of one thread.
#[cfg(loom)]
mod here {
    pub(crate) fn is_at_work() -> bool {
        false
    }

    pub(crate) fn at_work<R>(work: impl FnOnce() -> R) -> R {
        work()
    }
}

pub(crate) use here::{at_work, is_at_work};
