//! Generations: which one is open, who is inside, and the cut that closes it.

use super::planted::{Mistake, planted};
use super::raw::List;
use super::sync::{
    Arc, AtomicArc, AtomicArcGuard, AtomicUsize, Mutex, MutexGuard, Notify, Ordering, lock, pause,
};
use std::sync::OnceLock;
use std::time::Instant;

/// A number, and the dirty set: the keys that were first written under that number. `D` names a key of any of the
/// maps that share the generations.
struct Generation<D> {
    number: u64,
    /// Whether writes are refused: the last generation of a store that is closing. What [follows](super::Map::follow)
    /// from an earlier write is not.
    sealed: bool,
    dirty: List<D>,
    count: AtomicUsize,
    first_write: OnceLock<Instant>,
}

impl<D> Generation<D> {
    fn new(number: u64, opening: Opening) -> Arc<Self> {
        Arc::new(Self {
            number,
            sealed: opening == Opening::Sealed,
            dirty: List::new(),
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

/// The sequence of generations, of which one is open. Shared by all writers; one flusher holds its [`Cutter`].
pub struct Generations<D> {
    open: AtomicArc<Generation<D>>,
    /// A generation that grows to this many keys wakes the flusher, as its first key does.
    threshold: usize,
    notify: std::sync::Arc<Notify>,
    /// Held for as long as there must be no cut.
    gate: Mutex<()>,
}

impl<D: Clone + Ord> Generations<D> {
    /// Generations of which the first is `first`, and the right to cut them.
    pub fn new(
        first: u64,
        threshold: usize,
        notify: std::sync::Arc<Notify>,
    ) -> (std::sync::Arc<Self>, Cutter<D>) {
        let open = AtomicArc::new(Generation::new(first, Opening::Open));
        let generations = std::sync::Arc::new(Self { open, threshold, notify, gate: Mutex::new(()) });
        (generations.clone(), Cutter { generations, open: first })
    }

    /// Enters the open generation, whose grace period does not end until the guard is dropped.
    pub fn enter(&self) -> GenerationGuard<D> {
        GenerationGuard(self.open.load())
    }

    /// Blocks cuts until the answer is dropped: what its holder writes is in one generation, and nobody is inside an
    /// earlier one any more. The flusher waits, and whoever else asks for it; writers do not.
    pub fn block_cuts(&self) -> CutBlock<'_> {
        CutBlock { _gate: lock(&self.gate) }
    }

    /// Lists a key in the generation that it is about to be written in, for the first time as far as its writer knows.
    pub(super) fn list(&self, inside: &GenerationGuard<D>, key: D) {
        let mut is_first = false;
        inside.0.first_write.get_or_init(|| {
            is_first = true;
            Instant::now()
        });
        inside.0.dirty.push(key);
        // A flusher with nothing to do sleeps until the first write of a generation, from which the interval counts.
        if is_first || inside.dirty() >= self.threshold && !self.notify.is_notified() {
            self.notify.notify();
        }
    }
}

/// While it lives there is no cut; from [`Generations::block_cuts`].
pub struct CutBlock<'a> {
    _gate: MutexGuard<'a, ()>,
}

/// Being inside a generation.
pub struct GenerationGuard<D>(AtomicArcGuard<Generation<D>>);

impl<D> GenerationGuard<D> {
    /// The generation's number.
    pub fn number(&self) -> u64 {
        self.0.number
    }

    /// Whether the generation refuses writes.
    pub fn is_sealed(&self) -> bool {
        self.0.sealed
    }

    /// Number of keys written in this generation, or about to be. None in a sealed generation: what is listed there
    /// [follows](super::Map::follow) from what was written before it, and is captured with that.
    pub fn dirty(&self) -> usize {
        if self.0.sealed { 0 } else { self.0.count.load(Ordering::Relaxed) }
    }

    /// Counts a key that is about to be written for the first time in this generation.
    ///
    /// Relaxed, but before the compare-and-swap that publishes the write: who has seen the write (Acquire, in
    /// `Cell::load`), and perhaps added to it, sees the count, and does not take the generation for clean.
    pub(super) fn reserve(&self) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes that back: another writer was first. The key stays listed, in vain.
    pub(super) fn unreserve(&self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// When the first key was listed.
    pub fn first_write(&self) -> Option<Instant> {
        self.0.first_write.get().copied().filter(|_| !self.0.sealed)
    }
}

/// The right to cut: there is one, and it is not shared, so cuts come one at a time.
pub struct Cutter<D> {
    generations: std::sync::Arc<Generations<D>>,
    open: u64,
}

/// A closed generation, complete.
pub struct Cut<D> {
    /// The number of the closed generation.
    pub number: u64,
    /// The keys listed in it, each once: all that were written in it, and perhaps some that were not.
    pub keys: Vec<D>,
}

impl<D: Clone + Ord> Cutter<D> {
    /// Closes the open generation and waits until no writer is inside it. Only the caller waits.
    #[cfg(loom)]
    pub fn cut(&mut self, opening: Opening) -> Cut<D> {
        self.cut_and(opening, || {}).0
    }

    /// Closes the open generation and waits until no writer is inside it. Runs `at_the_cut` at the cut, while cuts
    /// can't be [blocked](Generations::block_cuts).
    pub fn cut_and<R>(&mut self, opening: Opening, at_the_cut: impl FnOnce() -> R) -> (Cut<D>, R) {
        let number = self.open;
        self.open += 1;
        let next = Generation::new(self.open, opening);
        let block = (!planted(Mistake::CutNotBlocked)).then(|| self.generations.block_cuts());
        let mut closed = self.generations.open.swap(next);
        let done = at_the_cut();
        let mut round = 0;
        let keys = loop {
            if planted(Mistake::NoGrace) {
                break closed.dirty.to_vec();
            }
            // A writer inside holds an owner of the generation. Giving it up (Release, in `Arc`)
            // pairs with `try_unwrap` seeing the last other owner gone (Acquire): all its pushes
            // are in the list.
            match Arc::try_unwrap(closed) {
                Ok(generation) => break complete(generation),
                Err(shared) => closed = shared,
            }
            pause(round);
            round = round.saturating_add(1);
        };
        // Not before: who blocks cuts must find all that is in the generations before the open one.
        drop(block);
        (Cut { number, keys }, done)
    }
}

/// The keys of a generation that nobody is inside of any more, each once.
fn complete<D: Clone + Ord>(generation: Generation<D>) -> Vec<D> {
    let mut keys = generation.dirty.to_vec();
    // A key is counted once, by whoever was the first to write it. If more are listed, some are so twice, or in vain.
    if keys.len() > generation.count.load(Ordering::Relaxed) {
        keys.sort_unstable();
        keys.dedup();
    }
    keys
}
