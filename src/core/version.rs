//! What an entry holds: one immutable state, replaced as a whole at each write.
//!
//! The state machine of an entry, in the shapes of [`Held`](super::raw::Held):
//!
//! ```text
//!            insert                    settle                      insert
//!   Vacant ─────────► Written(value) ─────────► Settled   Written(absent) ─► Written(value)
//!                      ▲    │  ▲  │                │            │
//!               update └────┘  │  │ remove         │ remove     │ settle, the removal being committed
//!                       update │  ▼                ▼            ▼
//!                     (Settled)┘  Written(absent)            Retired (terminal)
//! ```
//!
//! *Settled* and *vacant* count as written in generation 0, which is older than any that is open: a value is
//! settled only after its generation has been committed.

use super::planted::{Mistake, planted};
use super::raw::Look;
use std::sync::Arc;

/// Stamped with the generation it was written in.
#[derive(Debug)]
pub(crate) struct Version<V> {
    generation: u64,
    /// `None` is a removal.
    value: Option<Arc<V>>,
    /// The last state of an earlier generation, and which: what a cut between the two captures.
    before: (u64, Option<Arc<V>>),
}

impl<'a, V> Look<'a, V> {
    pub(super) fn generation(self) -> u64 {
        match self {
            Look::Written(version) => version.generation,
            Look::Vacant | Look::Settled(_) | Look::Retired => 0,
        }
    }

    pub(in crate::core) fn value(self) -> Option<&'a Arc<V>> {
        match self {
            Look::Written(version) => version.value.as_ref(),
            Look::Settled(value) => Some(value),
            Look::Vacant | Look::Retired => None,
        }
    }

    pub(super) fn is_retired(self) -> bool {
        matches!(self, Look::Retired)
    }

    /// The version that replaces this state in `generation`.
    pub(in crate::core) fn next(self, generation: u64, value: Option<Arc<V>>) -> Version<V> {
        debug_assert!(self.generation() <= generation || planted(Mistake::GenerationFirst));
        let before = match self {
            Look::Written(version) if version.generation >= generation => {
                match planted(Mistake::BeforeNotCarried) {
                    true => (version.generation, None),
                    false => version.before.clone(),
                }
            }
            older => (older.generation(), older.value().cloned()),
        };
        Version { generation, value, before }
    }

    /// The value as of `cut`, while no generation above `cut + 1` has been opened. `None` is absence.
    pub(super) fn as_of(self, cut: u64) -> Option<&'a Arc<V>> {
        match self {
            Look::Written(Version { generation, before: (earlier, value), .. })
                if *generation > cut && !planted(Mistake::CaptureNewest) =>
            {
                debug_assert!(
                    *earlier <= cut || planted(Mistake::BeforeNotCarried),
                    "the image at the cut is kept"
                );
                value.as_ref()
            }
            newest => newest.value(),
        }
    }
}

/// The same value, absent or the very same one: who compares holds it, so its address can't have been used
/// again.
pub(super) fn same<V>(a: Option<&Arc<V>>, b: Option<&Arc<V>>) -> bool {
    a.map(Arc::as_ptr) == b.map(Arc::as_ptr)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Look;
    use std::sync::Arc;

    fn value(n: u64) -> Option<Arc<u64>> {
        Some(Arc::new(n))
    }

    #[test]
    fn the_first_write_of_a_generation_keeps_the_image_before_it() {
        let one = Arc::new(1);
        let two = Look::Settled(&one).next(5, value(2));
        let three = Look::Written(&two).next(5, value(3));
        let look = Look::Written(&three);
        assert_eq!((look.as_of(4).map(|v| **v), look.as_of(5).map(|v| **v)), (Some(1), Some(3)));
        let four = look.next(6, value(4));
        assert_eq!(Look::Written(&four).as_of(5).map(|v| **v), Some(3));
    }

    #[test]
    fn removal_and_absence_before_are_captured_as_absence() {
        let inserted = Look::Vacant.next(2, value(1));
        assert_eq!(Look::Written(&inserted).as_of(1), None);
        let removed = Look::Written(&inserted).next(3, None);
        let look = Look::Written(&removed);
        assert_eq!((look.as_of(2).map(|v| **v), look.as_of(3)), (Some(1), None));
    }
}
