//! The flusher's thread, or its replacement where no thread runs.

use crate::error::Error;
use crate::flusher::Flusher;
use crate::guarded;
use crate::protocol::sync::{Mutex, lock};
use crate::protocol::{at_work, is_at_work};
#[cfg(not(loom))]
use std::sync::Arc;

/// The flusher, as seen by the host.
#[allow(clippy::large_enum_variant, reason = "there is one for each store")]
pub(super) enum FlusherThread {
    /// The flusher runs on a thread of its own.
    #[cfg(not(loom))]
    Thread(Mutex<Option<std::thread::JoinHandle<()>>>),
    /// The thread that flushes or closes runs the flusher inline: under loom, where the crate starts no thread, and
    /// for an in-memory store that could not start one.
    Seat(Mutex<Option<Flusher>>),
}

impl FlusherThread {
    #[cfg(loom)]
    pub(super) fn start(flusher: Flusher) -> (Self, Option<Error>) {
        (Self::Seat(Mutex::new(Some(flusher))), None)
    }

    #[cfg(not(loom))]
    pub(super) fn start(flusher: Flusher) -> (Self, Option<Error>) {
        // Passed through a place shared by both threads, so that the flusher is not lost if no thread can be started.
        let flusher = Arc::new(Mutex::new(Some(flusher)));
        let taken = flusher.clone();
        let thread = std::thread::Builder::new().name("mnemon-flusher".to_owned()).spawn(move || {
            let flusher = lock(&taken).take();
            flusher.into_iter().for_each(crate::flusher::run);
        });
        match thread {
            Ok(thread) => (Self::Thread(Mutex::new(Some(thread))), None),
            Err(cause) => {
                let message = "the flusher's thread can't be started: raise the limit on threads";
                let error = Error::new(crate::ErrorKind::Io, message).because(cause);
                (Self::Seat(Mutex::new(lock(&flusher).take())), Some(error))
            }
        }
    }

    /// Runs a piece of the flusher's work on this thread, if no other thread does it. If this thread is already
    /// running such a piece, in the code of a waker, the work is left to the next caller.
    pub(super) fn run_inline(&self, work: impl FnOnce(&mut Flusher)) {
        match self {
            Self::Seat(_) if is_at_work() => {}
            Self::Seat(seat) => {
                if let Some(flusher) = &mut *lock(seat) {
                    at_work(|| work(flusher));
                }
            }
            #[cfg(not(loom))]
            Self::Thread(_) => {}
        }
    }

    /// Call after the store has closed: the flusher's thread has ended when this returns, and the backend is dropped
    /// with what it owned, whichever thread waits for that too.
    pub(super) fn join(&self) {
        match self {
            Self::Seat(seat) => {
                let mut seat = lock(seat);
                if let Some(flusher) = seat.take() {
                    at_work(|| guarded::run(|| drop(flusher)));
                }
            }
            #[cfg(not(loom))]
            Self::Thread(thread) => {
                let mut thread = lock(thread);
                // The thread catches panics, so there is none to pass on.
                drop(thread.take().map(std::thread::JoinHandle::join));
            }
        }
    }

    /// For a child process, which does not have the thread: its handle would refer to memory of a thread that is gone.
    pub(super) fn forget(&mut self) {
        match self {
            Self::Seat(_) => {}
            #[cfg(not(loom))]
            Self::Thread(thread) => {
                // Without locking: a thread that held the lock at the fork does not exist here to release it.
                let thread = thread.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
                std::mem::forget(thread.take());
            }
        }
    }

    /// For a model that runs the flusher on a thread of its own.
    #[cfg(loom)]
    pub(super) fn take(&self) -> Option<Flusher> {
        let Self::Seat(seat) = self;
        lock(seat).take()
    }
}
