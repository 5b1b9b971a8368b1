//! The types that ship.

use std::hash::Hash;
use std::time::Duration;

pub(crate) use super::locks::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicIsize, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence,
};
pub(crate) use std::sync::{Arc, OnceLock};
pub(crate) use std::thread::{Thread, current as current_thread};

/// See the module's list.
pub(crate) struct AtomicArc<T>(arc_swap::ArcSwap<T>);

/// Holding it is being inside.
pub(crate) type AtomicArcGuard<T> = arc_swap::Guard<Arc<T>>;

impl<T> AtomicArc<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self(arc_swap::ArcSwap::new(value))
    }

    pub(crate) fn load(&self) -> AtomicArcGuard<T> {
        self.0.load()
    }

    /// One atomic exchange. The old value keeps an owner for each guard still held on it.
    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        self.0.swap(value)
    }

    /// Puts `value` in the place of what was loaded; `false` if that has been replaced meanwhile.
    #[cfg(feature = "tracing-layer")]
    pub(crate) fn replace(&self, loaded: &AtomicArcGuard<T>, value: Arc<T>) -> bool {
        let found = self.0.compare_and_swap(loaded, value);
        Arc::ptr_eq(&found, loaded)
    }
}

/// Many shards, so that growing one, or copying one to iterate, holds up few and briefly.
const SHARDS: usize = 64;

/// See the module's list. A guard of the map lives only inside these functions.
pub(crate) struct ShardedMap<K, T>(dashmap::DashMap<K, T, foldhash::fast::RandomState>);

impl<K: Eq + Hash + Clone, T> ShardedMap<K, T> {
    pub(crate) fn new() -> Self {
        Self(dashmap::DashMap::with_hasher_and_shard_amount(foldhash::fast::RandomState::default(), SHARDS))
    }

    /// Number of shards.
    pub(crate) fn shards(&self) -> usize {
        SHARDS
    }

    /// The shard of a key.
    pub(crate) fn shard(&self, key: &K) -> usize {
        self.0.determine_map(key)
    }

    /// Whether the lock of a shard is free; waits for nobody.
    pub(crate) fn is_free(&self, shard: usize) -> bool {
        // Taken for a moment: a look at it would order nothing.
        self.0.shards()[shard].try_write().is_some()
    }

    /// Runs `work` under the shared lock of one shard; it must be short and not the caller's code.
    pub(crate) fn with<R>(&self, key: &K, work: impl FnOnce(&T) -> R) -> Option<R> {
        self.0.get(key).map(|found| work(&found))
    }

    /// Puts in what `make` makes, under the exclusive lock of one shard; `false` if there is something.
    pub(crate) fn insert_new(&self, key: K, make: impl FnOnce() -> T) -> bool {
        match self.0.entry(key) {
            dashmap::Entry::Occupied(_) => false,
            dashmap::Entry::Vacant(vacant) => {
                vacant.insert(make());
                true
            }
        }
    }

    /// Takes out what is there if `is_it`, which is asked under the exclusive lock of one shard.
    pub(crate) fn remove_if(&self, key: &K, is_it: impl FnOnce(&T) -> bool) -> Option<T> {
        self.0.remove_if(key, |_, found| is_it(found)).map(|(_, taken)| taken)
    }

    /// Runs `edit` under the exclusive lock of one shard, on the value or on an empty one.
    pub(crate) fn edit(&self, key: &K, edit: impl FnOnce(&mut T))
    where
        T: Default,
    {
        edit(&mut self.0.entry(key.clone()).or_default());
    }

    /// Runs `edit` under the exclusive lock of one shard, on a value that is there; `true` takes it out.
    pub(crate) fn edit_or_remove(&self, key: &K, edit: impl FnOnce(&mut T) -> bool) {
        self.0.remove_if_mut(key, |_, found| edit(found));
    }

    /// Copies the keys, one shard locked at a time.
    pub(crate) fn keys(&self) -> Vec<K> {
        let mut keys = Vec::with_capacity(self.0.len());
        keys.extend(self.0.iter().map(|found| found.key().clone()));
        keys
    }
}

/// Waits a little longer each round: a writer inside is a few instructions from leaving, unless
/// its thread lost the processor.
pub(crate) fn pause(round: u32) {
    match round {
        0..32 => std::hint::spin_loop(),
        32..64 => std::thread::yield_now(),
        _ => std::thread::sleep(Duration::from_micros(50)),
    }
}

/// Blocks this thread until it is unparked, or until `timeout` has passed if there is one, or for no reason.
pub(crate) fn park(timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => std::thread::park_timeout(timeout),
        None => std::thread::park(),
    }
}
