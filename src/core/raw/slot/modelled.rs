//! The cell for loom: a lock around a pointer, compared by identity.
//!
//! A lock shows every thread the newest state, which the real cell does not: a load of it may find what was there
//! before, unless a fence forbids that. For the models of those fences the cell is an atomic number of a state, with
//! the orderings of the real one; for all others that would be too much to explore.

use super::Look;
use crate::core::sync::{AtomicUsize, Brief, Mutex, Ordering, lock};
use crate::core::version::Version;
use std::cell::Cell;
use std::sync::Arc;

thread_local! {
    /// All threads of a model are this one, to std.
    static AGEING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a load of a cell that is made from now on may find a state that is no more the newest.
pub fn let_loads_age(age: bool) {
    AGEING.set(age);
}

pub(crate) struct Pin;

pub(crate) fn pin() -> Pin {
    Pin
}

pub(crate) enum Slot<V> {
    Locked(Mutex<Seen<V>>),
    /// Every state that it had or was to have, and which is the newest. The list is not known to loom.
    Ageing(Brief<Vec<Seen<V>>>, AtomicUsize),
}

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
        let first = settled.map_or(Seen::Vacant, Seen::Settled);
        match AGEING.get() {
            false => Self::Locked(Mutex::new(first)),
            true => Self::Ageing(Brief::new(vec![first]), AtomicUsize::new(0)),
        }
    }

    pub(crate) fn load(&self, _: &Pin) -> Seen<V> {
        match self {
            Self::Locked(state) => lock(state).clone(),
            Self::Ageing(states, newest) => {
                let at = newest.load(Ordering::Acquire);
                states.with(|states| states[at].clone())
            }
        }
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
        match self {
            Self::Locked(state) => {
                let mut current = lock(state);
                let same = current.is(seen);
                if same {
                    *current = new;
                }
                same
            }
            Self::Ageing(states, newest) => {
                let (from, to) = states.with(|states| {
                    states.push(new);
                    (states.iter().position(|state| state.is(seen)), states.len() - 1)
                });
                from.is_some_and(|from| {
                    newest.compare_exchange(from, to, Ordering::Release, Ordering::Relaxed).is_ok()
                })
            }
        }
    }
}
