//! Nothing needs to be done: the lock does it.

use crate::protocol::raw::group::{Decision, Entry};
use crate::protocol::raw::record::{CellState, Pointer};
use crate::protocol::sync::{AtomicPtr, Ordering};
use std::sync::Arc;

/// While it lives, this thread is in the lock of a shard, and nothing is freed that leaves a cell of it.
pub(in crate::protocol::raw) struct Reading(());

impl Reading {
    /// For who is in the lock.
    pub(in crate::protocol::raw) fn new() -> Self {
        Self(())
    }
}

/// Loads the pointer of a cell.
pub(in crate::protocol::raw) fn read<V>(cell: &AtomicPtr<V>, order: Ordering, _: &Reading) -> *mut V {
    cell.load(order)
}

/// What the models check besides, see `modelled.rs`.
pub(in crate::protocol::raw) fn track<V>(_: &CellState<V>) {}
pub(in crate::protocol::raw) fn track_group<V>(_: Pointer<V>, _: &Arc<[Entry<V>]>, _: &Arc<Decision>) {}
pub(in crate::protocol::raw) fn has_left<V>(_: Pointer<V>) {}
pub(in crate::protocol::raw) fn assert_alive<V>(_: Pointer<V>) {}
