//! What ThreadSanitizer is to understand of the reference counts of std's `Arc`.
//!
//! `Arc` ends a value's life by a decrement with Release and a fence with Acquire, and ThreadSanitizer knows no fences:
//! it would call each last drop a race with every earlier use. The linker (`--wrap`) puts these two in the place of
//! what the instrumented code calls; the fence's Acquire is then in the operation itself. Nothing else becomes stronger:
//! mnemon has no other decrement with Release, and no other exchange of 1 for 0 with Relaxed.
#![allow(non_snake_case, reason = "the names are the linker's")]

use std::ffi::c_int;

const RELAXED: c_int = 0;
const RELEASE: c_int = 3;
const ACQUIRE_AND_RELEASE: c_int = 4;

unsafe extern "C" {
    fn __real___tsan_atomic64_fetch_sub(place: *mut u64, by: u64, order: c_int) -> u64;
    fn __real___tsan_atomic64_compare_exchange_val(
        place: *mut u64,
        old: u64,
        new: u64,
        order: c_int,
        otherwise: c_int,
    ) -> u64;
}

/// The drop of an `Arc`.
///
/// # Safety
///
/// As for the sanitizer's own.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap___tsan_atomic64_fetch_sub(place: *mut u64, by: u64, order: c_int) -> u64 {
    let order = if order == RELEASE { ACQUIRE_AND_RELEASE } else { order };
    // SAFETY: the caller's.
    unsafe { __real___tsan_atomic64_fetch_sub(place, by, order) }
}

/// `Arc::try_unwrap`.
///
/// # Safety
///
/// As for the sanitizer's own.
#[unsafe(no_mangle)]
unsafe extern "C" fn __wrap___tsan_atomic64_compare_exchange_val(
    place: *mut u64,
    old: u64,
    new: u64,
    order: c_int,
    otherwise: c_int,
) -> u64 {
    let order = if (old, new, order) == (1, 0, RELAXED) { ACQUIRE_AND_RELEASE } else { order };
    // SAFETY: the caller's.
    unsafe { __real___tsan_atomic64_compare_exchange_val(place, old, new, order, otherwise) }
}
