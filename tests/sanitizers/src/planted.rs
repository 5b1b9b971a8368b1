//! Mistakes that a sanitizer must report, and the same done right: `tests/sanitizers/run` begins with them, so that it can't
//! look for nothing.

use std::hint::black_box;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::thread;

/// A value handed to another thread by way of a pointer.
pub fn publish(store: Ordering, load: Ordering) {
    static SHELF: AtomicPtr<u64> = AtomicPtr::new(std::ptr::null_mut());
    let reader = thread::spawn(move || {
        loop {
            let found = SHELF.load(load);
            if !found.is_null() {
                // SAFETY: from `Box::into_raw`, and nobody frees it or writes to it any more. Without Release and
                // Acquire it is not sure to be written yet: that is the mistake.
                break unsafe { *found };
            }
            thread::yield_now();
        }
    });
    SHELF.store(Box::into_raw(Box::new(black_box(7))), store);
    assert_eq!(reader.join().ok(), Some(7));
}

/// A value that is used after it was freed.
pub fn use_freed() {
    let kept = Box::into_raw(Box::new(black_box(7_u64)));
    // SAFETY: from `Box::into_raw`, once.
    drop(unsafe { Box::from_raw(kept) });
    // SAFETY: none: that is the mistake.
    println!("{}", unsafe { black_box(kept).read_volatile() });
}

/// A value that nobody owns.
pub fn leak() {
    for n in 0..100_u64 {
        black_box(Box::into_raw(Box::new([n; 8])));
    }
}
