//! The cell that holds an entry's state: replaced by compare-and-swap, the old one reclaimed by epoch.
//!
//! Not `ArcSwap`: its stores cost more with each thread that ever used it, and this cell is replaced at
//! every write. The epochs are the crate's own, since a guard held long elsewhere in the process would
//! hold back our garbage. Nothing but freeing memory depends on the epoch moving.

use crate::core::version::Version;
use std::sync::Arc;

#[cfg(loom)]
pub(crate) use modelled::{Slot, pin};
#[cfg(not(loom))]
pub(crate) use real::{Slot, pin};

/// What a slot holds. A settled value needs no version around it, which spares each read a look at
/// another cache line and each trace at rest an allocation.
pub(crate) enum Held<V> {
    /// Nothing was ever written: absent, and older than any generation. A slot is vacant only at first.
    Vacant,
    /// Written, and not settled since.
    Written(Version<V>),
    /// A value older than any generation that is not committed.
    Settled(Arc<V>),
    /// The entry is leaving the map: terminal.
    Retired,
}

/// The same, seen.
pub(crate) enum Look<'a, V> {
    Vacant,
    Written(&'a Version<V>),
    Settled(&'a Arc<V>),
    Retired,
}

impl<V> Clone for Look<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Look<'_, V> {}

#[cfg(not(loom))]
mod real {
    use super::{Held, Look};
    use crate::core::version::Version;
    use crossbeam_epoch::{Atomic, Collector, Guard, LocalHandle, Owned, Shared};
    use std::mem::ManuallyDrop;
    use std::sync::atomic::Ordering;
    use std::sync::{Arc, OnceLock};

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

    /// The pointer is to a `Version<V>`.
    const WRITTEN: usize = 0;
    /// The pointer is to a `V`, from `Arc::into_raw`.
    const SETTLED: usize = 1;
    /// The pointer is null.
    const RETIRED: usize = 2;

    /// One of the shapes of [`Held`]. The slot owns what it points to.
    pub(crate) struct Slot<V>(
        /// By tag: `WRITTEN`, to a version from `Owned`, or null and vacant; `SETTLED`, to a value of which
        /// this is one strong count; `RETIRED`, null.
        Atomic<Version<V>>,
    );

    // SAFETY: a slot owns a `Version<V>`, which is `Send` and `Sync` as its `Arc`s are, or a strong count of
    // an `Arc<V>`. It hands out `&Arc<V>` and drops either on any thread: `V: Send + Sync` allows both.
    unsafe impl<V: Send + Sync> Send for Slot<V> {}
    // SAFETY: as above.
    unsafe impl<V: Send + Sync> Sync for Slot<V> {}

    /// What the slot held when it was loaded.
    pub(crate) struct Seen<'pin, V> {
        shared: Shared<'pin, Version<V>>,
        /// If settled: a view of the slot's own strong count, never given up.
        settled: Option<ManuallyDrop<Arc<V>>>,
    }

    impl<'pin, V> Seen<'pin, V> {
        fn new(shared: Shared<'pin, Version<V>>) -> Self {
            let settled = (shared.tag() == SETTLED).then(|| {
                // SAFETY: by the tag, the pointer came from `Arc::into_raw`; the strong count that the slot
                // had is given up only after all that were pinned when it was replaced have unpinned, and
                // `'pin` is such a pin. `ManuallyDrop` keeps this view from giving it up as well.
                ManuallyDrop::new(unsafe { Arc::from_raw(shared.as_raw().cast::<V>()) })
            });
            Self { shared, settled }
        }

        pub(crate) fn look(&self) -> Look<'_, V> {
            if let Some(value) = &self.settled {
                return Look::Settled(value);
            }
            if self.shared.tag() == RETIRED {
                return Look::Retired;
            }
            // SAFETY: the tag is `WRITTEN`, so this is null or a version that was in the slot; that is freed
            // only after all that were pinned when it was replaced have unpinned.
            unsafe { self.shared.as_ref() }.map_or(Look::Vacant, Look::Written)
        }
    }

    impl<V: Send + Sync + 'static> Slot<V> {
        pub(crate) fn new(held: Held<V>) -> Self {
            let slot = Self(Atomic::null());
            slot.0.store(to_shared(held), Ordering::Relaxed);
            slot
        }

        /// Acquire pairs with the release of the compare-and-swap that put this here: its fields are seen
        /// whole, and what its writer did before (entering a generation) happened before what this thread
        /// does next (entering the same or a later one).
        pub(crate) fn load<'pin>(&self, pin: &'pin Pin) -> Seen<'pin, V> {
            Seen::new(self.0.load(Ordering::Acquire, &pin.0))
        }

        /// Puts `new` in place of what was seen; `false` if something else is there by now.
        pub(crate) fn replace<'pin>(&self, seen: &Seen<'pin, V>, new: Held<V>, pin: &'pin Pin) -> bool {
            let new = to_shared(new);
            // Release pairs with the Acquire in `load`. Acquire on success adds nothing that the load of
            // `seen` has not given. On failure the caller loads again.
            let swapped =
                self.0.compare_exchange(seen.shared, new, Ordering::Release, Ordering::Relaxed, &pin.0);
            let old = match swapped {
                Ok(_) => seen.shared,
                Err(failed) => {
                    // SAFETY: `new` was never in the slot: nobody else has seen it.
                    unsafe { give_up(failed.new) };
                    return false;
                }
            };
            if !old.is_null() {
                // SAFETY: the swap took it out of the only place it could be loaded from, and just one
                // thread wins that swap; whoever loaded it before is pinned. `V` may be dropped on any
                // thread, and is `'static`, so it may be dropped late.
                unsafe { pin.0.defer_unchecked(move || give_up(old)) };
            }
            true
        }
    }

    /// Leaves the ownership to the pointer.
    fn to_shared<'pin, V>(held: Held<V>) -> Shared<'pin, Version<V>> {
        const { assert!(align_of::<V>() >= align_of::<Version<V>>(), "the tag needs the low bits of the pointer") };
        // SAFETY: `unprotected` is used for a guard's lifetime alone; nothing is loaded or deferred with it.
        let nobody: &'pin Guard = unsafe { crossbeam_epoch::unprotected() };
        match held {
            Held::Vacant => Shared::null(),
            Held::Written(version) => Owned::new(version).into_shared(nobody),
            Held::Settled(value) => Shared::from(Arc::into_raw(value).cast::<Version<V>>()).with_tag(SETTLED),
            Held::Retired => Shared::null().with_tag(RETIRED),
        }
    }

    /// Drops what a pointer from [`to_shared`] owns.
    ///
    /// # Safety
    ///
    /// Once for each such pointer, when nobody can see it any more.
    unsafe fn give_up<V>(shared: Shared<'_, Version<V>>) {
        match shared.tag() {
            // SAFETY: by the tag, this is the strong count of `Arc::into_raw`.
            SETTLED => drop(unsafe { Arc::from_raw(shared.as_raw().cast::<V>()) }),
            // SAFETY: by the tag, and not null, this is from `Owned`.
            WRITTEN if !shared.is_null() => drop(unsafe { shared.into_owned() }),
            _ => {}
        }
    }

    impl<V> Drop for Slot<V> {
        fn drop(&mut self) {
            // SAFETY: `&mut` says that nobody else can see the slot any more.
            unsafe { give_up(self.0.load(Ordering::Relaxed, crossbeam_epoch::unprotected())) };
        }
    }

    /// The cell on crossbeam-epoch itself, built against loom: one writer and one reader, at most three
    /// preemptions. With two writers loom stops on an assertion of its own.
    #[cfg(all(test, crossbeam_loom))]
    mod model {
        use super::{Collector, Held, Pin, Slot};
        use loom::cell::UnsafeCell;
        use std::sync::Arc;

        /// Reading it races, to loom, with its making and with its end, unless they are ordered.
        #[repr(align(8))]
        struct Tracked(UnsafeCell<u64>);

        // SAFETY: it is written when it is made and when it is dropped, by its one owner; that no read races with
        // that is what the model checks.
        unsafe impl Sync for Tracked {}

        impl Tracked {
            fn new(n: u64) -> Arc<Self> {
                Arc::new(Self(UnsafeCell::new(n)))
            }

            fn read(&self) -> u64 {
                // SAFETY: as for `Sync`.
                self.0.with(|n| unsafe { *n })
            }
        }

        impl Drop for Tracked {
            fn drop(&mut self) {
                // SAFETY: as for `Sync`.
                self.0.with_mut(|n| unsafe { *n = 0 });
            }
        }

        #[test]
        fn what_is_seen_is_whole_and_not_freed() {
            let mut builder = loom::model::Builder::new();
            builder.preemption_bound = Some(3);
            builder.check(|| {
                let collector = Collector::new();
                let slot = loom::sync::Arc::new(Slot::new(Held::Settled(Tracked::new(1))));
                let writer = {
                    let (collector, slot) = (collector.clone(), slot.clone());
                    loom::thread::spawn(move || {
                        let handle = collector.register();
                        let pin = Pin(handle.pin());
                        let seen = slot.load(&pin);
                        let version = seen.look().next(2, Some(Tracked::new(2)));
                        assert!(slot.replace(&seen, Held::Written(version), &pin));
                        let seen = slot.load(&pin);
                        assert!(slot.replace(&seen, Held::Settled(Tracked::new(3)), &pin));
                        pin.0.flush();
                    })
                };
                let handle = collector.register();
                let pin = Pin(handle.pin());
                let seen = slot.load(&pin);
                let value = seen.look().value().map(|value| value.read());
                assert!(matches!(value, Some(1..=3)), "{value:?}");
                drop(pin);
                assert!(writer.join().is_ok());
            });
            println!("model what_is_seen_is_whole_and_not_freed: the cell on crossbeam-epoch, bound 3");
        }
    }

    #[cfg(all(test, not(crossbeam_loom)))]
    mod tests {
        use super::{Held, Look, Slot, pin};
        use std::sync::Arc;

        fn settled(slot: &Slot<u64>) -> Option<u64> {
            match slot.load(&pin()).look() {
                Look::Settled(value) => Some(**value),
                _ => None,
            }
        }

        #[test]
        fn concurrent_replacements_are_all_counted() {
            let slot = Slot::new(Held::Settled(Arc::new(0_u64)));
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        for _ in 0..10_000 {
                            loop {
                                let pin = pin();
                                let seen = slot.load(&pin);
                                let Look::Settled(value) = seen.look() else { continue };
                                if slot.replace(&seen, Held::Settled(Arc::new(**value + 1)), &pin) {
                                    break;
                                }
                            }
                        }
                    });
                }
            });
            assert_eq!(settled(&slot), Some(40_000));
        }

        #[test]
        fn what_is_seen_outlives_its_replacement_and_the_slot_keeps_one_count() {
            let value = Arc::new(7_u64);
            let slot = Slot::new(Held::Settled(value.clone()));
            let pinned = pin();
            let seen = slot.load(&pinned);
            assert!(slot.replace(&seen, Held::Retired, &pinned));
            assert!(matches!(slot.load(&pinned).look(), Look::Retired));
            assert!(matches!(seen.look(), Look::Settled(seven) if **seven == 7));
            assert!(
                !slot.replace(&seen, Held::Settled(value.clone()), &pinned),
                "a failed swap gives back its count"
            );
            assert_eq!(Arc::strong_count(&value), 2);
        }
    }
}

/// The cell for loom: a lock around a pointer, compared by identity.
#[cfg(loom)]
mod modelled {
    use super::{Held, Look};
    use crate::core::sync::{Mutex, lock};
    use crate::core::version::Version;
    use std::sync::Arc;

    pub(crate) struct Pin;

    pub(crate) fn pin() -> Pin {
        Pin
    }

    pub(crate) struct Slot<V>(Mutex<Seen<V>>);

    pub(crate) enum Seen<V> {
        Vacant,
        Written(Arc<Version<V>>),
        Settled(Arc<V>),
        Retired,
    }

    impl<V> Clone for Seen<V> {
        fn clone(&self) -> Self {
            match self {
                Seen::Vacant => Seen::Vacant,
                Seen::Written(version) => Seen::Written(version.clone()),
                Seen::Settled(value) => Seen::Settled(value.clone()),
                Seen::Retired => Seen::Retired,
            }
        }
    }

    impl<V> Seen<V> {
        fn new(held: Held<V>) -> Self {
            match held {
                Held::Vacant => Seen::Vacant,
                Held::Written(version) => Seen::Written(Arc::new(version)),
                Held::Settled(value) => Seen::Settled(value),
                Held::Retired => Seen::Retired,
            }
        }

        pub(crate) fn look(&self) -> Look<'_, V> {
            match self {
                Seen::Vacant => Look::Vacant,
                Seen::Written(version) => Look::Written(version),
                Seen::Settled(value) => Look::Settled(value),
                Seen::Retired => Look::Retired,
            }
        }

        fn is(&self, other: &Self) -> bool {
            match (self, other) {
                (Seen::Vacant, Seen::Vacant) | (Seen::Retired, Seen::Retired) => true,
                (Seen::Written(a), Seen::Written(b)) => Arc::ptr_eq(a, b),
                (Seen::Settled(a), Seen::Settled(b)) => Arc::ptr_eq(a, b),
                _ => false,
            }
        }
    }

    impl<V> Slot<V> {
        pub(crate) fn new(held: Held<V>) -> Self {
            Self(Mutex::new(Seen::new(held)))
        }

        pub(crate) fn load(&self, _: &Pin) -> Seen<V> {
            lock(&self.0).clone()
        }

        pub(crate) fn replace(&self, seen: &Seen<V>, new: Held<V>, _: &Pin) -> bool {
            let mut current = lock(&self.0);
            let same = current.is(seen);
            if same {
                *current = Seen::new(new);
            }
            same
        }
    }
}
