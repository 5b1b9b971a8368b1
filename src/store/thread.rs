//! The flusher's thread, or what does its work where there is none.

use crate::core::sync::{Mutex, lock};
use crate::core::{at_work, is_at_work};
use crate::error::Error;
use crate::flusher::Driver;
use crate::guarded;
#[cfg(not(loom))]
use std::sync::Arc;

/// The flusher, from the host's side.
#[allow(clippy::large_enum_variant, reason = "there is one for each store")]
pub(super) enum Flusher {
    /// It works on a thread of its own.
    #[cfg(not(loom))]
    Thread(Mutex<Option<std::thread::JoinHandle<()>>>),
    /// Whoever flushes or closes does its work: under loom, where the crate starts no thread, and for an
    /// in-memory store that could not start one.
    Seat(Mutex<Option<Driver>>),
}

impl Flusher {
    #[cfg(loom)]
    pub(super) fn start(driver: Driver) -> (Self, Option<Error>) {
        (Self::Seat(Mutex::new(Some(driver))), None)
    }

    #[cfg(not(loom))]
    pub(super) fn start(driver: Driver) -> (Self, Option<Error>) {
        // Handed over by way of a place that both know, so that it is not lost if no thread can be started.
        let driver = Arc::new(Mutex::new(Some(driver)));
        let taken = driver.clone();
        let thread = std::thread::Builder::new().name("mnemon-flusher".to_owned()).spawn(move || {
            let driver = lock(&taken).take();
            driver.into_iter().for_each(crate::flusher::serve);
        });
        match thread {
            Ok(thread) => (Self::Thread(Mutex::new(Some(thread))), None),
            Err(cause) => {
                let message = "the flusher's thread can't be started: raise the limit on threads";
                let error = Error::new(crate::ErrorKind::Io, message).because(cause);
                (Self::Seat(Mutex::new(lock(&driver).take())), Some(error))
            }
        }
    }

    /// Does a piece of the flusher's work on this thread, if there is no other to do it. Where this thread is at such a
    /// piece already, in the code of a waker, it is left to whoever comes next.
    pub(super) fn help(&self, work: impl FnOnce(&mut Driver)) {
        match self {
            Self::Seat(_) if is_at_work() => {}
            Self::Seat(seat) => {
                if let Some(driver) = &mut *lock(seat) {
                    at_work(|| work(driver));
                }
            }
            #[cfg(not(loom))]
            Self::Thread(_) => {}
        }
    }

    /// After the store has closed: its thread is gone when this returns, and the backend with what it owned, whoever
    /// else waits for that as well.
    pub(super) fn join(&self) {
        match self {
            Self::Seat(seat) => {
                let mut seat = lock(seat);
                if let Some(driver) = seat.take() {
                    at_work(|| guarded::run(|| drop(driver)));
                }
            }
            #[cfg(not(loom))]
            Self::Thread(thread) => {
                let mut thread = lock(thread);
                // The thread catches panics: there is none to pass on.
                drop(thread.take().map(std::thread::JoinHandle::join));
            }
        }
    }

    /// In a child process, where the thread is not: its handle would speak of memory that is no thread's any more.
    pub(super) fn forget(&mut self) {
        match self {
            Self::Seat(_) => {}
            #[cfg(not(loom))]
            Self::Thread(thread) => {
                // Unlocked: whoever held the lock at the fork is not here to give it up.
                let thread = thread.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
                std::mem::forget(thread.take());
            }
        }
    }

    /// For a model that runs the flusher on a thread of its own.
    #[cfg(loom)]
    pub(super) fn take(&self) -> Option<Driver> {
        let Self::Seat(seat) = self;
        lock(seat).take()
    }
}
