//! The cell that ships.

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

/// For the model, which has a collector in each execution.
#[cfg(all(test, crossbeam_loom))]
impl Pin {
    pub(super) fn of(handle: &LocalHandle) -> Self {
        Self(handle.pin())
    }

    pub(super) fn flush(&self) {
        self.0.flush();
    }
}

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
        let swapped = self.0.compare_exchange(seen.shared, new, Ordering::Release, Ordering::Relaxed, &pin.0);
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
