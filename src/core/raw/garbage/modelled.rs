//! For the models, a deferral for each record, made as soon as it may be.

use crate::core::raw::epoch::Pin;
use crate::core::raw::record::{Pointer, Record};
use std::marker::PhantomData;

pub(in crate::core::raw) struct Garbage<V>(PhantomData<fn() -> V>);

impl<V: Record> Garbage<V> {
    pub(in crate::core::raw) fn new() -> Self {
        Self(PhantomData)
    }

    /// # Safety
    ///
    /// As for the one that ships.
    pub(in crate::core::raw) unsafe fn add(&self, record: Pointer<V>, _: usize, pin: &Pin) {
        // SAFETY: the count is ours, as the caller says.
        pin.defer(move || unsafe { record.release() });
    }

    pub(in crate::core::raw) fn collect(&self, _: impl Fn() -> Pin) {}
}
