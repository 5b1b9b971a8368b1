//! The garbage of a map, as it ships.

use crate::protocol::raw::epoch::Pin;
use crate::protocol::raw::group::Entry;
use crate::protocol::raw::record::{Pointer, Record};
use crate::protocol::sync::locks::Mutex;
use crate::protocol::sync::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, lock};
use std::collections::VecDeque;
use std::ptr;
use std::sync::Arc;

/// Number of lists of garbage, so that threads seldom meet at one.
const STRIPES: usize = if cfg!(crossbeam_loom) { 1 } else { 16 };

/// Bytes of garbage that may be in a list before whoever adds to it gives them up.
const LIMIT: usize = 64 << 10;

/// A group of more keys is freed by the flusher, and not by a writer that happens to come by.
const LARGE: usize = 64;

/// How often the flusher asks for the epoch to move on: what was given up just before is freed two epochs later,
/// unless somebody stays pinned.
const ROUNDS: usize = 3;

pub(in crate::protocol::raw) struct Garbage<V: Record> {
    stripes: [Stripe<V>; STRIPES],
    groups: Mutex<Vec<Bag<Group<V>>>>,
}

/// What some threads have to free.
#[repr(align(128))]
struct Stripe<V: Record> {
    /// The newest of a list that many push to, and one takes whole: a [`List`].
    newest: AtomicPtr<V>,
    bytes: AtomicUsize,
    /// What has been given up, and may be seen by a thread that is pinned; the oldest first.
    waiting: Mutex<VecDeque<Bag<List<V>>>>,
}

type Group<V> = Arc<[Entry<V>]>;

/// Records linked by their heads' `next`. Owns a count of each.
struct List<V: Record>(Pointer<V>);

/// A list that was taken out of its stripe, or a group. Freed with this.
struct Bag<T> {
    content: T,
    /// Set once all pins are gone that there were when this was made.
    is_ripe: Arc<AtomicBool>,
}

// SAFETY: it owns counts of records, which are `Send` and `Sync` as every `Record` is, and drops them.
unsafe impl<V: Record> Send for List<V> {}

impl<V: Record> List<V> {
    /// Takes one out. The caller releases its count.
    fn pop(&mut self) -> Option<Pointer<V>> {
        let newest = self.0;
        if newest.is_null() {
            return None;
        }
        // SAFETY: the list owns a count of it.
        self.0 = Pointer(unsafe { newest.head() }.next.load(Ordering::Relaxed));
        Some(newest)
    }
}

impl<T> Bag<T> {
    /// Gives up what has left its cells.
    fn new(content: T, pin: &Pin) -> Self {
        let is_ripe = Arc::new(AtomicBool::new(false));
        let ripens = is_ripe.clone();
        // Release pairs with the Acquire in `is_ripe`: a deferral runs after all pins that it waited for, and the
        // thread that frees the content after the deferral.
        pin.defer(move || ripens.store(true, Ordering::Release));
        Self { content, is_ripe }
    }

    fn is_ripe(&self) -> bool {
        self.is_ripe.load(Ordering::Acquire)
    }
}

/// Which thread frees what is ripe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Writer,
    Flusher,
}

impl<V: Record> Garbage<V> {
    pub(in crate::protocol::raw) fn new() -> Self {
        let stripe = || Stripe {
            newest: AtomicPtr::new(ptr::null_mut()),
            bytes: AtomicUsize::new(0),
            waiting: Mutex::new(VecDeque::new()),
        };
        Self { stripes: std::array::from_fn(|_| stripe()), groups: Mutex::new(Vec::new()) }
    }

    /// Takes over a count of a record, and frees it once all pins of now are gone. `bytes` is about how much that
    /// frees. Costs a compare-and-swap and an uncontended lock, and once for every [`LIMIT`] bytes a deferral.
    ///
    /// Frees one that has waited long enough, if there is one: so a thread gets the memory of its next record from
    /// what it has just given back, and seldom has many to free.
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
            stripe.give_up(pin);
            pin.flush();
            // The last one is freed record by record.
            stripe.free_all_but(1);
        } else {
            stripe.free_one();
        }
    }

    /// Takes over a group that has left all cells, and frees it once all pins of now are gone. Costs a lock and a
    /// deferral.
    pub(in crate::protocol::raw) fn add_group(&self, entries: Group<V>, pin: &Pin) {
        let bag = Bag::new(entries, pin);
        lock(&self.groups).push(bag);
        self.free_groups(pin, By::Writer);
    }

    /// Gives up all there is, and frees what can be freed: for the flusher.
    pub(in crate::protocol::raw) fn collect(&self, pin: impl Fn() -> Pin) {
        let first = pin();
        self.stripes.iter().for_each(|stripe| stripe.give_up(&first));
        drop(first);
        for _ in 0..=ROUNDS {
            self.free_groups(&pin(), By::Flusher);
            self.stripes.iter().for_each(|stripe| stripe.free_all_but(0));
            let is_empty = |stripe: &Stripe<V>| lock(&stripe.waiting).is_empty();
            if self.stripes.iter().all(is_empty) && lock(&self.groups).is_empty() {
                return;
            }
        }
    }

    fn free_groups(&self, pin: &Pin, by: By) {
        pin.flush();
        let is_due =
            |bag: &mut Bag<Group<V>>| (by == By::Flusher || bag.content.len() <= LARGE) && bag.is_ripe();
        let due: Vec<_> = lock(&self.groups).extract_if(.., is_due).collect();
        drop(due);
    }
}

impl<V: Record> Stripe<V> {
    fn take(&self) -> Option<List<V>> {
        self.bytes.store(0, Ordering::Relaxed);
        // Acquire pairs with the Release in `add`.
        let newest = Pointer(self.newest.swap(ptr::null_mut(), Ordering::Acquire));
        (!newest.is_null()).then_some(List(newest))
    }

    /// Gives up the list.
    fn give_up(&self, pin: &Pin) {
        if let Some(records) = self.take() {
            let bag = Bag::new(records, pin);
            lock(&self.waiting).push_back(bag);
        }
    }

    /// Frees all bags that are ripe, but so many of the last.
    fn free_all_but(&self, last: usize) {
        let due: Vec<_> = {
            let mut waiting = lock(&self.waiting);
            let ripe = waiting.iter().take_while(|bag| bag.is_ripe()).count();
            waiting.drain(..ripe.saturating_sub(last)).collect()
        };
        drop(due);
    }

    /// Frees a record that is ripe, if there is one and nobody else is about it.
    fn free_one(&self) {
        let Ok(mut waiting) = self.waiting.try_lock() else { return };
        let Some(bag) = waiting.front_mut().filter(|bag| bag.is_ripe()) else { return };
        let record = bag.content.pop();
        if bag.content.0.is_null() {
            waiting.pop_front();
        }
        drop(waiting);
        if let Some(record) = record {
            // SAFETY: its count was the list's, and nobody sees it any more who has none, as the bag was ripe.
            unsafe { record.release() };
        }
    }
}

impl<V: Record> Drop for Stripe<V> {
    fn drop(&mut self) {
        // Nobody can be pinned to look at a map that is being dropped.
        drop(self.take());
    }
}

/// When it is ripe, or with its map.
impl<V: Record> Drop for List<V> {
    fn drop(&mut self) {
        while let Some(record) = self.pop() {
            // SAFETY: the count was the list's, and nobody sees the record any more who has none: they were pinned when
            // it left, and are not now, or the map is being dropped, which nobody looks at.
            unsafe { record.release() };
        }
    }
}

/// The stripe that this thread adds to.
fn stripe() -> usize {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    thread_local!(static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
    // A thread that is being torn down has no list any more.
    STRIPE.try_with(|stripe| *stripe).unwrap_or(0)
}
