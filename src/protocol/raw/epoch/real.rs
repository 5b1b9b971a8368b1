//! The epochs that ship: crossbeam's.

use crate::protocol::raw::group::{Decision, Entry};
use crate::protocol::raw::record::{CellState, Pointer};
use crate::protocol::sync::{AtomicPtr, Ordering};
use crossbeam_epoch::{Collector, Guard, LocalHandle};
use std::sync::{Arc, OnceLock};

static COLLECTOR: OnceLock<Collector> = OnceLock::new();

thread_local! {
    static HANDLE: LocalHandle = collector().register();
}

fn collector() -> &'static Collector {
    COLLECTOR.get_or_init(Collector::new)
}

/// While it lives, nothing is freed that left its cell since it was made.
pub(crate) struct Pin(Guard);

impl Pin {
    /// For the model, which has a collector in each execution.
    #[cfg(all(test, crossbeam_loom))]
    pub(in crate::protocol::raw) fn of(handle: &LocalHandle) -> Self {
        Self(handle.pin())
    }

    /// Runs `work`, on any thread, some time after all pins of this moment are gone, and after what they did.
    pub(in crate::protocol::raw) fn defer(&self, work: impl FnOnce() + Send + 'static) {
        self.0.defer(work);
    }

    /// Leaves no deferral in a bag of this thread's own, which may never come back, and runs some that are due.
    pub(in crate::protocol::raw) fn flush(&self) {
        self.0.flush();
    }
}

/// Pins the current thread: a few nanoseconds, no lock.
pub(crate) fn pin() -> Pin {
    let pinned = HANDLE.try_with(LocalHandle::pin);
    // A thread that is being torn down has no handle any more: it registers for this one pin.
    Pin(pinned.unwrap_or_else(|_| collector().register().pin()))
}

/// Loads the pointer of a cell, for as long as this thread is pinned.
pub(in crate::protocol::raw) fn read<V>(cell: &AtomicPtr<V>, order: Ordering, _: &Pin) -> *mut V {
    cell.load(order)
}

/// What the models check besides, see `modelled.rs`.
pub(in crate::protocol::raw) fn track<V>(_: &CellState<V>) {}
pub(in crate::protocol::raw) fn track_group<V>(_: Pointer<V>, _: &Arc<[Entry<V>]>, _: &Arc<Decision>) {}
pub(in crate::protocol::raw) fn has_left<V>(_: Pointer<V>) {}
pub(in crate::protocol::raw) fn assert_alive<V>(_: Pointer<V>) {}
