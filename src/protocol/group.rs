//! Groups: writes of several keys, of one map or of several that share their generations, of which a cut has all or
//! none.
//!
//! Whoever applies a group, its owner, loads and holds what it is computed from, makes all new records in one
//! generation, puts a pointer to the group into the cell of each key, and decides by one compare-and-swap. A writer
//! that meets a group which is not decided gives it up and goes on; the owner is told which key that was, and may try
//! again. So no writer waits for a group, and a group is in nobody's way that touches none of its keys.

use super::generations::{GenerationGuard, Generations};
use super::index::Index;
use super::map::{Change, Map, Rejected};
use super::planted::{Mistake, planted};
use super::raw::{CellState, Decision, Entry, Record, track};
use std::collections::BTreeMap;
use std::hash::Hash;
use std::mem::{replace, take};
use std::sync::Arc;

/// What a group does to the keys of one map. A key that was read and is not changed is checked: the group takes place
/// only if its record is still the one that was read.
pub struct GroupPart<'m, K, V: Record, S, I> {
    map: &'m Map<K, V, S, I>,
    planned: BTreeMap<K, Planned<V>>,
    keys: Vec<Key<K>>,
    entries: Arc<[Entry<V>]>,
}

struct Planned<V> {
    old: CellState<V>,
    change: Change<V>,
}

struct Key<K> {
    key: K,
    /// Whether the generation has counted it for the group.
    is_counted: bool,
}

impl<'m, K, V, S, I> GroupPart<'m, K, V, S, I>
where
    K: Eq + Ord + Hash + Clone,
    V: Record + Clone,
    S: Default,
    I: Index<K>,
{
    /// No keys yet.
    pub fn new(map: &'m Map<K, V, S, I>) -> Self {
        Self { map, planned: BTreeMap::new(), keys: Vec::new(), entries: Arc::new([]) }
    }

    fn planned(&mut self, key: &K) -> &mut Planned<V> {
        let load = || Planned { old: self.map.cells.load(key), change: Change::Keep };
        self.planned.entry(key.clone()).or_insert_with(load)
    }

    /// The value of a key as the group has left it so far. Reads it if the group has not.
    pub fn get(&mut self, key: &K) -> Option<Arc<V>> {
        let Planned { old, change } = self.planned(key);
        match change {
            Change::Keep => old.value().cloned(),
            Change::Put(value) => Some(Arc::new(V::clone(value))),
            Change::Remove => None,
        }
    }

    /// Has the group make this of a key, in the place of what it would have made before.
    pub fn set(&mut self, key: &K, change: Change<V>) {
        self.planned(key).change = change;
    }

    /// What the group changes, each from and to what.
    pub fn changes(&self) -> impl Iterator<Item = (Option<&V>, Option<&V>)> {
        self.planned.values().filter_map(|Planned { old, change }| {
            let new = match change {
                Change::Keep => return None,
                Change::Put(new) => Some(&**new),
                Change::Remove => None,
            };
            Some((old.value().map(|old| &**old), new))
        })
    }

    /// The values that were read, where `is_other` finds the group to leave another one, or none.
    pub fn ended(&self, is_other: impl Fn(&V, Option<&V>) -> bool) -> Vec<Arc<V>> {
        let ended = |Planned { old, change }: &Planned<V>| {
            let old = old.value()?;
            let is_ended = match change {
                Change::Keep => false,
                Change::Put(new) => is_other(old, Some(new)),
                Change::Remove => is_other(old, None),
            };
            is_ended.then(|| old.clone())
        };
        self.planned.values().filter_map(ended).collect()
    }
}

/// A part, whatever its map.
trait Part<D> {
    /// Makes the records, and lists and counts the keys that are written.
    fn prepare(
        &mut self,
        generations: &Generations<D>,
        inside: &GenerationGuard<D>,
        decision: &Arc<Decision>,
    );

    /// Puts the group into its cells, as far as nothing is in the way; the key of what is.
    fn install(&self) -> Result<(), D>;

    /// Takes the decided group out of its cells; the key whose writer has given it up.
    fn clean(&self, is_committed: bool, inside: &GenerationGuard<D>) -> Option<D>;

    /// Gives up what the cells don't hold any more.
    fn free(&mut self);
}

impl<K, V, S, I, D> Part<D> for GroupPart<'_, K, V, S, I>
where
    K: Eq + Ord + Hash + Clone,
    V: Record,
    S: Default,
    I: Index<K>,
    D: From<K> + Clone + Ord,
{
    fn prepare(
        &mut self,
        generations: &Generations<D>,
        inside: &GenerationGuard<D>,
        decision: &Arc<Decision>,
    ) {
        let mut entries = Vec::with_capacity(self.planned.len());
        for (key, Planned { old, change }) in take(&mut self.planned) {
            let new = match change {
                Change::Put(value) => Some(old.successor(inside.number(), Some(value))),
                Change::Remove if old.value().is_some() => Some(old.successor(inside.number(), None)),
                Change::Keep | Change::Remove => None,
            };
            let is_counted = new.is_some() && old.generation() < inside.since();
            if is_counted {
                inside.reserve();
            }
            if new.is_some() && old.generation() < inside.number() {
                generations.list(inside, key.clone().into());
            }
            if new.is_some() && matches!(old, CellState::Absent) {
                self.map.index.attach(&key);
            }
            entries.push(Entry::new(decision.clone(), old, new));
            self.keys.push(Key { key, is_counted });
        }
        self.entries = entries.into();
        track(&self.entries);
    }

    fn install(&self) -> Result<(), D> {
        for (Key { key, .. }, entry) in self.keys.iter().zip(&*self.entries) {
            if !self.map.cells.install(key, entry) {
                return Err(key.clone().into());
            }
            // Whoever took a cell out since the key was attached may have detached it; from now on it has a cell.
            // Before the group is decided, so that whoever sees it finds the key.
            if entry.change() == Some((false, true)) && !planted(Mistake::GroupAttachedEarly) {
                self.map.index.attach(key);
            }
        }
        Ok(())
    }

    fn clean(&self, is_committed: bool, inside: &GenerationGuard<D>) -> Option<D> {
        let mut in_the_way = None;
        for (Key { key, is_counted }, entry) in self.keys.iter().zip(&*self.entries) {
            self.map.cells.clean(key, entry, is_committed);
            match entry.change() {
                Some((had, has)) if is_committed => self.map.written(key, had, has),
                Some(_) => self.map.not_written(key, is_counted.then_some(inside)),
                // Whoever took a cell out meanwhile, or did not write, has found the one that the group had made.
                None if matches!(entry.expected(), CellState::Absent) => self.map.not_written::<D>(key, None),
                None => {}
            }
            if entry.was_in_the_way() {
                in_the_way = Some(key.clone().into());
            }
        }
        in_the_way
    }

    fn free(&mut self) {
        let (keys, entries) = (take(&mut self.keys), replace(&mut self.entries, Arc::new([])));
        self.map.cells.free_group(keys.iter().map(|key| &key.key), entries);
    }
}

/// A group that is about to be tried.
pub struct GroupTry<'p, D> {
    parts: Vec<&'p mut dyn Part<D>>,
}

impl<'p, D: Clone + Ord> GroupTry<'p, D> {
    /// Of no map yet.
    #[allow(clippy::new_without_default, reason = "nobody asks for a default")]
    pub fn new() -> Self {
        Self { parts: Vec::new() }
    }

    /// With this part of it.
    pub fn with<K, V, S, I>(mut self, part: &'p mut GroupPart<'_, K, V, S, I>) -> Self
    where
        K: Eq + Ord + Hash + Clone,
        V: Record,
        S: Default,
        I: Index<K>,
        D: From<K>,
    {
        self.parts.push(part);
        self
    }

    /// Carries the group out, or changes nothing: because the open generation is sealed, or because another writer was
    /// at a key, which the error names if it is known.
    ///
    /// The generation is entered after all loads, as for a single write, and left after the last cell has been cleaned
    /// of the group. So after the grace period of a generation no group of it is undecided, nor in a cell.
    pub fn run(mut self, generations: &Generations<D>) -> Result<(), Rejected<Option<D>>> {
        let mut inside = generations.enter();
        if inside.is_sealed() {
            return Err(Rejected::Sealed);
        }
        let decision = Arc::new(Decision::new());
        for part in &mut self.parts {
            part.prepare(generations, &inside, &decision);
        }
        if planted(Mistake::LeftUndecided) {
            drop(inside);
            inside = generations.enter();
        }
        if planted(Mistake::DecidedEarly) {
            decision.decide(true);
        }
        let mut installed = self.parts.iter().map(|part| part.install());
        let in_the_way = installed.find_map(Result::err);
        drop(installed);
        let is_committed = decision.decide(in_the_way.is_none());
        let given_up: Vec<_> =
            self.parts.iter().filter_map(|part| part.clean(is_committed, &inside)).collect();
        // Before a large one is freed, which takes its time.
        drop(inside);
        self.parts.iter_mut().for_each(|part| part.free());
        if is_committed { Ok(()) } else { Err(Rejected::By(in_the_way.or(given_up.into_iter().next()))) }
    }
}
