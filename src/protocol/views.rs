//! Views: what a store is looked through by something else than keys, fed with the keys of each cut.
//!
//! A write touches no view. A question walks the lists of keys that the views have not applied, takes the live records
//! of those, and finds all others in the views, as they are there: a key that is in no list has not been written since
//! it was applied, or its writer has not returned.

use super::generations::Generations;
use super::planted::{Mistake, planted};
use super::sync::{Mutex, RwLock, lock, read, write};
use std::sync::Arc;

/// All views of a map, as one value.
pub struct Views<W> {
    views: RwLock<W>,
    /// Held by the one that applies.
    applier: Mutex<()>,
}

/// How many keys are applied in one hold of the lock, for which questions wait.
const AT_ONCE: usize = 128;

/// Keys that the views may have wrong, with their live records.
pub struct Unsettled<K, V> {
    /// In the order of keys, each once.
    keys: Vec<(K, Option<Arc<V>>)>,
}

impl<K: Ord, V> Unsettled<K, V> {
    /// Whether what the views say of this key is to be ignored.
    pub fn contains(&self, key: &K) -> bool {
        !planted(Mistake::UnsettledNotSkipped)
            && self.keys.binary_search_by(|(listed, _)| listed.cmp(key)).is_ok()
    }

    /// The keys, with the values that are to be taken instead of those that the views have.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &(K, Option<Arc<V>>)> {
        self.keys.iter()
    }
}

impl<W> Views<W> {
    /// Views of an empty map, or of one that they show already.
    pub fn new(views: W) -> Self {
        Self { views: RwLock::new(views), applier: Mutex::new(()) }
    }

    /// Applies the keys of one cut; `false` if there is none that is not applied. `live` loads the newest values of
    /// keys; `put` makes the views show what a key has now, or has not, and returns the value that they showed.
    ///
    /// The values are live ones, so it may come late. They may be loaded before the lock is taken, since there is one
    /// that applies: what is written meanwhile is in a list that is applied later.
    pub fn apply<K, V, D>(
        &self,
        generations: &Generations<D>,
        live: impl Fn(&[K]) -> Vec<Option<Arc<V>>>,
        put: impl FnMut(&mut W, K, Option<Arc<V>>) -> Option<Arc<V>>,
    ) -> bool
    where
        K: Clone,
        D: TryInto<K> + Clone + Ord,
    {
        let Some(unapplied) = generations.unapplied() else { return false };
        let _one = lock(&self.applier);
        let Some(list) = unapplied.next() else { return false };
        if planted(Mistake::RemovedBeforeItIsApplied) {
            unapplied.remove(&list);
        }
        let keys: Vec<K> = list.keys().into_iter().filter_map(|key| key.try_into().ok()).collect();
        self.put(&keys, live, put);
        unapplied.remove(&list);
        true
    }

    /// As [`apply`](Self::apply), of keys that are in no list: for what the views show of a value and time changes.
    pub fn apply_keys<K: Clone, V>(
        &self,
        keys: &[K],
        live: impl Fn(&[K]) -> Vec<Option<Arc<V>>>,
        put: impl FnMut(&mut W, K, Option<Arc<V>>) -> Option<Arc<V>>,
    ) {
        self.apply_some(|_| keys.to_vec(), live, put);
    }

    /// As [`apply_keys`](Self::apply_keys), of keys that the views name; `false` if there are none. Who finds none
    /// finds those applied that another thread has taken.
    pub fn apply_some<K: Clone, V>(
        &self,
        take: impl FnOnce(&mut W) -> Vec<K>,
        live: impl Fn(&[K]) -> Vec<Option<Arc<V>>>,
        put: impl FnMut(&mut W, K, Option<Arc<V>>) -> Option<Arc<V>>,
    ) -> bool {
        let _one = lock(&self.applier);
        let keys = self.change(take);
        self.put(&keys, live, put);
        !keys.is_empty()
    }

    /// Changes the views as a whole, while nothing is applied: what `reset` loads for them is not older than what a
    /// list says that is gone by then.
    pub fn reset<R>(&self, reset: impl FnOnce(&mut W) -> R) -> R {
        let _one = lock(&self.applier);
        reset(&mut write(&self.views))
    }

    /// Looks at the views as they are, without what they lack.
    pub fn look<R>(&self, look: impl FnOnce(&W) -> R) -> R {
        look(&read(&self.views))
    }

    /// Changes what the views have beside what they show, also while something is applied.
    pub fn change<R>(&self, change: impl FnOnce(&mut W) -> R) -> R {
        change(&mut write(&self.views))
    }

    fn put<K: Clone, V>(
        &self,
        keys: &[K],
        live: impl Fn(&[K]) -> Vec<Option<Arc<V>>>,
        mut put: impl FnMut(&mut W, K, Option<Arc<V>>) -> Option<Arc<V>>,
    ) {
        for keys in keys.chunks(AT_ONCE) {
            let live = live(keys);
            let mut views = write(&self.views);
            let shown: Vec<_> =
                keys.iter().zip(live).map(|(key, value)| put(&mut views, key.clone(), value)).collect();
            drop(views);
            // Freed, where nobody else has it, while nobody waits for that.
            drop(shown);
        }
    }

    /// Asks the views, together with the keys that they may have wrong; `None` if they are not fed.
    pub fn ask<K, V, D, R>(
        &self,
        generations: &Generations<D>,
        live: impl Fn(&[K]) -> Vec<Option<Arc<V>>>,
        question: impl FnOnce(&Unsettled<K, V>, &W) -> R,
    ) -> Option<R>
    where
        K: Ord,
        D: TryInto<K> + Clone + Ord,
    {
        let unapplied = generations.unapplied()?;
        // The lists first, and then the views: a list that is gone by then has been applied to what is found there.
        let mut keys: Vec<K> = {
            let lists = unapplied.load();
            lists.iter().flat_map(|list| list.keys()).filter_map(|key| key.try_into().ok()).collect()
        };
        keys.sort_unstable();
        keys.dedup();
        let live = live(&keys);
        let unsettled = Unsettled { keys: keys.into_iter().zip(live).collect() };
        Some(question(&unsettled, &read(&self.views)))
    }
}
