//! Keys and transitions: every write is one transition, and every read one load.

use super::generations::{GenerationGuard, Generations};
use super::index::Index;
use super::planted::{Mistake, planted};
use super::raw::{Captured, CellState, Cells, Fresh, Record, Settled};
use super::sync::{AtomicIsize, Ordering};
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::Arc;

/// What a transition makes of the value it saw.
pub enum Change<V> {
    /// Nothing: the key does not become dirty.
    Keep,
    /// This value in its place: see [`put`](Self::put).
    Put(Fresh<V>),
    /// Removal.
    Remove,
}

impl<V> Change<V> {
    /// This value in its place.
    pub fn put(value: V) -> Self {
        Change::Put(value.into())
    }
}

/// A transition that took place, or that chose [`Change::Keep`].
#[derive(Debug)]
pub struct Transition<V> {
    /// What was there.
    pub old: Option<Arc<V>>,
    /// What is there now.
    pub new: Option<Arc<V>>,
}

impl<V> Transition<V> {
    /// Whether nothing changed.
    pub fn is_noop(&self) -> bool {
        self.old.as_ref().map(Arc::as_ptr) == self.new.as_ref().map(Arc::as_ptr)
    }
}

/// How many keys are looked up, or records fetched, side by side.
const CHUNK: usize = 32;

/// Reads something of each, so that the processor fetches them side by side, where one after the other each would be
/// waited for.
pub(crate) fn fetch<'a, T: 'a>(values: impl Iterator<Item = &'a T>, touch: impl Fn(&T) -> usize) {
    std::hint::black_box(values.fold(0, |touched, value| touched ^ touch(value)));
}

/// Yields `items`, each after what `touch` reads of a chunk of them has been [fetched](fetch).
pub(crate) fn fetching<T>(items: &[T], touch: impl Fn(&T) -> usize) -> impl Iterator<Item = &T> {
    items.chunks(CHUNK).flat_map(move |chunk| {
        fetch(chunk.iter(), &touch);
        chunk
    })
}

/// Why a transition did not take place.
#[derive(Debug)]
pub enum Rejected<E> {
    /// The open generation is sealed.
    Sealed,
    /// The caller's own reason.
    By(E),
}

/// What a sealed generation does with a transition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sealed {
    Refuses,
    Takes,
}

/// Values by key, and by what `I` finds them by. `S` is what the sink remembers of a key; only the flusher uses that.
pub struct Map<K, V: Record, S, I = ()> {
    pub(super) cells: Cells<K, V, S>,
    live: AtomicIsize,
    pub(super) index: I,
}

impl<K, V, S, I> Map<K, V, S, I>
where
    K: Eq + Ord + Hash + Clone,
    V: Record,
    S: Default,
    I: Index<K>,
{
    /// An empty map.
    pub fn new(index: I) -> Self {
        Self { cells: Cells::new(), live: AtomicIsize::new(0), index }
    }

    /// For the models: see `Cells::without_locks`.
    #[cfg(loom)]
    pub fn without_locks(keys: impl IntoIterator<Item = K>, index: I) -> Self {
        Self { cells: Cells::without_locks(keys), live: AtomicIsize::new(0), index }
    }

    /// What its keys are found by, besides themselves.
    pub fn index(&self) -> &I {
        &self.index
    }

    /// Number of keys that have a value: one load.
    pub fn len(&self) -> usize {
        // Relaxed, and clamped: a removal may be counted before the insertion that it followed.
        usize::try_from(self.live.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The newest value of a key.
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        self.cells.load(key).into_value()
    }

    /// The newest values of some keys, in their order. The processor fetches some of them side by side.
    pub fn get_many(&self, keys: &[K]) -> Vec<Option<Arc<V>>> {
        keys.chunks(CHUNK).flat_map(|chunk| self.fetched(chunk.iter())).collect()
    }

    /// The newest values of a chunk of keys. On x86-64 all are asked for before the first is waited for.
    fn fetched<'a>(&self, keys: impl Iterator<Item = &'a K> + Clone) -> Vec<Option<Arc<V>>>
    where
        K: 'a,
    {
        keys.clone().for_each(|key| self.cells.prefetch(key));
        let values: Vec<_> = keys.map(|key| self.get(key)).collect();
        fetch(values.iter().flatten(), |value| value.touch());
        values
    }

    /// Yields `items`, each after the cells and the newest values of a chunk of their keys have been asked for, and
    /// what `touch` reads of them has been [fetched](fetch).
    pub(crate) fn fetching<'a, T>(
        &'a self,
        items: &'a [T],
        key: impl Fn(&T) -> Option<&K>,
        touch: impl Fn(&T) -> usize,
    ) -> impl Iterator<Item = &'a T> {
        items.chunks(CHUNK).flat_map(move |chunk| {
            chunk.iter().filter_map(&key).for_each(|key| self.cells.prefetch(key));
            fetch(chunk.iter(), &touch);
            chunk
        })
    }

    /// The keys of all cells, also of keys whose removal is not settled, copied shard by shard: no lock is held when
    /// this returns.
    pub fn keys(&self) -> Vec<K> {
        self.cells.keys()
    }

    /// Shows `visit` every key that has a value, with what `project` copies out of the value; no lock is held, nor a
    /// value, while `visit` runs. The processor fetches some values side by side.
    pub fn scan<P, E>(
        &self,
        project: impl Fn(&V) -> P,
        mut visit: impl FnMut(&K, P) -> Result<(), E>,
    ) -> Result<(), E> {
        for chunk in self.keys().chunks(CHUNK) {
            let values = self.fetched(chunk.iter());
            let projections: Vec<_> = values.into_iter().map(|value| Some(project(&*value?))).collect();
            let keys = chunk.iter().zip(projections);
            keys.filter_map(|(key, projection)| Some((key, projection?)))
                .try_for_each(|(k, p)| visit(k, p))?;
        }
        Ok(())
    }

    /// Shows `work` what the sink remembers of a key; `None` if it has no cell. For the flusher.
    pub fn sink<R>(&self, key: &K, work: impl FnOnce(&S) -> R) -> Option<R> {
        self.cells.sink(key, work)
    }

    /// The state of a key as of `cut`, the last one made, and what `work` makes of what the sink remembers; `None` if
    /// it has no cell. For the flusher, before it cuts again.
    pub fn capture<R>(&self, key: &K, cut: u64, work: impl FnOnce(&S) -> R) -> Option<(Captured<V>, R)> {
        self.cells.capture(key, cut, work)
    }

    /// Puts a value in without making it dirty, as when it was read from the sink; `false` if the key has a cell. For a
    /// map that nobody else uses yet.
    pub fn load(&self, key: K, value: V, sink: S) -> bool {
        let loaded = self.cells.insert(key.clone(), value, sink);
        if loaded {
            self.live.fetch_add(1, Ordering::Relaxed);
            self.index.attach(&key);
        }
        loaded
    }

    /// Changes the value of a key that may have none; `change` may run more than once and must not write to this map.
    pub fn upsert<D, E>(
        &self,
        generations: &Generations<D>,
        key: &K,
        change: impl FnMut(Option<&Arc<V>>) -> Result<Change<V>, E>,
    ) -> Result<Transition<V>, Rejected<E>>
    where
        D: From<K> + Clone + Ord,
    {
        self.transition(generations, key, change, Sealed::Refuses)
    }

    /// The steps of every write.
    fn transition<D, E>(
        &self,
        generations: &Generations<D>,
        key: &K,
        mut change: impl FnMut(Option<&Arc<V>>) -> Result<Change<V>, E>,
        sealed: Sealed,
    ) -> Result<Transition<V>, Rejected<E>>
    where
        D: From<K> + Clone + Ord,
    {
        let mut listed = 0;
        loop {
            let misplaced = planted(Mistake::GenerationFirst).then(|| generations.enter());
            let checked = planted(Mistake::SealCheckedEarly).then(|| generations.enter().is_sealed());
            // Held by count, in no lock, while the caller's code runs, which may take its time.
            let state = self.cells.load(key);
            let new = match change(state.value()).map_err(Rejected::By)? {
                Change::Put(value) => Some(value),
                Change::Remove if state.value().is_some() => None,
                Change::Keep | Change::Remove => {
                    let kept = state.into_value();
                    return Ok(Transition { old: kept.clone(), new: kept });
                }
            };
            #[cfg(loom)]
            if planted(Mistake::IdentityNotHeld) {
                state.give_up_early();
            }
            let inside = misplaced.unwrap_or_else(|| generations.enter());
            if checked.unwrap_or_else(|| inside.is_sealed()) && sealed == Sealed::Refuses {
                return Err(Rejected::Sealed);
            }
            if let Ok(new) = self.publish(generations, inside, key, &state, new, &mut listed) {
                return Ok(Transition { old: state.into_value(), new });
            }
        }
    }

    /// Changes the value of a key that has one; `None` if it has none. As [`upsert`](Self::upsert).
    pub fn update<D, E>(
        &self,
        generations: &Generations<D>,
        key: &K,
        mut change: impl FnMut(&Arc<V>) -> Result<Change<V>, E>,
    ) -> Result<Option<Transition<V>>, Rejected<E>>
    where
        D: From<K> + Clone + Ord,
    {
        let done = self.upsert(generations, key, |old| old.map_or(Ok(Change::Keep), &mut change))?;
        Ok(done.old.is_some().then_some(done))
    }

    /// As [`update`](Self::update), in a sealed generation too: for what must follow from a write that was accepted.
    /// Returns whether it changed something.
    ///
    /// It is not refused, so that a close that fails leaves no half of it behind. Should the close succeed, no cut
    /// comes after: the capture of that write must have made the same of it for the sink.
    pub fn follow<D>(
        &self,
        generations: &Generations<D>,
        key: &K,
        mut change: impl FnMut(&Arc<V>) -> Change<V>,
    ) -> bool
    where
        D: From<K> + Clone + Ord,
    {
        let change = |old: Option<&_>| Ok(old.map_or(Change::Keep, &mut change));
        let sealed = if planted(Mistake::FollowerRefused) { Sealed::Refuses } else { Sealed::Takes };
        let done: Result<_, Rejected<Infallible>> = self.transition(generations, key, change, sealed);
        done.is_ok_and(|done| !done.is_noop())
    }

    /// What follows the caller's code: stamps, lists and publishes the new record. `Err` if another writer came
    /// between.
    ///
    /// The record that was loaded is held by count until the compare-and-swap, so no other can have come to its
    /// address meanwhile. The generation is entered after that load, whose Acquire orders the two: the record's writer
    /// had entered its generation before it published, so we enter that one or a later one.
    ///
    /// The key is listed before anybody can see the record, so that whoever has seen a write finds its key in a list
    /// that is not captured, or its effect in what was. So a key may be listed twice, or in vain.
    fn publish<D>(
        &self,
        generations: &Generations<D>,
        inside: GenerationGuard<D>,
        key: &K,
        old: &CellState<V>,
        new: Option<Fresh<V>>,
        listed: &mut u64,
    ) -> Result<Option<Arc<V>>, ()>
    where
        D: From<K> + Clone + Ord,
    {
        let is_first = old.generation() < inside.number();
        let is_uncounted = old.generation() < inside.since();
        let successor = old.successor(inside.number(), new);
        let counted_late = planted(Mistake::CountedLate);
        if is_uncounted && !counted_late {
            inside.reserve();
        }
        if is_first && *listed < inside.number() && !planted(Mistake::ListedAfterTheSwap) {
            *listed = inside.number();
            generations.list(&inside, key.clone().into());
        }
        if matches!(old, CellState::Absent) {
            self.index.attach(key);
        }
        if !self.cells.publish(key, old, &successor) {
            // Else a group that is in the way would be so again at the next try.
            self.cells.get_past(key);
            self.not_written(key, (is_uncounted && !counted_late).then_some(&inside));
            return Err(());
        }
        if is_uncounted && counted_late {
            inside.reserve();
        }
        if is_first && planted(Mistake::ListedAfterTheSwap) {
            generations.list(&inside, key.clone().into());
        }
        self.written(key, old.value().is_some(), successor.value().is_some());
        drop(inside);
        self.cells.give_up(key, old, &successor);
        Ok(successor.into_value())
    }

    /// What follows for a key whose new record is published.
    pub(super) fn written(&self, key: &K, had_value: bool, has_value: bool) {
        if has_value {
            self.index.attach(key);
        }
        match (had_value, has_value) {
            (false, true) => self.live.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.live.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    /// What follows for a key whose new record never will be: no generation has it counted.
    pub(super) fn not_written<D: Clone + Ord>(&self, key: &K, counted: Option<&GenerationGuard<D>>) {
        if let Some(inside) = counted {
            inside.unreserve();
        }
        self.index.detach(key, || self.cells.contains(key));
    }

    /// After the commit of `cut`: drops the image that only its capture needed, or takes out the cell of a key whose
    /// removal is in the sink by now. A key written since is left to the next flush. `work` is shown what the sink
    /// remembers.
    pub fn settle(&self, key: &K, cut: u64, work: impl FnOnce(&S)) {
        if self.cells.settle(key, cut, work) == Settled::Left {
            self.index.detach(key, || self.cells.contains(key));
        }
    }

    /// Frees what has been replaced or removed and nobody can see any more: for the flusher, at each cut.
    pub fn collect(&self) {
        self.cells.collect();
    }
}
