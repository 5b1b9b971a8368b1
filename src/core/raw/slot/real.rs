//! The cell that ships.

use super::Look;
use crate::core::version::{Kept, Version};
use crossbeam_epoch::{Atomic, Collector, Guard, LocalHandle, Owned, Shared};
use std::mem::{ManuallyDrop, forget};
use std::ptr;
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

/// One of the shapes of [`Look`]. The slot owns what it points to.
///
/// An image that lives on passes from the replaced state to its successor as it is, without being counted up
/// and later down: both hold the one strong count until the swap has decided which of them owns it. A reader
/// that still sees the replaced state is pinned since before the successor was put in the slot, so whatever
/// comes to own the image gives it up, epochs later, only after that reader has unpinned.
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
pub(crate) struct Seen<'a, V> {
    shared: Shared<'a, Version<V>>,
    /// If settled: a view of the slot's own strong count, never given up.
    settled: Option<ManuallyDrop<Arc<V>>>,
}

impl<'a, V> Seen<'a, V> {
    fn new(shared: Shared<'a, Version<V>>) -> Self {
        let settled = (shared.tag() == SETTLED).then(|| {
            // SAFETY: by the tag, the pointer came from `Arc::into_raw`; the strong count that the slot
            // had is given up only after all that were pinned when it was replaced have unpinned, and
            // `'a` is within such a pin. `ManuallyDrop` keeps this view from giving it up as well.
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
    /// Vacant, or settled.
    pub(crate) fn new(settled: Option<Arc<V>>) -> Self {
        let slot = Self(Atomic::null());
        if let Some(value) = settled {
            slot.0.store(from_settled(value), Ordering::Relaxed);
        }
        slot
    }

    /// Acquire pairs with the release of the compare-and-swap that put this here: its fields are seen
    /// whole, and what its writer did before (entering a generation) happened before what this thread
    /// does next (entering the same or a later one).
    pub(crate) fn load<'a>(&'a self, pin: &'a Pin) -> Seen<'a, V> {
        Seen::new(self.0.load(Ordering::Acquire, &pin.0))
    }

    /// Puts a version in place of what was seen; `false` if something else is there by now.
    pub(crate) fn write(
        &self,
        seen: &Seen<'_, V>,
        generation: u64,
        value: Option<Arc<V>>,
        pin: &Pin,
    ) -> bool {
        // SAFETY: the copy becomes the only one, or is forgotten: see `replace`.
        let (version, kept) = seen.look().next(generation, value, |image| unsafe { ptr::read(image) });
        // SAFETY: the version holds that copy as its image before.
        unsafe { self.replace(seen, Owned::new(version).into_shared(&pin.0), Kept::Before, kept, pin) }
    }

    /// Puts the value that was seen in place of the version around it; `false` as for `write`.
    pub(crate) fn settle(&self, seen: &Seen<'_, V>, pin: &Pin) -> bool {
        let Some(value) = seen.look().value() else { return false };
        // SAFETY: the copy becomes the only one, or is forgotten: see `replace`.
        let settled = from_settled(unsafe { ptr::read(value) });
        // SAFETY: the copy is all there is of the new state.
        unsafe { self.replace(seen, settled, Kept::Value, Kept::Value, pin) }
    }

    /// Puts the terminal state in place of what was seen; `false` as for `write`.
    pub(crate) fn retire(&self, seen: &Seen<'_, V>, pin: &Pin) -> bool {
        let retired = Shared::null().with_tag(RETIRED);
        // SAFETY: no copy was made.
        unsafe { self.replace(seen, retired, Kept::Nothing, Kept::Nothing, pin) }
    }

    /// # Safety
    ///
    /// `new` is a state that nobody else has seen. Its value `copy` is a bitwise copy of the value `kept` of
    /// the state seen; both name nothing if there is no such copy.
    unsafe fn replace(
        &self,
        seen: &Seen<'_, V>,
        new: Shared<'_, Version<V>>,
        copy: Kept,
        kept: Kept,
        pin: &Pin,
    ) -> bool {
        // Release pairs with the Acquire in `load`. Acquire on success adds nothing that the load of
        // `seen` has not given. On failure the caller loads again.
        let swapped = self.0.compare_exchange(seen.shared, new, Ordering::Release, Ordering::Relaxed, &pin.0);
        if swapped.is_err() {
            // SAFETY: `new` was never in the slot, and the state seen still owns what was copied.
            unsafe { give_up(new, copy) };
            return false;
        }
        let old = seen.shared;
        let passed_on_whole = old.tag() == SETTLED && kept == Kept::Value;
        if !old.is_null() && !passed_on_whole {
            // SAFETY: the swap took it out of the only place it could be loaded from, and just one
            // thread wins that swap; whoever loaded it before is pinned. `V` may be dropped on any
            // thread, and is `'static`, so it may be dropped late. What `kept` names is the new state's.
            unsafe { pin.0.defer_unchecked(move || give_up(old, kept)) };
        }
        true
    }
}

/// Leaves the ownership to the pointer.
fn from_settled<'a, V>(value: Arc<V>) -> Shared<'a, Version<V>> {
    const { assert!(align_of::<V>() >= align_of::<Version<V>>(), "the tag needs the low bits of the pointer") };
    Shared::from(Arc::into_raw(value).cast::<Version<V>>()).with_tag(SETTLED)
}

/// Drops what a state owns, but for the value that `kept` names.
///
/// # Safety
///
/// Once for each state, when nobody can see it any more.
unsafe fn give_up<V>(state: Shared<'_, Version<V>>, kept: Kept) {
    match state.tag() {
        SETTLED if kept == Kept::Nothing => {
            // SAFETY: by the tag, this is the strong count of `Arc::into_raw`.
            drop(unsafe { Arc::from_raw(state.as_raw().cast::<V>()) });
        }
        WRITTEN if !state.is_null() => {
            // SAFETY: by the tag, and not null, this is from `Owned`.
            let mut version = unsafe { state.into_owned() };
            match kept {
                Kept::Nothing => {}
                Kept::Value => forget(version.value.take()),
                Kept::Before => forget(version.before.1.take()),
            }
        }
        _ => {}
    }
}

impl<V> Drop for Slot<V> {
    fn drop(&mut self) {
        // SAFETY: `&mut` says that nobody else can see the slot any more.
        unsafe { give_up(self.0.load(Ordering::Relaxed, crossbeam_epoch::unprotected()), Kept::Nothing) };
    }
}

#[cfg(all(test, not(crossbeam_loom)))]
mod tests {
    use super::{Look, Slot, pin};
    use std::sync::Arc;

    #[test]
    fn concurrent_replacements_are_all_counted() {
        let slot = Slot::new(Some(Arc::new(0_u64)));
        std::thread::scope(|scope| {
            for generation in 1..5 {
                let slot = &slot;
                scope.spawn(move || {
                    for n in 0..10_000 {
                        loop {
                            let pin = pin();
                            let seen = slot.load(&pin);
                            let next = seen.look().value().map(|value| Arc::new(**value + 1));
                            // The highest generation of the four, so that each follows each.
                            if slot.write(&seen, 4, next, &pin) {
                                break;
                            }
                        }
                        if n % generation == 0 {
                            let pin = pin();
                            let seen = slot.load(&pin);
                            slot.settle(&seen, &pin);
                        }
                    }
                });
            }
        });
        let pin = pin();
        assert_eq!(slot.load(&pin).look().value().map(|value| **value), Some(40_000));
    }

    /// Each value has as many owners as there are states, and hands, that show it: an image that passes from state
    /// to state is neither dropped twice nor leaked, whether a swap succeeds or not.
    #[test]
    fn images_pass_from_state_to_state_with_one_count() {
        let values: Vec<_> = (0..4_u64).map(Arc::new).collect();
        let counts = || values.iter().map(Arc::strong_count).collect::<Vec<_>>();
        let slot = Slot::new(Some(values[0].clone()));
        let write = |generation, value: usize| {
            let pinned = pin();
            let seen = slot.load(&pinned);
            assert!(slot.write(&seen, generation, Some(values[value].clone()), &pinned));
            assert!(!slot.write(&seen, generation, None, &pinned), "what was seen is not there any more");
            assert!(!slot.retire(&seen, &pinned));
        };
        let collected = |expected: [usize; 4]| {
            // What was replaced is given up some epochs later, and other tests may be pinned.
            while counts() != expected {
                pin().0.flush();
                std::thread::yield_now();
            }
        };
        collected([2, 1, 1, 1]);
        write(1, 1); // value 0 is the image before
        write(1, 2);
        collected([2, 1, 2, 1]);
        write(2, 3); // value 2 is the image before
        collected([1, 1, 2, 2]);
        let pinned = pin();
        let seen = slot.load(&pinned);
        assert!(slot.settle(&seen, &pinned));
        assert!(!slot.settle(&seen, &pinned), "once");
        assert!(matches!(seen.look(), Look::Written(version) if version.before.1.as_deref() == Some(&2)));
        drop(pinned);
        collected([1, 1, 1, 2]);
        write(3, 0);
        drop(slot);
        collected([1, 1, 1, 1]);
    }

    #[test]
    fn what_is_seen_outlives_its_replacement() {
        let slot = Slot::new(Some(Arc::new(7_u64)));
        let pinned = pin();
        let seen = slot.load(&pinned);
        assert!(slot.retire(&seen, &pinned));
        assert!(matches!(slot.load(&pinned).look(), Look::Retired));
        (0..1_000).for_each(|_| pin().0.flush());
        assert!(matches!(seen.look(), Look::Settled(seven) if **seven == 7));
    }
}
