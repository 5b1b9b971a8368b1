//! The garbage of a map, as it ships.

use crate::protocol::raw::epoch::Pin;
use crate::protocol::raw::group::Entry;
use crate::protocol::raw::record::{Pointer, Record};
use crate::protocol::sync::locks::Mutex;
use crate::protocol::sync::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, lock};
use std::ptr;
use std::sync::Arc;

/// Lists of garbage, so that threads seldom meet at one.
const STRIPES: usize = if cfg!(crossbeam_loom) { 1 } else { 16 };

/// Bytes of garbage that may be in a list before whoever adds to it has them given up.
const LIMIT: usize = 64 << 10;

/// A group of more keys is freed by the flusher, and not by a writer that happens to come by.
const LARGE: usize = 64;

/// How often the flusher asks for the epoch to move on: what was given up just before is freed two epochs later,
/// unless somebody stays pinned.
const ROUNDS: usize = 3;

pub(in crate::protocol::raw) struct Garbage<V: Record> {
    stripes: [Stripe<V>; STRIPES],
    /// What has been given up, and may be seen by a thread that is pinned.
    waiting: Mutex<Vec<Bag<V>>>,
}

/// A list that many push to, and one takes whole.
#[repr(align(128))]
struct Stripe<V: Record> {
    /// The records, linked by their heads' `next`. The list owns a count of each.
    newest: AtomicPtr<V>,
    bytes: AtomicUsize,
}

/// A list of records that was taken out of its stripe, and owns a count of each, or a group.
struct Bag<V: Record> {
    newest: Pointer<V>,
    /// Freed with this.
    group: Option<Arc<[Entry<V>]>>,
    /// Set once all pins are gone that there were when this was made.
    is_ripe: Arc<AtomicBool>,
}

// SAFETY: a bag owns counts of records, which are `Send` and `Sync` as every `Record` is, and drops them; a group is
// `Send` by itself.
unsafe impl<V: Record> Send for Bag<V> {}

impl<V: Record> Bag<V> {
    fn new(newest: Pointer<V>, group: Option<Arc<[Entry<V>]>>) -> Self {
        Self { newest, group, is_ripe: Arc::new(AtomicBool::new(false)) }
    }

    fn is_large(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.len() > LARGE)
    }
}

/// Who gives garbage up, and ends what is ripe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Writer,
    Flusher,
}

impl<V: Record> Garbage<V> {
    pub(in crate::protocol::raw) fn new() -> Self {
        let stripe = || Stripe { newest: AtomicPtr::new(ptr::null_mut()), bytes: AtomicUsize::new(0) };
        Self { stripes: std::array::from_fn(|_| stripe()), waiting: Mutex::new(Vec::new()) }
    }

    /// Takes over a count of a record, and gives it up once all pins of now are gone. `bytes` is about how much that
    /// frees. Costs a compare-and-swap, and once for every [`LIMIT`] bytes a lock and a deferral.
    ///
    /// # Safety
    ///
    /// The caller owns the count, and has put the record out of the reach of who pins from now on. While there is
    /// garbage of a map, the map is there. Nobody adds a record twice: it leaves its cell once, and `previous` once
    /// after that, and never both with a count.
    pub(in crate::protocol::raw) unsafe fn add(&self, record: Pointer<V>, bytes: usize, pin: &Pin) {
        let stripe = &self.stripes[stripe()];
        // SAFETY: the count that we were given keeps it.
        let next = &unsafe { record.head() }.next;
        // Relaxed: the newest is only compared and stored as `next`, never read through.
        let mut newest = stripe.newest.load(Ordering::Relaxed);
        loop {
            next.store(newest, Ordering::Relaxed);
            // Release pairs with the Acquire in `take`: who takes the list sees the `next` of each of its records, and
            // comes after their having left. Those further down come along, as each later push continues the release
            // sequence of this one. No ABA problem: a record is added once.
            match stripe.newest.compare_exchange_weak(newest, record.0, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => newest = now,
            }
        }
        // Relaxed, as it only says when it is time.
        if stripe.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= LIMIT {
            self.give_up(stripe.take(), pin, By::Writer);
        }
    }

    /// Takes over a group that has left all cells, and frees it once all pins of now are gone. Costs a lock and a
    /// deferral.
    pub(in crate::protocol::raw) fn add_group(&self, entries: Arc<[Entry<V>]>, pin: &Pin) {
        self.give_up([Bag::new(Pointer(ptr::null_mut()), Some(entries))], pin, By::Writer);
    }

    /// Defers the end of this garbage, and ends what has been deferred long enough.
    fn give_up(&self, taken: impl IntoIterator<Item = Bag<V>>, pin: &Pin, by: By) {
        let taken: Vec<_> = taken.into_iter().collect();
        for bag in &taken {
            let is_ripe = bag.is_ripe.clone();
            // Release pairs with the Acquire below: who runs a deferral comes after all pins that ended before, and so
            // does who then drops the bag.
            pin.defer(move || is_ripe.store(true, Ordering::Release));
        }
        pin.flush();
        let ripe: Vec<_> = {
            let mut waiting = lock(&self.waiting);
            waiting.extend(taken);
            let ends = |bag: &mut Bag<V>| {
                (by == By::Flusher || !bag.is_large()) && bag.is_ripe.load(Ordering::Acquire)
            };
            waiting.extract_if(.., ends).collect()
        };
        drop(ripe);
    }

    /// Gives up all there is, and ends what can be ended: for the flusher.
    pub(in crate::protocol::raw) fn collect(&self, pin: impl Fn() -> Pin) {
        self.give_up(self.stripes.iter().filter_map(Stripe::take), &pin(), By::Flusher);
        for _ in 0..ROUNDS {
            if lock(&self.waiting).is_empty() {
                return;
            }
            self.give_up([], &pin(), By::Flusher);
        }
    }
}

impl<V: Record> Stripe<V> {
    fn take(&self) -> Option<Bag<V>> {
        self.bytes.store(0, Ordering::Relaxed);
        // Acquire pairs with the Release in `add`.
        let newest = Pointer(self.newest.swap(ptr::null_mut(), Ordering::Acquire));
        (!newest.is_null()).then(|| Bag::new(newest, None))
    }
}

impl<V: Record> Drop for Stripe<V> {
    fn drop(&mut self) {
        // Nobody can be pinned to look at a map that is being dropped.
        drop(self.take());
    }
}

/// When it is ripe, or with its map.
impl<V: Record> Drop for Bag<V> {
    fn drop(&mut self) {
        let mut record = self.newest;
        while !record.is_null() {
            // SAFETY: the list owns a count of the record, and nobody sees it any more who has none: they were pinned
            // when it left, and are not now, or the map is being dropped, which nobody looks at.
            unsafe {
                let next = Pointer(record.head().next.load(Ordering::Relaxed));
                record.release();
                record = next;
            }
        }
    }
}

/// The list that this thread adds to.
fn stripe() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    thread_local!(static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
    // A thread that is being torn down has no list any more.
    STRIPE.try_with(|stripe| *stripe).unwrap_or(0)
}
