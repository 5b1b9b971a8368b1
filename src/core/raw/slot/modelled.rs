//! The cell for loom: a lock around a pointer, compared by identity.

use super::Look;
use crate::core::sync::{Mutex, lock};
use crate::core::version::Version;
use std::sync::Arc;

pub(crate) struct Pin;

pub(crate) fn pin() -> Pin {
    Pin
}

pub(crate) struct Slot<V>(Mutex<Seen<V>>);

pub(crate) enum Seen<V> {
    Vacant,
    Written(Arc<Version<V>>),
    Settled(Arc<V>),
    Retired,
}

impl<V> Clone for Seen<V> {
    fn clone(&self) -> Self {
        match self {
            Seen::Vacant => Seen::Vacant,
            Seen::Written(version) => Seen::Written(version.clone()),
            Seen::Settled(value) => Seen::Settled(value.clone()),
            Seen::Retired => Seen::Retired,
        }
    }
}

impl<V> Seen<V> {
    pub(crate) fn look(&self) -> Look<'_, V> {
        match self {
            Seen::Vacant => Look::Vacant,
            Seen::Written(version) => Look::Written(version),
            Seen::Settled(value) => Look::Settled(value),
            Seen::Retired => Look::Retired,
        }
    }

    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Seen::Vacant, Seen::Vacant) | (Seen::Retired, Seen::Retired) => true,
            (Seen::Written(a), Seen::Written(b)) => Arc::ptr_eq(a, b),
            (Seen::Settled(a), Seen::Settled(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl<V> Slot<V> {
    pub(crate) fn new(settled: Option<Arc<V>>) -> Self {
        Self(Mutex::new(settled.map_or(Seen::Vacant, Seen::Settled)))
    }

    pub(crate) fn load(&self, _: &Pin) -> Seen<V> {
        lock(&self.0).clone()
    }

    pub(crate) fn write(&self, seen: &Seen<V>, generation: u64, value: Option<Arc<V>>, _: &Pin) -> bool {
        let (version, _) = seen.look().next(generation, value, Arc::clone);
        self.replace(seen, Seen::Written(Arc::new(version)))
    }

    pub(crate) fn settle(&self, seen: &Seen<V>, _: &Pin) -> bool {
        let Some(value) = seen.look().value() else { return false };
        self.replace(seen, Seen::Settled(value.clone()))
    }

    pub(crate) fn retire(&self, seen: &Seen<V>, _: &Pin) -> bool {
        self.replace(seen, Seen::Retired)
    }

    fn replace(&self, seen: &Seen<V>, new: Seen<V>) -> bool {
        let mut current = lock(&self.0);
        let same = current.is(seen);
        if same {
            *current = new;
        }
        same
    }
}
