//! A cell that holds one immutable value, replaced by compare-and-swap, the old one reclaimed by epoch.
//!
//! Not `ArcSwap`: its stores cost more with each thread that ever used it, and this cell is replaced
//! at every write. The epochs are the crate's own, since a guard held long elsewhere in the process
//! would hold back our garbage. Nothing but freeing memory depends on the epoch moving.

#[cfg(loom)]
pub(crate) use modelled::{Slot, pin};
#[cfg(not(loom))]
pub(crate) use real::{Slot, pin};

#[cfg(not(loom))]
mod real {
    use crossbeam_epoch::{Atomic, Collector, Guard, LocalHandle, Owned, Shared};
    use std::ops::Deref;
    use std::sync::OnceLock;
    use std::sync::atomic::Ordering;

    static COLLECTOR: OnceLock<Collector> = OnceLock::new();

    thread_local! {
        static HANDLE: LocalHandle = collector().register();
    }

    fn collector() -> &'static Collector {
        COLLECTOR.get_or_init(Collector::new)
    }

    /// While it lives, nothing seen through it is freed.
    pub(crate) struct Pin(Guard);

    /// Pins the current thread: a few nanoseconds, no lock.
    pub(crate) fn pin() -> Pin {
        let pinned = HANDLE.try_with(LocalHandle::pin);
        // A thread that is being torn down has no handle any more: it registers for this one pin.
        Pin(pinned.unwrap_or_else(|_| collector().register().pin()))
    }

    /// One immutable value.
    pub(crate) struct Slot<T>(
        /// Never null; from `Owned`, and owned by the slot.
        Atomic<T>,
    );

    /// What the slot held when it was loaded.
    pub(crate) struct Seen<'pin, T>(Shared<'pin, T>);

    impl<T> Deref for Seen<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            // SAFETY: a slot is never null, and a value that was in it is freed only after all that
            // were pinned when it was replaced have unpinned; `'pin` is such a pin.
            unsafe { self.0.deref() }
        }
    }

    impl<T: Send + Sync + 'static> Slot<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Atomic::new(value))
        }

        /// Acquire pairs with the release of the compare-and-swap that put the value here: its fields
        /// are seen whole, and what its writer did before (entering a generation) happened before what
        /// this thread does next (entering the same or a later one).
        pub(crate) fn load<'pin>(&self, pin: &'pin Pin) -> Seen<'pin, T> {
            Seen(self.0.load(Ordering::Acquire, &pin.0))
        }

        /// Puts `new` in place of what was seen; `false` if something else is there by now.
        pub(crate) fn replace<'pin>(&self, seen: &Seen<'pin, T>, new: T, pin: &'pin Pin) -> bool {
            // Release pairs with the Acquire in `load`. Acquire on success adds nothing that the load
            // of `seen` has not given. On failure the caller loads again.
            let swapped = self.0.compare_exchange(
                seen.0,
                Owned::new(new),
                Ordering::Release,
                Ordering::Relaxed,
                &pin.0,
            );
            let Ok(_) = swapped else { return false };
            // SAFETY: the swap took `seen` out of the only place it could be loaded from, and just one
            // thread wins that swap; whoever loaded it before is pinned.
            unsafe { pin.0.defer_destroy(seen.0) };
            true
        }
    }

    impl<T> Drop for Slot<T> {
        fn drop(&mut self) {
            let value = std::mem::take(&mut self.0);
            // SAFETY: never null and owned by the slot; `&mut` says that nobody else can load it now.
            drop(unsafe { value.into_owned() });
        }
    }

    #[cfg(test)]
    mod tests {
        use super::{Slot, pin};

        #[test]
        fn concurrent_replacements_are_all_counted() {
            let slot = Slot::new(0_u64);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..10_000 {
                            loop {
                                let pin = pin();
                                let seen = slot.load(&pin);
                                if slot.replace(&seen, *seen + 1, &pin) {
                                    break;
                                }
                            }
                        }
                    });
                }
            });
            assert_eq!(*slot.load(&pin()), 40_000);
        }
    }
}

/// The cell for loom: a lock around a pointer, compared by identity.
#[cfg(loom)]
mod modelled {
    use crate::core::sync::{Mutex, lock};
    use std::sync::Arc;

    pub(crate) struct Pin;

    pub(crate) fn pin() -> Pin {
        Pin
    }

    pub(crate) struct Slot<T>(Mutex<Arc<T>>);

    impl<T> Slot<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(Mutex::new(Arc::new(value)))
        }

        pub(crate) fn load(&self, _: &Pin) -> Arc<T> {
            lock(&self.0).clone()
        }

        pub(crate) fn replace(&self, seen: &Arc<T>, new: T, _: &Pin) -> bool {
            let mut current = lock(&self.0);
            let same = Arc::ptr_eq(&current, seen);
            if same {
                *current = Arc::new(new);
            }
            same
        }
    }
}
