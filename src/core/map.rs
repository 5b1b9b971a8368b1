//! Entries and transitions: every write is one transition, and every read one load.

use super::clock::{Clock, Inside};
use super::index::Index;
use super::planted::{Mistake, planted};
use super::raw::{Look, Pin, Slot, pin};
use super::sync::{AtomicIsize, Brief, Ordering, Table};
use super::version::same;
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::Arc;

/// One key of the map. `S` is what the sink remembers of it; only the flusher touches that.
pub struct Entry<K, V, S> {
    key: K,
    state: Slot<V>,
    sink: Brief<S>,
}

impl<K, V: Send + Sync + 'static, S> Entry<K, V, S> {
    fn new(key: K, settled: Option<Arc<V>>, sink: S) -> Arc<Self> {
        Arc::new(Self { key, state: Slot::new(settled), sink: Brief::new(sink) })
    }

    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The newest value.
    pub fn value(&self) -> Option<Arc<V>> {
        self.state.load(&pin()).look().value().cloned()
    }

    /// The value as of `cut`, the last one made; for the flusher, before it cuts again.
    pub fn capture(&self, cut: u64) -> Option<Arc<V>> {
        self.state.load(&pin()).look().as_of(cut).cloned()
    }

    /// Whether the map holds it no more, or is about to let it go.
    pub(super) fn is_retired(&self, pin: &Pin) -> bool {
        self.state.load(pin).look().is_retired()
    }

    /// What the sink remembers; for the flusher.
    pub fn sink<R>(&self, work: impl FnOnce(&mut S) -> R) -> R {
        self.sink.with(work)
    }
}

/// What a transition makes of the value it saw.
pub enum Change<V> {
    /// Nothing: the entry does not become dirty.
    Keep,
    /// This value in its place.
    Put(Arc<V>),
    /// Removal.
    Remove,
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
    pub fn is_void(&self) -> bool {
        same(self.old.as_ref(), self.new.as_ref())
    }
}

/// Why a transition did not take place.
#[derive(Debug)]
pub enum Refused<E> {
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

/// The entries of one kind, by key, and by what `I` finds them by.
pub struct Map<K, V, S, I = ()> {
    table: Table<K, Arc<Entry<K, V, S>>>,
    live: AtomicIsize,
    index: I,
}

impl<K, V, S, I> Map<K, V, S, I>
where
    K: Eq + Ord + Hash + Clone,
    V: Send + Sync + 'static,
    S: Default,
    I: Index<K, V, S>,
{
    /// An empty map.
    pub fn new(index: I) -> Self {
        Self { table: Table::new(), live: AtomicIsize::new(0), index }
    }

    /// What its entries are found by, besides their key.
    pub fn index(&self) -> &I {
        &self.index
    }

    /// How many keys have a value: one load.
    pub fn len(&self) -> usize {
        // Relaxed, and clamped: a removal may be counted before the insertion that it followed.
        usize::try_from(self.live.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// The newest value of a key.
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        // Pinned before the shard is locked: pinning may free garbage, which takes its time.
        let pin = pin();
        self.table.look(key, |entry| entry.state.load(&pin).look().value().cloned())?
    }

    /// The entry of a key.
    pub fn entry(&self, key: &K) -> Option<Arc<Entry<K, V, S>>> {
        self.table.look(key, Arc::clone)
    }

    /// All entries, copied shard by shard: no lock is held when this returns.
    pub fn entries(&self) -> Vec<Arc<Entry<K, V, S>>> {
        self.table.values()
    }

    /// Shows every entry that has a value to `judge`, with what `glance` copied out of the value; no lock is held
    /// and nothing pinned while `judge` runs.
    ///
    /// Entries are taken in groups, and a group's states are all loaded before its first value is looked at, and all
    /// values before the first is judged: so the processor fetches them side by side, where one after the other each
    /// would be waited for.
    pub fn survey<G, E>(
        &self,
        glance: impl Fn(&V) -> G,
        mut judge: impl FnMut(&Arc<Entry<K, V, S>>, G) -> Result<(), E>,
    ) -> Result<(), E> {
        const GROUP: usize = 32;
        for group in self.entries().chunks(GROUP) {
            let glances: Vec<_> = {
                let pin = pin();
                let seen: Vec<_> = group.iter().map(|entry| entry.state.load(&pin)).collect();
                seen.iter().map(|seen| seen.look().value().map(|value| glance(value))).collect()
            };
            let entries = group.iter().zip(glances);
            entries
                .filter_map(|(entry, glance)| Some((entry, glance?)))
                .try_for_each(|(e, g)| judge(e, g))?;
        }
        Ok(())
    }

    /// Puts a value in without making it dirty, as when it was read from the sink; `false` if the key
    /// has one. For a map that nobody else uses yet.
    pub fn load(&self, key: K, value: Arc<V>, sink: S) -> bool {
        let mut loaded = false;
        let entry = self.table.find_or_insert_with(&key.clone(), || {
            loaded = true;
            Entry::new(key, Some(value.clone()), sink)
        });
        if loaded {
            self.live.fetch_add(1, Ordering::Relaxed);
            self.index.attach(&entry);
            self.index.enter(&entry, None, Some(&value));
        }
        loaded
    }

    /// Changes the value of a key that may have none; `change` may run more than once and must not
    /// write to this map.
    pub fn upsert<D, E>(
        &self,
        clock: &Clock<D>,
        key: &K,
        mut change: impl FnMut(Option<&Arc<V>>) -> Result<Change<V>, E>,
    ) -> Result<Transition<V>, Refused<E>>
    where
        D: From<Arc<Entry<K, V, S>>>,
    {
        loop {
            let entry = self.table.find_or_insert_with(key, || Entry::new(key.clone(), None, S::default()));
            self.index.attach(&entry);
            match self.transition(clock, &entry, &mut change, Sealed::Refuses) {
                Ok(Some(done)) => return Ok(done),
                // Retired: whoever retired it unlinks it, and we help, so as not to wait.
                Ok(None) => self.unlink(&entry),
                Err(refused) => {
                    // Made for this call and never written: it must not stay.
                    self.settle(&entry, 0);
                    return Err(refused);
                }
            }
        }
    }

    /// Changes the value of a key that has one; `None` if it has none. As [`upsert`](Self::upsert).
    #[cfg(any(test, loom))]
    pub fn alter<D, E>(
        &self,
        clock: &Clock<D>,
        key: &K,
        change: impl FnMut(&Arc<V>) -> Result<Change<V>, E>,
    ) -> Result<Option<Transition<V>>, Refused<E>>
    where
        D: From<Arc<Entry<K, V, S>>>,
    {
        match self.entry(key) {
            Some(entry) => self.alter_entry(clock, &entry, change),
            None => Ok(None),
        }
    }

    /// Changes the value of an entry that has one; `None` if it has none. As [`upsert`](Self::upsert).
    pub fn alter_entry<D, E>(
        &self,
        clock: &Clock<D>,
        entry: &Arc<Entry<K, V, S>>,
        mut change: impl FnMut(&Arc<V>) -> Result<Change<V>, E>,
    ) -> Result<Option<Transition<V>>, Refused<E>>
    where
        D: From<Arc<Entry<K, V, S>>>,
    {
        let change = &mut |old: Option<&_>| old.map_or(Ok(Change::Keep), &mut change);
        let done = self.transition(clock, entry, change, Sealed::Refuses)?;
        // A retired entry had no value when this call met it: that is an answer, not a reason to retry.
        Ok(done.filter(|done| done.old.is_some()))
    }

    /// The same, in a sealed generation too: for what must follow from a write that was taken. Answers whether it
    /// changed something.
    ///
    /// It is not refused, so that a close that fails leaves no half of it behind. Should the close succeed, no cut
    /// comes after: the capture of that write must have made the same of it for the sink.
    pub fn follow<D>(
        &self,
        clock: &Clock<D>,
        entry: &Arc<Entry<K, V, S>>,
        mut change: impl FnMut(&Arc<V>) -> Change<V>,
    ) -> bool
    where
        D: From<Arc<Entry<K, V, S>>>,
    {
        let change = &mut |old: Option<&_>| Ok(old.map_or(Change::Keep, &mut change));
        let sealed = if planted(Mistake::FollowerRefused) { Sealed::Refuses } else { Sealed::Takes };
        let done: Result<_, Refused<Infallible>> = self.transition(clock, entry, change, sealed);
        done.is_ok_and(|done| done.is_some_and(|done| !done.is_void()))
    }

    /// The steps of every write; `None` if the entry is retired.
    fn transition<D, E>(
        &self,
        clock: &Clock<D>,
        entry: &Arc<Entry<K, V, S>>,
        change: &mut impl FnMut(Option<&Arc<V>>) -> Result<Change<V>, E>,
        sealed: Sealed,
    ) -> Result<Option<Transition<V>>, Refused<E>>
    where
        D: From<Arc<Entry<K, V, S>>>,
    {
        loop {
            let misplaced: Option<Inside<D>> = planted(Mistake::GenerationFirst).then(|| clock.enter());
            // Unpinned again before the caller's code runs, which may take its time.
            let old = {
                let pin = pin();
                let seen = entry.state.load(&pin);
                match seen.look() {
                    Look::Retired => return Ok(None),
                    look => look.value().cloned(),
                }
            };
            let new = match change(old.as_ref()).map_err(Refused::By)? {
                Change::Put(value) => Some(value),
                Change::Remove if old.is_some() => None,
                Change::Keep | Change::Remove => return Ok(Some(Transition { new: old.clone(), old })),
            };
            let done = Transition { old, new };
            if self.swap(clock, entry, &done, misplaced, sealed)? {
                return Ok(Some(done));
            }
        }
    }

    /// Steps 2 to 6 of a transition; `false` if another writer came between.
    fn swap<D, E>(
        &self,
        clock: &Clock<D>,
        entry: &Arc<Entry<K, V, S>>,
        step: &Transition<V>,
        misplaced: Option<Inside<D>>,
        sealed: Sealed,
    ) -> Result<bool, Refused<E>>
    where
        D: From<Arc<Entry<K, V, S>>>,
    {
        let pin = pin();
        // The Acquire of this load comes before the load inside `enter`: the state's writer had entered its
        // generation before it stored the state, so we enter that one or a later one.
        let seen = entry.state.load(&pin);
        let look = seen.look();
        if look.is_retired() || !same(look.value(), step.old.as_ref()) {
            return Ok(false);
        }
        let inside = misplaced.unwrap_or_else(|| clock.enter());
        if inside.is_sealed() && sealed == Sealed::Refuses {
            return Err(Refused::Sealed);
        }
        let first = look.generation() < inside.number();
        if first {
            inside.expect();
        }
        let (old, new) = (step.old.as_deref(), step.new.as_deref());
        self.index.enter(entry, old, new);
        if planted(Mistake::TermLeftFirst) {
            self.index.leave(entry, old, new);
        }
        if first && planted(Mistake::PushFirst) {
            clock.list(&inside, entry.clone().into());
        }
        if !entry.state.write(&seen, inside.number(), step.new.clone(), &pin) {
            if first {
                inside.expect_no_more();
            }
            self.index.leave(entry, new, old);
            return Ok(false);
        }
        if first && !planted(Mistake::PushFirst) {
            clock.list(&inside, entry.clone().into());
        }
        if !planted(Mistake::TermLeftFirst) {
            self.index.leave(entry, old, new);
        }
        match (old, new) {
            (None, Some(_)) => self.live.fetch_add(1, Ordering::Relaxed),
            (Some(_), None) => self.live.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        Ok(true)
    }

    /// After the commit of `cut`: drops the image that only its capture needed, or unlinks an entry whose
    /// removal is now in the sink. An entry written since is left to the next flush.
    pub fn settle(&self, entry: &Arc<Entry<K, V, S>>, cut: u64) {
        let pin = pin();
        let seen = entry.state.load(&pin);
        let look = seen.look();
        if look.generation() > cut {
            return;
        }
        let unlink = match look {
            Look::Settled(_) => false,
            Look::Retired => true,
            Look::Vacant | Look::Written(_) => match look.value() {
                Some(_) => {
                    // If it fails the entry has been written again: the next flush does it.
                    entry.state.settle(&seen, &pin);
                    false
                }
                None => planted(Mistake::NoRetiredStep) || entry.state.retire(&seen, &pin),
            },
        };
        if unlink {
            self.unlink(entry);
        }
    }

    /// Takes this very entry out of the map; another entry of the same key stays.
    fn unlink(&self, entry: &Arc<Entry<K, V, S>>) {
        self.table.remove_if(&entry.key, |held| Arc::ptr_eq(held, entry));
        self.index.detach(entry);
    }
}
