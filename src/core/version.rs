//! What an entry holds: one immutable state, replaced as a whole at each write.
//!
//! The state machine of an entry, in the shapes of [`Look`](super::raw::Look):
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
    pub(in crate::core) value: Option<Arc<V>>,
    /// The last state of an earlier generation, and which: what a cut between the two captures.
    pub(in crate::core) before: (u64, Option<Arc<V>>),
}

/// Which value of a replaced state lives on in the state that replaces it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    Nothing,
    Value,
    Before,
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

    /// The version that replaces this state in `generation`, and which of this state's values it keeps as its
    /// image before. `share` makes the second owner of that.
    pub(in crate::core) fn next(
        self,
        generation: u64,
        value: Option<Arc<V>>,
        share: impl FnOnce(&'a Arc<V>) -> Arc<V>,
    ) -> (Version<V>, Kept) {
        debug_assert!(self.generation() <= generation || planted(Mistake::GenerationFirst));
        let (earlier, image, kept) = match self {
            Look::Written(version) if version.generation >= generation => {
                match planted(Mistake::BeforeNotCarried) {
                    true => (version.generation, None, Kept::Nothing),
                    false => (version.before.0, version.before.1.as_ref(), Kept::Before),
                }
            }
            older => (older.generation(), older.value(), Kept::Value),
        };
        (Version { generation, value, before: (earlier, image.map(share)) }, kept)
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
    use super::{Look, Version};
    use std::sync::Arc;

    fn next(look: Look<'_, u64>, generation: u64, value: Option<Arc<u64>>) -> Version<u64> {
        look.next(generation, value, Arc::clone).0
    }

    fn value(n: u64) -> Option<Arc<u64>> {
        Some(Arc::new(n))
    }

    #[test]
    fn the_first_write_of_a_generation_keeps_the_image_before_it() {
        let one = Arc::new(1);
        let two = next(Look::Settled(&one), 5, value(2));
        let three = next(Look::Written(&two), 5, value(3));
        let look = Look::Written(&three);
        assert_eq!((look.as_of(4).map(|v| **v), look.as_of(5).map(|v| **v)), (Some(1), Some(3)));
        let four = next(look, 6, value(4));
        assert_eq!(Look::Written(&four).as_of(5).map(|v| **v), Some(3));
    }

    #[test]
    fn removal_and_absence_before_are_captured_as_absence() {
        let inserted = next(Look::Vacant, 2, value(1));
        assert_eq!(Look::Written(&inserted).as_of(1), None);
        let removed = next(Look::Written(&inserted), 3, None);
        let look = Look::Written(&removed);
        assert_eq!((look.as_of(2).map(|v| **v), look.as_of(3)), (Some(1), None));
    }
}
