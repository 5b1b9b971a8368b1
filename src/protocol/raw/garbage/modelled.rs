//! For the models, a deferral for each record, made as soon as it may be.

use crate::protocol::planted::{Mistake, planted};
use crate::protocol::raw::epoch::Pin;
use crate::protocol::raw::group::Entry;
use crate::protocol::raw::record::{Pointer, Record};
use std::marker::PhantomData;
use std::sync::Arc;

pub(in crate::protocol::raw) struct Garbage<V>(PhantomData<fn() -> V>);

impl<V: Record> Garbage<V> {
    pub(in crate::protocol::raw) fn new() -> Self {
        Self(PhantomData)
    }

    /// # Safety
    ///
    /// As for the one that ships.
    pub(in crate::protocol::raw) unsafe fn add(&self, record: Pointer<V>, _: usize, pin: &Pin) {
        // SAFETY: the count is ours, as the caller says.
        pin.defer(move || unsafe { record.release() });
    }

    pub(in crate::protocol::raw) fn add_group(&self, entries: Arc<[Entry<V>]>, pin: &Pin) {
        if planted(Mistake::GroupFreedAtOnce) {
            return drop(entries);
        }
        pin.defer(move || drop(entries));
    }

    pub(in crate::protocol::raw) fn collect(&self, _: impl Fn() -> Pin) {}
}
