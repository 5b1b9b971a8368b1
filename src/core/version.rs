//! What an entry holds: one immutable version, replaced as a whole at each write.

use super::planted::{Mistake, planted};
use std::sync::Arc;

/// The state machine of an entry:
///
/// ```text
///            insert                       settle, once the removal is committed
///   Absent ─────────► Present   Absent ─────────────────────────────────────────► Retired
///          ◄─────────                                                             (terminal)
///            remove
/// ```
///
/// *Retired* means: leaving the map, and no transition may start from here.
#[derive(Debug)]
pub(super) enum State<V> {
    Absent,
    Present(Arc<V>),
    Retired,
}

impl<V> Clone for State<V> {
    fn clone(&self) -> Self {
        match self {
            State::Absent => State::Absent,
            State::Present(value) => State::Present(value.clone()),
            State::Retired => State::Retired,
        }
    }
}

impl<V> State<V> {
    pub(super) fn value(&self) -> Option<&Arc<V>> {
        match self {
            State::Present(value) => Some(value),
            State::Absent | State::Retired => None,
        }
    }

    /// The same state, a present value being the very same one: who compares holds it, so its address
    /// can't have been used again.
    pub(super) fn is(&self, other: &State<V>) -> bool {
        match (self, other) {
            (State::Present(a), State::Present(b)) => Arc::ptr_eq(a, b),
            (State::Absent, State::Absent) | (State::Retired, State::Retired) => true,
            _ => false,
        }
    }
}

/// Stamped with the generation it was written in.
#[derive(Debug)]
pub(super) struct Version<V> {
    pub(super) generation: u64,
    pub(super) state: State<V>,
    /// The last state of an earlier generation, and which; there from the first write of a generation
    /// until that generation is committed.
    pub(super) before: Option<(u64, Option<Arc<V>>)>,
}

impl<V> Version<V> {
    pub(super) fn new(generation: u64, state: State<V>) -> Self {
        Self { generation, state, before: None }
    }

    /// The version that replaces this one in `generation`.
    pub(super) fn next(&self, generation: u64, state: State<V>) -> Self {
        debug_assert!(self.generation <= generation || planted(Mistake::GenerationFirst));
        let before = match self.generation < generation {
            true => Some((self.generation, self.state.value().cloned())),
            false if planted(Mistake::BeforeNotCarried) => None,
            false => self.before.clone(),
        };
        Self { generation, state, before }
    }

    /// The value as of `cut`, while no generation above `cut + 1` has been opened. `None` is absence.
    pub(super) fn as_of(&self, cut: u64) -> Option<&Arc<V>> {
        if self.generation <= cut || planted(Mistake::CaptureNewest) {
            return self.state.value();
        }
        debug_assert!(
            self.before.as_ref().is_some_and(|(stamp, _)| *stamp <= cut),
            "the image at the cut is kept"
        );
        self.before.as_ref().and_then(|(_, value)| value.as_ref())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{State, Version};
    use std::sync::Arc;

    fn present(n: u32) -> State<u32> {
        State::Present(Arc::new(n))
    }

    #[test]
    fn the_first_write_of_a_generation_keeps_the_image_before_it() {
        let old = Version::new(3, present(1));
        let new = old.next(5, present(2)).next(5, present(3));
        assert_eq!(new.as_of(4).map(|v| **v), Some(1));
        assert_eq!(new.as_of(5).map(|v| **v), Some(3));
    }

    #[test]
    fn removal_and_absence_before_are_captured_as_absence() {
        let inserted = Version::new(0, State::Absent).next(2, present(1));
        assert_eq!(inserted.as_of(1), None);
        let removed = inserted.next(3, State::Absent);
        assert_eq!(removed.as_of(2).map(|v| **v), Some(1));
        assert_eq!(removed.as_of(3), None);
    }
}
