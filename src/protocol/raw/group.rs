//! Groups in cells: what stands in the cell of each key of a group while the group is carried out.
//!
//! A cell has a pointer to the key's [`Entry`] then, marked by the lowest bit. The group is decided once, by one
//! compare-and-swap of its [`Decision`]: until then, and after it was given up, an entry stands for the record that it
//! was installed over, and after the group was committed for the new one.

use super::reading;
use super::record::{CellState, Pointer, Record, Successor};
use crate::protocol::planted::{Mistake, planted};
use crate::protocol::sync::{AtomicUsize, Ordering};
use std::ptr;
use std::sync::Arc;

/// Set in a pointer to an entry.
const GROUP: usize = 1;

const UNDECIDED: usize = 0;
const COMMITTED: usize = 1;
/// By its owner. Whoever else gives it up leaves the address of the entry that was in the way.
const GIVEN_UP: usize = 2;

/// Whether a group takes place, for all its keys in all maps.
pub(crate) struct Decision(AtomicUsize);

impl Decision {
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(UNDECIDED))
    }

    /// Commits the group, or gives it up, unless that is decided; returns whether it is committed. For its owner.
    pub(crate) fn decide(&self, commit: bool) -> bool {
        self.decide_as(if commit { COMMITTED } else { GIVEN_UP })
    }

    fn decide_as(&self, wanted: usize) -> bool {
        // Release pairs with the Acquire in `is_committed`: who finds one key of a committed group finds all others
        // installed. Acquire on failure, for who goes on with what another has decided.
        let release =
            if planted(Mistake::DecisionSwapRelaxed) { Ordering::Relaxed } else { Ordering::Release };
        match self.0.compare_exchange(UNDECIDED, wanted, release, Ordering::Acquire) {
            Ok(_) => wanted == COMMITTED,
            Err(decided) => decided == COMMITTED,
        }
    }

    fn is_committed(&self) -> bool {
        let acquire =
            if planted(Mistake::DecisionLoadRelaxed) { Ordering::Relaxed } else { Ordering::Acquire };
        self.0.load(acquire) == COMMITTED
    }
}

/// One key of a group. It is freed once the locks of all its keys' shards have been free since the cells were cleaned of
/// it. Until then it holds both records by count, so that no other can come to their addresses.
#[repr(align(8))]
pub(crate) struct Entry<V> {
    decision: Arc<Decision>,
    /// What the group was computed from.
    pub(super) expected: CellState<V>,
    /// None if the key is only checked.
    pub(super) new: Option<Successor<V>>,
}

impl<V: Record> Entry<V> {
    pub(crate) fn new(decision: Arc<Decision>, expected: CellState<V>, new: Option<Successor<V>>) -> Self {
        Self { decision, expected, new }
    }

    /// What the group was computed from.
    pub(crate) fn expected(&self) -> &CellState<V> {
        &self.expected
    }

    /// Whether the key has a value before, and after; `None` if it is only checked.
    pub(crate) fn change(&self) -> Option<(bool, bool)> {
        self.new.as_ref().map(|new| (self.expected.value().is_some(), new.value().is_some()))
    }

    /// Whether a writer of this key has given the group up.
    pub(crate) fn was_in_the_way(&self) -> bool {
        // Relaxed: for the owner, which has decided since.
        self.decision.0.load(Ordering::Relaxed) == ptr::from_ref(self).addr()
    }

    /// Whether the group is decided, and this key was absent and is.
    pub(super) fn leaves_nothing(&self) -> bool {
        let is_absent = |decision| match decision {
            UNDECIDED => false,
            COMMITTED => self.new.is_none(),
            _ => true,
        };
        // Acquire, as in `is_committed`.
        matches!(self.expected, CellState::Absent) && is_absent(self.decision.0.load(Ordering::Acquire))
    }

    pub(super) fn pointer(&self) -> Pointer<V> {
        const { assert!(align_of::<Self>() >= 8) };
        let untagged = ptr::from_ref(self).cast_mut().cast::<V>();
        Pointer(untagged.map_addr(|address| address | GROUP))
    }

    /// Gives the group up, unless it is decided; returns whether it is committed. For a writer that meets it here.
    pub(super) fn give_up(&self) -> bool {
        self.decision.decide_as(ptr::from_ref(self).addr())
    }
}

/// For the models, which see the use of an entry after it was freed, or of a record that it holds.
pub(crate) fn track<V: Record>(entries: &Arc<[Entry<V>]>) {
    for entry in entries.iter() {
        reading::track_group(entry.pointer(), entries, &entry.decision);
        if let Some(new) = &entry.new {
            reading::track(&new.state);
        }
        #[cfg(loom)]
        if planted(Mistake::ExpectedNotHeld) {
            entry.expected.give_up_early();
        }
    }
}

impl<V: Record> Pointer<V> {
    pub(super) fn is_group(self) -> bool {
        self.0.addr() & GROUP != 0
    }

    /// # Safety
    ///
    /// It is a pointer to an entry, which is not freed while `'a` lasts.
    pub(super) unsafe fn entry<'a>(self) -> &'a Entry<V> {
        reading::assert_alive(self);
        // SAFETY: the tag says that it is an entry, which lives, as the caller says.
        unsafe { &*self.0.map_addr(|address| address & !GROUP).cast_const().cast() }
    }

    /// The record that a pointer in a cell stands for. It lives for as long as what the pointer points to: an entry
    /// holds its records by count.
    ///
    /// # Safety
    ///
    /// If it is not null, what it points to is not freed before this returns.
    pub(super) unsafe fn resolve(self) -> Self {
        if !self.is_group() {
            return self;
        }
        // SAFETY: as the caller says.
        let entry = unsafe { self.entry() };
        let is_committed = entry.decision.is_committed();
        reading::assert_alive(self);
        match &entry.new {
            Some(new) if is_committed => new.state.pointer(),
            _ => entry.expected.pointer(),
        }
    }
}
