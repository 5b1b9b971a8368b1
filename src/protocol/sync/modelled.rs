//! The same names over loom's types: every access is a point where loom may switch threads.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Deref;
use std::sync::PoisonError;
use std::time::Duration;

pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicIsize, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence,
};
pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub(crate) use loom::thread::{Thread, current as current_thread};

pub(crate) struct AtomicArc<T>(Mutex<Arc<T>>);

pub(crate) struct AtomicArcGuard<T>(Arc<T>);

impl<T> Deref for AtomicArcGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> AtomicArc<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn load(&self) -> AtomicArcGuard<T> {
        AtomicArcGuard(super::lock(&self.0).clone())
    }

    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        std::mem::replace(&mut *super::lock(&self.0), value)
    }
}

thread_local! {
    /// All threads of a model are this one, to std.
    static HIDES_LOCKS: Cell<bool> = const { Cell::new(false) };
}

/// Whether loom knows nothing of the locks of tables that are made from now on: a load of a cell may then find a record
/// that is no more the newest, unless a fence forbids that. For models whose cells are all there before its threads.
pub fn hide_locks(hide: bool) {
    HIDES_LOCKS.set(hide);
}

pub(crate) enum ShardedMap<K, T> {
    Locked(RwLock<BTreeMap<K, T>>),
    /// Not locked while loom may switch threads, which are one to this lock.
    Hidden(std::sync::Mutex<BTreeMap<K, std::sync::Arc<T>>>),
    /// What is in it stays in it.
    WithoutLocks(BTreeMap<K, T>),
}

fn unlocked<T>(hidden: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    hidden.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Edits a value that nobody looks at: with hidden locks that is so wherever looking takes no step that loom knows.
#[allow(clippy::panic)]
fn edit_hidden<T, R>(value: &mut std::sync::Arc<T>, edit: impl FnOnce(&mut T) -> R) -> R {
    edit(std::sync::Arc::get_mut(value).unwrap_or_else(|| panic!("edited while it is looked at")))
}

impl<K: Ord + Clone, T> ShardedMap<K, T> {
    pub(crate) fn new() -> Self {
        if HIDES_LOCKS.get() {
            Self::Hidden(std::sync::Mutex::new(BTreeMap::new()))
        } else {
            Self::Locked(RwLock::new(BTreeMap::new()))
        }
    }

    pub(crate) fn without_locks(all: impl Iterator<Item = (K, T)>) -> Self {
        Self::WithoutLocks(all.collect())
    }

    pub(crate) fn is_without_locks(&self) -> bool {
        matches!(self, Self::WithoutLocks(_))
    }

    pub(crate) fn with<R>(&self, key: &K, work: impl FnOnce(&T) -> R) -> Option<R> {
        match self {
            Self::Locked(lock) => {
                let map = lock.read().unwrap_or_else(PoisonError::into_inner);
                map.get(key).map(work)
            }
            Self::Hidden(map) => {
                let found = unlocked(map).get(key).cloned();
                found.map(|found| work(&found))
            }
            Self::WithoutLocks(map) => map.get(key).map(work),
        }
    }

    pub(crate) fn shards(&self) -> usize {
        1
    }

    pub(crate) fn shard(&self, _: &K) -> usize {
        0
    }

    pub(crate) fn is_free(&self, _: usize) -> bool {
        if let Self::Locked(lock) = self { lock.try_write().is_ok() } else { true }
    }

    /// Locks the map, if loom knows its lock.
    fn write<R>(&self, work: impl FnOnce(&mut BTreeMap<K, T>) -> R) -> Option<R> {
        let Self::Locked(lock) = self else { return None };
        Some(work(&mut lock.write().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(crate) fn insert_new(&self, key: K, make: impl FnOnce() -> T) -> bool {
        if let Self::Hidden(map) = self {
            let mut map = unlocked(map);
            let is_new = !map.contains_key(&key);
            if is_new {
                map.insert(key, std::sync::Arc::new(make()));
            }
            return is_new;
        }
        let inserted = self.write(|map| match map.entry(key) {
            Entry::Occupied(_) => false,
            Entry::Vacant(vacant) => {
                vacant.insert(make());
                true
            }
        });
        inserted == Some(true)
    }

    pub(crate) fn remove_if(&self, key: &K, is_it: impl FnOnce(&T) -> bool) -> Option<T> {
        if let Self::Hidden(map) = self {
            let found = unlocked(map).get(key).cloned()?;
            if !is_it(&found) {
                return None;
            }
            drop(found);
            return unlocked(map).remove(key).and_then(std::sync::Arc::into_inner);
        }
        self.write(|map| if map.get(key).is_some_and(is_it) { map.remove(key) } else { None })?
    }

    pub(crate) fn edit(&self, key: &K, edit: impl FnOnce(&mut T))
    where
        T: Default,
    {
        if let Self::Hidden(map) = self {
            return edit_hidden(unlocked(map).entry(key.clone()).or_default(), edit);
        }
        self.write(|map| edit(map.entry(key.clone()).or_default()));
    }

    pub(crate) fn edit_or_remove(&self, key: &K, edit: impl FnOnce(&mut T) -> bool) {
        if let Self::Hidden(map) = self {
            let mut map = unlocked(map);
            if map.get_mut(key).is_some_and(|value| edit_hidden(value, edit)) {
                map.remove(key);
            }
            return;
        }
        self.write(|map| {
            if map.get_mut(key).is_some_and(edit) {
                map.remove(key);
            }
        });
    }

    pub(crate) fn keys(&self) -> Vec<K> {
        match self {
            Self::Locked(lock) => {
                lock.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
            }
            Self::Hidden(map) => unlocked(map).keys().cloned().collect(),
            Self::WithoutLocks(map) => map.keys().cloned().collect(),
        }
    }
}

/// Under the lock, so that loom knows what came before: who drops a store last has that from `std`'s `Arc`, of which
/// loom knows nothing.
impl<K, T> Drop for ShardedMap<K, T> {
    fn drop(&mut self) {
        if let Self::Locked(lock) = self
            && !std::thread::panicking()
        {
            let map = std::mem::take(&mut *lock.write().unwrap_or_else(PoisonError::into_inner));
            drop(map);
        }
    }
}

pub(crate) fn pause(_: u32) {
    loom::thread::yield_now();
}

/// loom has no time: whoever parks waits to be unparked.
pub(crate) fn park(_: Option<Duration>) {
    loom::thread::park();
}

/// As std's, with its orderings: setting it is a release, seeing it set an acquire. One thread sets it.
pub(crate) struct OnceLock<T> {
    is_set: AtomicBool,
    value: std::sync::Mutex<Option<T>>,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self { is_set: AtomicBool::new(false), value: std::sync::Mutex::new(None) }
    }
}

impl<T: Clone> OnceLock<T> {
    pub(crate) fn get(&self) -> Option<T> {
        let value = || self.value.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        if self.is_set.load(Ordering::Acquire) { value() } else { None }
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) {
        if !self.is_set.load(Ordering::Acquire) {
            *self.value.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(make());
            self.is_set.store(true, Ordering::Release);
        }
    }
}

/// Stands in for the `Notify` that ships in the models of everything else: loom's `unpark` may wake a thread that waits
/// for something else by then, and a lock and a condition have fewer steps to explore.
#[derive(Default)]
pub struct Notify {
    rung: Mutex<bool>,
    ringing: Condvar,
}

impl Notify {
    pub(crate) fn notify(&self) {
        *super::lock(&self.rung) = true;
        self.ringing.notify_one();
    }

    pub(crate) fn is_notified(&self) -> bool {
        false
    }

    pub(crate) fn sleep(&self, _: Option<Duration>) {
        let mut rung = super::lock(&self.rung);
        while !std::mem::take(&mut *rung) {
            rung = self.ringing.wait(rung).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}
