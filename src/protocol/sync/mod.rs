//! The only place that names atomics, locks, cells and maps: real ones, or loom's under `--cfg loom`.
//!
//! Both halves export the same names:
//!
//! - `AtomicBool`, `AtomicIsize`, `AtomicPtr`, `AtomicU64`, `AtomicUsize`, `Ordering`, `fence`, `Arc`, `Mutex`,
//!   `RwLock`, `Condvar`, `OnceLock`, `Thread`: as in std;
//! - [`AtomicArc`]: a shared pointer that is read at every write and replaced at every cut;
//! - [`ShardedMap`]: the concurrent map;
//! - [`locks`]: std's, also where loom's are not wanted;
//! - `pause`: what the flusher does between two looks at a closed generation;
//! - `current_thread`, `park`: of `std::thread`;
//! - [`Notify`]: how the flusher sleeps, and is woken without a lock; under loom a stand-in.

pub(crate) mod locks;
#[cfg(loom)]
mod modelled;
mod notify;
#[cfg(not(loom))]
mod real;

#[cfg(loom)]
pub(crate) use modelled::*;
#[cfg(loom)]
pub use modelled::{Notify, hide_locks};
#[cfg(not(loom))]
pub use notify::Notify;
#[cfg(loom)]
pub use notify::Notify as ShippedNotify;
#[cfg(not(loom))]
pub(crate) use real::*;

/// Locks, and goes on after another thread's panic: no lock of this crate is held while code of
/// the caller runs, and what they guard is whole between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As [`lock`], for reading.
pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As [`lock`], for writing.
pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// State that is touched for moments, without an access in between that loom knows: mostly by the flusher's
/// thread alone, so that the lock is never contended and is there because the compiler can't know that.
#[derive(Debug, Default)]
pub(crate) struct ShortMutex<T>(locks::Mutex<T>);

impl<T> ShortMutex<T> {
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}
