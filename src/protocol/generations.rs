//! Generations: which one is open, who is inside, and the cut that closes it.

use super::planted::{Mistake, planted};
use super::raw::List;
use super::sync::{
    Arc, AtomicArc, AtomicArcGuard, AtomicUsize, Mutex, MutexGuard, Notify, Ordering, lock, pause,
};
use super::unapplied::Unapplied;
use std::sync::OnceLock;
use std::time::Instant;

/// Shared by count, of which loom knows nothing: std answers for when the last owner frees it.
pub(super) type Shared<T> = std::sync::Arc<T>;

/// A generation that lists so many keys is cut for the views, which a question need not walk then.
const LONG: usize = if cfg!(loom) { usize::MAX } else { 256 };

/// A number, and the dirty set: the keys that were first written under that number. `D` names a key of any of the
/// maps that share the generations.
struct Generation<D> {
    number: u64,
    /// Whether writes are refused: the last generation of a store that is closing. What [follows](super::Map::follow)
    /// from an earlier write is not.
    sealed: bool,
    dirty: Shared<List<D>>,
    /// Number of keys in the list, where it is looked at by views.
    listed: AtomicUsize,
    uncommitted: Shared<Uncommitted>,
}

/// What all generations since the last cut for a commit have in common.
struct Uncommitted {
    /// The first of these generations.
    since: u64,
    /// Number of keys written since then: each is counted once, though several of the generations may list it.
    count: AtomicUsize,
    first_write: OnceLock<Instant>,
}

impl<D> Generation<D> {
    fn new(number: u64, opening: Opening) -> Self {
        let uncommitted =
            Uncommitted { since: number, count: AtomicUsize::new(0), first_write: OnceLock::new() };
        Self {
            number,
            sealed: opening == Opening::Sealed,
            dirty: Shared::new(List::new()),
            listed: AtomicUsize::new(0),
            uncommitted: Shared::new(uncommitted),
        }
    }

    /// What follows a cut for the views.
    fn after(open: &Self) -> Self {
        Self {
            number: open.number + 1,
            sealed: false,
            dirty: Shared::new(List::new()),
            listed: AtomicUsize::new(0),
            uncommitted: open.uncommitted.clone(),
        }
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

/// The sequence of generations, of which one is open. Shared by all writers; the flusher cuts it for commits, and the
/// indexer for views.
pub struct Generations<D> {
    open: AtomicArc<Generation<D>>,
    /// A generation that grows to this many keys wakes the flusher, as its first key does.
    threshold: usize,
    notify: Shared<Notify>,
    /// Held for as long as there must be no cut.
    gate: Mutex<Owed<D>>,
    /// For the views, where there are any.
    unapplied: Option<Unapplied<D>>,
}

/// Keys of the cuts for views that were made since the last cut for a commit, which will capture them.
struct Owed<D> {
    /// Some perhaps more than once.
    keys: Vec<D>,
    /// How many there were when each was there once.
    once: usize,
}

impl<D: Clone + Ord> Owed<D> {
    fn add(&mut self, keys: Vec<D>) {
        /// So few are not worth sorting.
        const FEW: usize = 4_096;
        self.keys.extend(keys);
        if self.keys.len() > 2 * self.once.max(FEW) {
            sort_once(&mut self.keys);
            self.once = self.keys.len();
        }
    }

    fn take(&mut self) -> Vec<D> {
        self.once = 0;
        std::mem::take(&mut self.keys)
    }
}

impl<D: Clone + Ord> Generations<D> {
    /// Generations of which the first is `first`. `indexer` is woken when there is something for
    /// [views](super::Views) to apply; without it there are no views.
    pub fn new(
        first: u64,
        threshold: usize,
        notify: Shared<Notify>,
        indexer: Option<Shared<Notify>>,
    ) -> Shared<Self> {
        let generation = Generation::new(first, Opening::Open);
        let unapplied = indexer.map(|indexer| Unapplied::new(indexer, first, generation.dirty.clone()));
        let gate = Mutex::new(Owed { keys: Vec::new(), once: 0 });
        let open = AtomicArc::new(Arc::new(generation));
        Shared::new(Self { open, threshold, notify, gate, unapplied })
    }

    /// Enters the open generation, whose grace period does not end until the guard is dropped.
    pub fn enter(&self) -> GenerationGuard<D> {
        GenerationGuard(self.open.load())
    }

    /// Blocks cuts until the answer is dropped: what its holder writes is in one generation, and nobody is inside an
    /// earlier one any more. The flusher waits, and whoever else asks for it; writers do not.
    pub fn block_cuts(&self) -> CutBlock<'_, D> {
        CutBlock { owed: lock(&self.gate), generations: self }
    }

    /// What the views lack; `None` if there are no views.
    pub(super) fn unapplied(&self) -> Option<&Unapplied<D>> {
        self.unapplied.as_ref()
    }

    /// Whether the open generation has grown so long that a cut for the views is due.
    pub fn is_long(&self) -> bool {
        let open = self.enter();
        !open.is_sealed() && open.0.listed.load(Ordering::Relaxed) >= LONG
    }

    /// For models in which nothing else can come between the cut and the capture.
    #[cfg(loom)]
    pub fn cut(&self, opening: Opening) -> Cut<D> {
        self.cut_and(opening, || {}).0
    }

    /// Closes the open generation for a commit and waits until no writer is inside it; only the caller waits. Runs
    /// `at_the_cut` at the cut. What the flusher captures is captured while the block lives.
    pub fn cut_and<R>(
        &self,
        opening: Opening,
        at_the_cut: impl FnOnce() -> R,
    ) -> (Cut<D>, R, CutBlock<'_, D>) {
        let block = (!planted(Mistake::CutNotBlocked)).then(|| self.block_cuts());
        let next = Generation::new(self.enter().number() + 1, opening);
        let (mut cut, counted, done) = self.close(next, at_the_cut);
        let mut block = block.unwrap_or_else(|| self.block_cuts());
        let owed = block.owed.take();
        // A key is counted once, by whoever was the first to write it. If more are listed, some are so twice, or in
        // vain.
        if !owed.is_empty() || cut.keys.len() > counted {
            cut.keys.extend(owed);
            sort_once(&mut cut.keys);
        }
        (cut, done, block)
    }

    /// Closes the open generation for the views alone, unless it is sealed: the next commit captures its keys with its
    /// own. Waits for a capture, and for writers that are inside.
    pub fn cut_for_views(&self) {
        let block = (!planted(Mistake::ViewCutInCapture)).then(|| self.block_cuts());
        let open = self.open.load();
        if open.sealed {
            return;
        }
        let next = Generation::after(&open);
        // Being inside, it would wait for itself.
        drop(open);
        let (cut, _, ()) = self.close(next, || ());
        if !planted(Mistake::ViewCutNotOwed) {
            block.unwrap_or_else(|| self.block_cuts()).owed.add(cut.keys);
        }
    }

    /// Puts `next` in the place of the open generation and waits until no writer is inside that one. Returns what is
    /// listed in it and how many keys it has counted. For whoever has blocked cuts.
    fn close<R>(&self, next: Generation<D>, at_the_cut: impl FnOnce() -> R) -> (Cut<D>, usize, R) {
        let number = next.number - 1;
        let publish = |next: &Generation<D>| {
            self.unapplied.iter().for_each(|lists| lists.add(next.number, next.dirty.clone()));
        };
        let next = Arc::new(next);
        // Before the swap: whoever can know of a write in the next generation finds its list published.
        if !planted(Mistake::PublishedAfterTheCut) {
            publish(&next);
        }
        let mut closed = self.open.swap(next.clone());
        if planted(Mistake::PublishedAfterTheCut) {
            publish(&next);
        }
        drop(next);
        let done = at_the_cut();
        if planted(Mistake::AppliedInTheGracePeriod) {
            self.unapplied.iter().for_each(|lists| lists.complete(number));
        }
        let mut round = 0;
        let (keys, counted) = loop {
            if planted(Mistake::NoGrace) {
                break (closed.dirty.to_vec(), usize::MAX);
            }
            // A writer inside holds an owner of the generation. Giving it up (Release, in `Arc`)
            // pairs with `try_unwrap` seeing the last other owner gone (Acquire): all its pushes
            // are in the list.
            match Arc::try_unwrap(closed) {
                Ok(generation) => {
                    let counted = generation.uncommitted.count.load(Ordering::Relaxed);
                    break (generation.dirty.to_vec(), counted);
                }
                Err(shared) => closed = shared,
            }
            pause(round);
            round = round.saturating_add(1);
        };
        self.unapplied.iter().for_each(|lists| lists.complete(number));
        (Cut { number, keys }, counted, done)
    }

    /// Lists a key in the generation that it is about to be written in, for the first time as far as its writer knows.
    pub(super) fn list(&self, inside: &GenerationGuard<D>, key: D) {
        let mut is_first = false;
        inside.0.uncommitted.first_write.get_or_init(|| {
            is_first = true;
            Instant::now()
        });
        inside.0.dirty.push(key);
        // A flusher with nothing to do sleeps until the first write since its last cut, from which the interval counts.
        if is_first || inside.dirty() >= self.threshold && !self.notify.is_notified() {
            self.notify.notify();
        }
        if let Some(lists) = &self.unapplied
            && inside.0.listed.fetch_add(1, Ordering::Relaxed) + 1 == LONG
        {
            lists.indexer().notify();
        }
    }
}

/// While it lives there is no cut; from [`Generations::block_cuts`].
pub struct CutBlock<'a, D> {
    owed: MutexGuard<'a, Owed<D>>,
    generations: &'a Generations<D>,
}

impl<D: Clone + Ord> CutBlock<'_, D> {
    /// The number of the last cut, for a commit or for views.
    pub fn last_cut(&self) -> u64 {
        self.generations.enter().number() - 1
    }
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

    /// Number of keys written since the last cut for a commit, or about to be. None in a sealed generation: what is
    /// listed there [follows](super::Map::follow) from what was written before it, and is captured with that.
    pub fn dirty(&self) -> usize {
        if self.0.sealed { 0 } else { self.0.uncommitted.count.load(Ordering::Relaxed) }
    }

    /// The first generation after the last cut for a commit: a key that was written in it, or later, is counted.
    pub(super) fn since(&self) -> u64 {
        self.0.uncommitted.since
    }

    /// Counts a key that is about to be written for the first time since the last cut for a commit.
    ///
    /// Relaxed, but before the compare-and-swap that publishes the write: who has seen the write (Acquire, in
    /// `Cell::load`), and perhaps added to it, sees the count, and does not take the generation for clean.
    pub(super) fn reserve(&self) {
        self.0.uncommitted.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes that back: another writer was first. The key stays listed, in vain.
    pub(super) fn unreserve(&self) {
        self.0.uncommitted.count.fetch_sub(1, Ordering::Relaxed);
    }

    /// When the first key was listed since the last cut for a commit.
    pub fn first_write(&self) -> Option<Instant> {
        self.0.uncommitted.first_write.get().copied().filter(|_| !self.0.sealed)
    }
}

/// A closed generation, complete.
pub struct Cut<D> {
    /// The number of the closed generation.
    pub number: u64,
    /// The keys listed in it, and in those that were cut for views before it, each once: all that were written in
    /// them, and perhaps some that were not.
    pub keys: Vec<D>,
}

fn sort_once<D: Ord>(keys: &mut Vec<D>) {
    keys.sort_unstable();
    keys.dedup();
}
