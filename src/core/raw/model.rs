//! The cell on crossbeam-epoch itself, built against loom: one writer and one reader, at most four preemptions
//! (`LOOM_MAX_PREEMPTIONS` puts another number in its place). With two writers loom stops on an assertion of its own.

use super::real::{Pin, Slot};
use crossbeam_epoch::Collector;
use loom::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

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
    let bound = *builder.preemption_bound.get_or_insert(4);
    (builder.max_permutations, builder.max_duration) = (None, None);
    let executions = Arc::new(AtomicUsize::new(0));
    let (counted, started) = (executions.clone(), Instant::now());
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let collector = Collector::new();
        let slot = loom::sync::Arc::new(Slot::new(Some(Tracked::new(1))));
        let writer = {
            let (collector, slot) = (collector.clone(), slot.clone());
            loom::thread::spawn(move || {
                let handle = collector.register();
                let pin = Pin::of(&handle);
                let seen = slot.load(&pin);
                assert!(slot.write(&seen, 2, Some(Tracked::new(2)), &pin));
                let seen = slot.load(&pin);
                assert!(slot.settle(&seen, &pin));
                drop(pin);
                // What was replaced is freed two epochs later: each of these moves the epoch on, unless the
                // reader is pinned behind it, and frees what has become old enough.
                (0..3).for_each(|_| Pin::of(&handle).flush());
            })
        };
        let handle = collector.register();
        let pin = Pin::of(&handle);
        let seen = slot.load(&pin);
        let [value, image] =
            [seen.look().value(), seen.look().as_of(1)].map(|value| value.map(|value| value.read()));
        assert!(matches!((value, image), (Some(1), Some(1)) | (Some(2), Some(1 | 2))), "{value:?} {image:?}");
        drop(pin);
        assert!(writer.join().is_ok());
    });
    let (executions, seconds) = (executions.load(Ordering::Relaxed), started.elapsed().as_secs_f64());
    println!(
        "model what_is_seen_is_whole_and_not_freed: {executions} executions, bound {bound}, {seconds:.1} s"
    );
}
