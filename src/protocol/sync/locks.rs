//! std's locks, also where loom's are not wanted.
//!
//! Under `--cfg mnemon_sanitize_thread` they are wrapped: ThreadSanitizer does not see what an uninstrumented std does
//! to take a contended lock, or to take one again after a wait, and would call every access under it a race. The
//! wrapper tells it, by a counter of its own, that who locks comes after who unlocked; excluding is std's work still.

#[cfg(not(mnemon_sanitize_thread))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
#[cfg(not(any(loom, mnemon_sanitize_thread)))]
pub(crate) use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

#[cfg(mnemon_sanitize_thread)]
pub(crate) use told::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

#[cfg(mnemon_sanitize_thread)]
mod told {
    use std::ops::{Deref, DerefMut};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult, WaitTimeoutResult};
    use std::time::Duration;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T> {
        lock: std::sync::Mutex<T>,
        unlocks: AtomicUsize,
    }

    /// Fields are dropped in their order: told first, then unlocked.
    pub(crate) struct MutexGuard<'a, T> {
        telling: Telling<'a>,
        held: std::sync::MutexGuard<'a, T>,
    }

    /// Its drop says that the lock is about to be given up.
    struct Telling<'a>(&'a AtomicUsize);

    impl Drop for Telling<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Release);
        }
    }

    #[derive(Debug, Default)]
    pub(crate) struct Condvar(std::sync::Condvar);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self { lock: std::sync::Mutex::new(value), unlocks: AtomicUsize::new(0) }
        }

        pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            map(self.lock.lock(), |held| MutexGuard::new(held, &self.unlocks))
        }

        pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
            let guard = |held| MutexGuard::new(held, &self.unlocks);
            self.lock.try_lock().map(guard).map_err(|error| match error {
                TryLockError::Poisoned(error) => {
                    TryLockError::Poisoned(PoisonError::new(guard(error.into_inner())))
                }
                TryLockError::WouldBlock => TryLockError::WouldBlock,
            })
        }

        pub(crate) fn get_mut(&mut self) -> LockResult<&mut T> {
            self.lock.get_mut()
        }
    }

    impl<'a, T> MutexGuard<'a, T> {
        /// After the lock was taken.
        fn new(held: std::sync::MutexGuard<'a, T>, unlocks: &'a AtomicUsize) -> Self {
            unlocks.load(Ordering::Acquire);
            Self { telling: Telling(unlocks), held }
        }

        /// For a wait, which gives the lock up.
        fn into_parts(self) -> (std::sync::MutexGuard<'a, T>, &'a AtomicUsize) {
            (self.held, self.telling.0)
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.held
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.held
        }
    }

    /// Readers exclude each other here.
    pub(crate) struct RwLock<T>(Mutex<T>);

    pub(crate) type RwLockReadGuard<'a, T> = MutexGuard<'a, T>;
    pub(crate) type RwLockWriteGuard<'a, T> = MutexGuard<'a, T>;

    impl<T> RwLock<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
            self.0.lock()
        }

        pub(crate) fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
            self.0.lock()
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
            let (held, unlocks) = guard.into_parts();
            map(self.0.wait(held), |held| MutexGuard::new(held, unlocks))
        }

        pub(crate) fn wait_timeout<'a, T>(
            &self,
            guard: MutexGuard<'a, T>,
            timeout: Duration,
        ) -> LockResult<(MutexGuard<'a, T>, WaitTimeoutResult)> {
            let (held, unlocks) = guard.into_parts();
            map(self.0.wait_timeout(held, timeout), |(held, end)| (MutexGuard::new(held, unlocks), end))
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    fn map<A, B>(locked: LockResult<A>, wrap: impl FnOnce(A) -> B) -> LockResult<B> {
        match locked {
            Ok(held) => Ok(wrap(held)),
            Err(poisoned) => Err(PoisonError::new(wrap(poisoned.into_inner()))),
        }
    }
}
