//! The clock of generations: which one is open, who is inside, and the cut that closes it.

use super::planted::{Mistake, planted};
use super::raw::Stack;
use super::sync::{
    Arc, AtomicUsize, Bell, Mutex, MutexGuard, Ordering, Published, PublishedGuard, lock, pause,
};
use std::sync::OnceLock;
use std::time::Instant;

/// A number, and the dirty set: what was first written under that number. `D` names an entry of any
/// of the maps that share the clock.
struct Generation<D> {
    number: u64,
    /// Whether writes are refused: the last generation of a store that is closing. What [follows](super::Map::follow)
    /// from an earlier write is not.
    sealed: bool,
    dirty: Stack<D>,
    count: AtomicUsize,
    first_write: OnceLock<Instant>,
}

impl<D> Generation<D> {
    fn new(number: u64, opening: Opening) -> Arc<Self> {
        Arc::new(Self {
            number,
            sealed: opening == Opening::Sealed,
            dirty: Stack::new(),
            count: AtomicUsize::new(0),
            first_write: OnceLock::new(),
        })
    }
}

/// What a cut opens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    /// A generation that takes writes.
    Open,
    /// One that refuses them.
    Sealed,
}

/// Which generation is open. Shared by all writers; one flusher holds its [`Cutter`].
pub struct Clock<D> {
    open: Published<Generation<D>>,
    /// A generation that grows to this many entries wakes the flusher, as its first entry does.
    threshold: usize,
    bell: std::sync::Arc<Bell>,
    /// Held for as long as there must be no cut.
    gate: Mutex<()>,
}

impl<D> Clock<D> {
    /// A clock whose first generation is `first`, and the right to cut it.
    pub fn new(
        first: u64,
        threshold: usize,
        bell: std::sync::Arc<Bell>,
    ) -> (std::sync::Arc<Self>, Cutter<D>) {
        let open = Published::new(Generation::new(first, Opening::Open));
        let clock = std::sync::Arc::new(Self { open, threshold, bell, gate: Mutex::new(()) });
        (clock.clone(), Cutter { clock, open: first })
    }

    /// Enters the open generation; it can't be drained until the answer is dropped.
    pub fn enter(&self) -> Inside<D> {
        Inside(self.open.load())
    }

    /// There is no cut until the answer is dropped: what its holder writes is in one generation, and nobody is
    /// inside an earlier one any more. The flusher waits, and whoever else asks for it; writers do not.
    pub fn hold(&self) -> Hold<'_> {
        Hold { _gate: lock(&self.gate) }
    }

    /// Lists an entry in the generation that its first write was stamped with, and that has been told to
    /// [`expect`](Inside::expect) it.
    pub(super) fn list(&self, inside: &Inside<D>, entry: D) {
        let mut is_first = false;
        inside.0.first_write.get_or_init(|| {
            is_first = true;
            Instant::now()
        });
        inside.0.dirty.push(entry);
        // A flusher with nothing to do sleeps until the first write of a generation, from which the interval counts.
        if is_first || inside.dirty() >= self.threshold && !self.bell.is_rung() {
            self.bell.ring();
        }
    }
}

/// While it lives there is no cut; from [`Clock::hold`].
pub struct Hold<'a> {
    _gate: MutexGuard<'a, ()>,
}

/// Being inside a generation.
pub struct Inside<D>(PublishedGuard<Generation<D>>);

impl<D> Inside<D> {
    /// The generation's number.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Whether the generation refuses writes.
    pub fn is_sealed(&self) -> bool {
        self.0.sealed
    }

    /// How many entries are listed, or about to be. None in a sealed generation: what is listed there
    /// [follows](super::Map::follow) from what was written before it, and is captured with that.
    pub fn dirty(&self) -> usize {
        match self.0.sealed {
            true => 0,
            false => self.0.count.load(Ordering::Relaxed),
        }
    }

    /// Counts an entry that is about to be written for the first time in this generation.
    ///
    /// Relaxed, but before the compare-and-swap that publishes the write: who has seen the write (Acquire, in
    /// `Slot::load`), and perhaps added to it, sees the count, and does not take the generation for clean.
    pub(super) fn expect(&self) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Another writer came between.
    pub(super) fn expect_no_more(&self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// When the first of them was listed.
    pub fn first_write(&self) -> Option<Instant> {
        self.0.first_write.get().copied().filter(|_| !self.0.sealed)
    }
}

/// The right to cut: there is one for each clock, and it is not shared, so cuts come one at a time.
pub struct Cutter<D> {
    clock: std::sync::Arc<Clock<D>>,
    open: u64,
}

/// A closed generation, complete and owned.
pub struct Cut<D> {
    /// The number of the closed generation.
    pub number: u64,
    /// What was first written in it, each once, in no order.
    pub entries: Vec<D>,
}

impl<D> Cutter<D> {
    /// Closes the open generation and waits until no writer is inside it. Only the caller waits.
    #[cfg(loom)]
    pub fn cut(&mut self, opening: Opening) -> Cut<D> {
        self.cut_and(opening, || {}).0
    }

    /// The same, and does something at the cut, while nobody [holds it off](Clock::hold).
    pub fn cut_and<R>(&mut self, opening: Opening, at_the_cut: impl FnOnce() -> R) -> (Cut<D>, R) {
        let number = self.open;
        self.open += 1;
        let next = Generation::new(self.open, opening);
        let hold = (!planted(Mistake::CutNotHeldOff)).then(|| self.clock.hold());
        let mut closed = self.clock.open.swap(next);
        let done = at_the_cut();
        let mut round = 0;
        let entries = loop {
            if planted(Mistake::NoGrace) {
                break closed.dirty.take();
            }
            // A writer inside holds an owner of the generation. Giving it up (Release, in `Arc`)
            // pairs with `try_unwrap` seeing the last other owner gone (Acquire): all its pushes
            // are in the list.
            match Arc::try_unwrap(closed) {
                Ok(generation) => break generation.dirty.take(),
                Err(shared) => closed = shared,
            }
            pause(round);
            round = round.saturating_add(1);
        };
        // Not before: who holds off cuts must find all that is in the generations before the open one.
        drop(hold);
        (Cut { number, entries }, done)
    }
}
