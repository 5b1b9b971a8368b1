//! The cell and its garbage on crossbeam-epoch itself, built against loom: one writer and one reader, at most four
//! preemptions (`LOOM_MAX_PREEMPTIONS` puts another number in its place). With two writers loom stops on an assertion
//! of its own.

use super::cell::Cell;
use super::epoch::Pin;
use super::garbage::Garbage;
use super::record::{CellState, Head, Record};
use crossbeam_epoch::Collector;
use loom::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Reading it races, to loom, with its making and with its end, unless they are ordered.
struct Tracked {
    head: Head<Self>,
    number: UnsafeCell<u64>,
}

// SAFETY: it is written when it is made and when it is dropped, by its one owner; that no read races with
// that is what the model checks.
unsafe impl Sync for Tracked {}

impl Record for Tracked {
    fn head(&self) -> &Head<Self> {
        &self.head
    }

    fn head_mut(&mut self) -> &mut Head<Self> {
        &mut self.head
    }

    /// A replaced record fills the list, so that the writer gives it up; an image does not, and frees a ripe record.
    fn freed_bytes(&self, successor: Option<&Self>) -> usize {
        if successor.is_some() { 1 << 20 } else { 0 }
    }
}

impl Tracked {
    fn new(number: u64) -> Self {
        Self { head: Head::default(), number: UnsafeCell::new(number) }
    }

    fn read(&self) -> u64 {
        // SAFETY: as for `Sync`.
        self.number.with(|number| unsafe { *number })
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        // SAFETY: as for `Sync`.
        self.number.with_mut(|number| unsafe { *number = 0 });
    }
}

/// Dropped in this order, as those of a map are.
struct Slot {
    cell: Cell<Tracked>,
    garbage: Garbage<Tracked>,
}

impl Slot {
    fn write(&self, generation: u64, number: u64, pin: &Pin) {
        // SAFETY: the slot, and so the cell, is shared by both threads until they are joined.
        let old = unsafe { self.cell.load(pin) }.hold();
        let new = old.successor(generation, Some(Tracked::new(number).into()));
        assert!(self.cell.publish(&old, &new));
        self.garbage.add_replaced(&old, &new, pin);
    }

    /// As after the commit of the newest generation.
    fn settle(&self, pin: &Pin) {
        // SAFETY: as above; the record is the newest.
        let image = unsafe { self.cell.load(pin).pointer.take_image() };
        self.garbage.add_image(image, pin);
    }
}

#[test]
fn what_is_seen_is_whole_and_not_freed() {
    let mut builder = loom::model::Builder::new();
    let bound = *builder.preemption_bound.get_or_insert(4);
    (builder.max_permutations, builder.max_duration) = (None, None);
    let executions = Arc::new(AtomicUsize::new(0));
    let (counted, started) = (executions.clone(), Instant::now());
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let collector = Collector::new();
        let first = Arc::new(Tracked::new(1));
        let weak = Arc::downgrade(&first);
        let slot = Slot { cell: Cell::new(CellState::Value(first)), garbage: Garbage::new() };
        let slot = loom::sync::Arc::new(slot);
        let writer = {
            let (collector, slot) = (collector.clone(), slot.clone());
            loom::thread::spawn(move || {
                let handle = collector.register();
                let pin = Pin::of(&handle);
                slot.write(2, 2, &pin);
                slot.write(2, 3, &pin);
                drop(pin);
                // Each moves the epoch on, unless the reader is pinned behind it: then the replaced record is not ripe.
                (0..2).for_each(|_| Pin::of(&handle).flush());
                slot.settle(&Pin::of(&handle));
                // What was given up is freed two epochs later: each of these moves the epoch on, unless the reader is
                // pinned behind it, and frees what has become old enough.
                slot.garbage.collect(|| Pin::of(&handle));
            })
        };
        let handle = collector.register();
        let pin = Pin::of(&handle);
        // SAFETY: as in `Slot::write`.
        let seen = unsafe { slot.cell.load(&pin) };
        let value = seen.value().map(Tracked::read);
        let image = seen.as_of(1).value().map(Tracked::read);
        assert!(
            matches!((value, image), (Some(1), Some(1)) | (Some(2), Some(1)) | (Some(3), Some(1) | None)),
            "{value:?} {image:?}"
        );
        drop(pin);
        assert!(writer.join().is_ok());
        drop(slot);
        assert_eq!(weak.strong_count(), 0, "what was replaced is freed with its map at the latest");
    });
    let (executions, seconds) = (executions.load(Ordering::Relaxed), started.elapsed().as_secs_f64());
    println!(
        "model what_is_seen_is_whole_and_not_freed: {executions} executions, bound {bound}, {seconds:.1} s"
    );
}
