//! What a record carries for the protocol, and pointers to records.

use super::reading;
use crate::protocol::planted::{Mistake, planted};
use crate::protocol::sync::{AtomicPtr, Ordering};
use std::fmt;
use std::marker::PhantomData;
use std::mem::forget;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::sync::Arc;

/// The protocol's part of a record, set when the record is published, blank in any other. It takes no part in what
/// the record is: any two are equal, and a copy is blank.
///
/// Dropping one gives up nothing: who takes a record out of its cell has taken care of its image before.
pub struct Head<V> {
    /// The generation that the record was written in; 0 if it was loaded.
    pub(super) generation: u64,
    /// The image before that generation: owns a count of it, or is an alias of one that has moved on.
    previous: AtomicPtr<V>,
}

impl<V> Head<V> {
    fn new(generation: u64, previous: *mut V) -> Self {
        Self { generation, previous: AtomicPtr::new(previous) }
    }
}

impl<V> Default for Head<V> {
    fn default() -> Self {
        Self::new(0, ptr::null_mut())
    }
}

impl<V> Clone for Head<V> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<V> PartialEq for Head<V> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<V> fmt::Debug for Head<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

/// A value that a map holds, immutable once it is published.
///
/// The unsafe code relies on it that `head` and `head_mut` give one and the same field of this very value.
pub trait Record: Sized + Send + Sync + 'static {
    /// The protocol's part.
    fn head(&self) -> &Head<Self>;

    /// The same, of a value that is not published.
    fn head_mut(&mut self) -> &mut Head<Self>;

    /// Number of bytes that dropping this value frees, about, if `successor` takes its place and lives on.
    fn freed_bytes(&self, _successor: Option<&Self>) -> usize {
        size_of::<Self>()
    }

    /// Reads something of this value and of what it points to. Called for some values in a row before they are used one by
    /// one, so that the processor fetches them side by side.
    fn touch(&self) -> usize {
        0
    }
}

/// A value that nobody knows yet, in the memory that it will have: so the steps of a write don't move all of it.
pub struct Fresh<V>(Arc<V>);

impl<V> From<V> for Fresh<V> {
    fn from(value: V) -> Self {
        Self(Arc::new(value))
    }
}

impl<V> Deref for Fresh<V> {
    type Target = V;

    fn deref(&self) -> &V {
        &self.0
    }
}

impl<V> DerefMut for Fresh<V> {
    fn deref_mut(&mut self) -> &mut V {
        // SAFETY: the one pointer to the value: `from` has made it, and none is given away while this lives.
        unsafe { &mut *Arc::as_ptr(&self.0).cast_mut() }
    }
}

/// The record of a key that was removed.
#[repr(align(8))]
pub(crate) struct Tombstone<V> {
    head: Head<V>,
}

/// Set in a pointer to a tombstone. The lowest bit is set in a pointer to an entry of a group.
const TOMBSTONE: usize = 2;

/// Null, or a value or a tombstone, from `Arc::into_raw`. Says nothing of who owns a count of it.
pub(super) struct Pointer<V>(pub(super) *mut V);

impl<V> Clone for Pointer<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Pointer<V> {}

impl<V> PartialEq for Pointer<V> {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self.0, other.0)
    }
}

impl<V: Record> Pointer<V> {
    pub(super) fn is_null(self) -> bool {
        self.0.is_null()
    }

    pub(super) fn is_tombstone(self) -> bool {
        self.0.addr() & TOMBSTONE != 0
    }

    fn tombstone(self) -> *const Tombstone<V> {
        self.0.map_addr(|address| address & !TOMBSTONE).cast_const().cast()
    }

    /// # Safety
    ///
    /// It is not null, and the record is not freed while `'a` lasts.
    pub(super) unsafe fn head<'a>(self) -> &'a Head<V> {
        reading::assert_alive(self);
        if self.is_tombstone() {
            // SAFETY: the tag says that it is a tombstone, which lives, as the caller says.
            return unsafe { &(*self.tombstone()).head };
        }
        // SAFETY: the tag says that it is a value, which lives, as the caller says.
        unsafe { &*self.0 }.head()
    }

    /// # Safety
    ///
    /// If it is not null, the record is not freed before this returns.
    pub(super) unsafe fn generation(self) -> u64 {
        // SAFETY: it is not null, and the record lives, as the caller says.
        if self.is_null() { 0 } else { unsafe { self.head() }.generation }
    }

    /// Has the processor fetch the count of the record, and its head behind that. Does nothing where no stable intrinsic
    /// says so.
    pub(super) fn prefetch(self) {
        #[cfg(target_arch = "x86_64")]
        for at in [self.0.wrapping_byte_sub(2 * size_of::<usize>()), self.0] {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: a hint, which may point to anything.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast_const().cast()) };
        }
    }

    /// Takes the image before out of the record: null if another has taken it, and else the count of it is the
    /// caller's. To be given up as garbage only, for the flusher may have found the record and be about to read it.
    ///
    /// Relaxed: who takes an image has found the record in its cell, which ordered the image, and of two takers one
    /// gets null. What happens to the image then is ordered by the lock of its shard and by its count.
    ///
    /// # Safety
    ///
    /// It is not null, the record is not freed before this returns, and its `previous` is no alias: the record is
    /// the newest of its cell, or one of a later generation has taken its place.
    pub(super) unsafe fn take_image(self) -> Self {
        // No look before the swap, though mostly there is none: of the accesses to an atomic loom tracks the last one
        // alone, and would miss what comes between another thread's load and this.
        // SAFETY: as the caller says.
        Self(unsafe { self.head() }.previous.swap(ptr::null_mut(), Ordering::Relaxed))
    }

    /// The record, with a count of its own.
    ///
    /// # Safety
    ///
    /// If it is not null, the record is not freed before this returns.
    pub(super) unsafe fn hold(self) -> CellState<V> {
        if self.is_null() {
            return CellState::Absent;
        }
        reading::assert_alive(self);
        // SAFETY: the pointer is from `Arc::into_raw`, of the type that the tag says, and somebody has a count of it,
        // as the caller says.
        unsafe {
            if self.is_tombstone() {
                Arc::increment_strong_count(self.tombstone());
            } else {
                Arc::increment_strong_count(self.0);
            }
            self.into_state()
        }
    }

    /// # Safety
    ///
    /// The caller owns a count of the record, if it is not null, and gives it to the answer.
    pub(super) unsafe fn into_state(self) -> CellState<V> {
        if self.is_null() {
            return CellState::Absent;
        }
        // SAFETY: the pointer is from `Arc::into_raw`, of the type that the tag says, and so is the count.
        unsafe {
            if self.is_tombstone() {
                CellState::Removed(Arc::from_raw(self.tombstone()))
            } else {
                CellState::Value(Arc::from_raw(self.0))
            }
        }
    }

    /// Gives up a count of the record, if it is not null.
    ///
    /// # Safety
    ///
    /// The caller owns that count, and nobody reads the record any more on the strength of it.
    pub(super) unsafe fn release(self) {
        reading::assert_alive(self);
        // SAFETY: as the caller says.
        drop(unsafe { self.into_state() });
    }
}

/// What a cell holds, kept alive by a count: so nothing else can come to be at its address.
pub(crate) enum CellState<V> {
    /// There is no cell.
    Absent,
    /// The key was removed, and that is not settled.
    Removed(Arc<Tombstone<V>>),
    /// The key has a value.
    Value(Arc<V>),
}

impl<V> Clone for CellState<V> {
    fn clone(&self) -> Self {
        match self {
            CellState::Absent => CellState::Absent,
            CellState::Removed(tombstone) => CellState::Removed(tombstone.clone()),
            CellState::Value(value) => CellState::Value(value.clone()),
        }
    }
}

impl<V: Record> CellState<V> {
    /// The value, if there is one.
    pub(crate) fn value(&self) -> Option<&Arc<V>> {
        match self {
            CellState::Value(value) => Some(value),
            CellState::Absent | CellState::Removed(_) => None,
        }
    }

    /// The value, with its count, if there is one.
    pub(crate) fn into_value(self) -> Option<Arc<V>> {
        match self {
            CellState::Value(value) => Some(value),
            CellState::Absent | CellState::Removed(_) => None,
        }
    }

    /// The generation that it was written in: 0 if it is absent, or was loaded.
    pub(crate) fn generation(&self) -> u64 {
        // SAFETY: `self` holds it.
        unsafe { self.pointer().generation() }
    }

    /// A planted mistake: the record may be gone from now on. (A hostile collector keeps the memory.)
    #[cfg(loom)]
    pub(crate) fn give_up_early(&self) {
        // SAFETY: none, that is the mistake.
        unsafe { self.pointer().release() };
    }

    pub(super) fn pointer(&self) -> Pointer<V> {
        match self {
            CellState::Absent => Pointer(ptr::null_mut()),
            CellState::Value(value) => Pointer(Arc::as_ptr(value).cast_mut()),
            CellState::Removed(tombstone) => {
                const { assert!(align_of::<V>() > TOMBSTONE) };
                let untagged = Arc::as_ptr(tombstone).cast_mut().cast::<V>();
                Pointer(untagged.map_addr(|address| address | TOMBSTONE))
            }
        }
    }

    /// Leaves the count to the pointer.
    pub(super) fn into_pointer(self) -> Pointer<V> {
        let pointer = self.pointer();
        forget(self);
        pointer
    }

    /// The record to be put in the place of this one by a writer that entered `generation` after it found this one;
    /// no value is a removal.
    pub(crate) fn successor(&self, generation: u64, value: Option<Fresh<V>>) -> Successor<V> {
        let is_later = self.generation() < generation;
        debug_assert!(is_later || self.generation() == generation || planted(Mistake::GenerationFirst));
        let old = self.pointer();
        let previous = match is_later {
            true => old.0,
            false if planted(Mistake::PreviousNotCarried) || old.is_null() => ptr::null_mut(),
            // Relaxed: this record was found in its cell, which ordered its image; whoever is inside its generation
            // keeps the flusher from taking the image. If another writer does it, the compare-and-swap fails.
            // SAFETY: `self` holds it, and it is not null.
            false => unsafe { old.head() }.previous.load(Ordering::Relaxed),
        };
        let head = Head::new(generation, previous);
        let state = match value {
            Some(mut value) => {
                *value.head_mut() = head;
                CellState::Value(value.0)
            }
            None => CellState::Removed(Arc::new(Tombstone { head })),
        };
        Successor { state, is_later }
    }
}

/// A record that nobody else knows yet. Its image before is an alias until it has been published: the count of that
/// is its predecessor's, or its predecessor's cell's.
pub(crate) struct Successor<V> {
    pub(super) state: CellState<V>,
    /// Whether the predecessor is of an earlier generation, and so the image before this one.
    pub(super) is_later: bool,
}

impl<V> Clone for Successor<V> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), is_later: self.is_later }
    }
}

impl<V: Record> Successor<V> {
    /// Its value, if it is no removal.
    pub(crate) fn value(&self) -> Option<&V> {
        self.state.value().map(|value| &**value)
    }

    /// Its value, after it was published.
    pub(crate) fn into_value(self) -> Option<Arc<V>> {
        self.state.into_value()
    }
}

/// What a cell held when it was loaded. While `'a` lasts it is not freed.
pub(crate) struct Loaded<'a, V> {
    pub(super) pointer: Pointer<V>,
    life: PhantomData<&'a V>,
}

impl<'a, V: Record> Loaded<'a, V> {
    /// # Safety
    ///
    /// If it is not null, the record is not freed while `'a` lasts.
    pub(super) unsafe fn new(pointer: Pointer<V>) -> Self {
        Self { pointer, life: PhantomData }
    }

    pub(crate) fn generation(&self) -> u64 {
        // SAFETY: it is not freed while `'a` lasts.
        unsafe { self.pointer.generation() }
    }

    /// With a count of its own.
    pub(crate) fn hold(&self) -> CellState<V> {
        // SAFETY: it is not freed while `'a` lasts.
        unsafe { self.pointer.hold() }
    }

    /// The state as of `cut`, while no generation above `cut + 1` has been opened. For the flusher: nobody else keeps
    /// the image before from being given up.
    pub(super) fn as_of(&self, cut: u64) -> Self {
        if self.generation() <= cut || planted(Mistake::CaptureNewest) {
            return Self { ..*self };
        }
        // Relaxed: it was put there while the record was its maker's alone, which the load of the cell ordered, and
        // nobody changes it while `'a` lasts, but by taking it out where the flusher itself settles.
        // SAFETY: the generation is not 0, so it is not null, and it is not freed while `'a` lasts. Its image before
        // left `previous`, if ever, after `'a` began, and is of the same shard.
        unsafe { Self::new(Pointer(self.pointer.head().previous.load(Ordering::Relaxed))) }
    }
}
