//! The same names over loom's types: every access is a point where loom may switch threads.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicIsize, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fence,
};
pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
pub(crate) use loom::thread::{Thread, current as current_thread};

pub(crate) struct Published<T>(Mutex<Arc<T>>);

pub(crate) struct PublishedGuard<T>(Arc<T>);

impl<T> Deref for PublishedGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Published<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self(Mutex::new(value))
    }

    pub(crate) fn load(&self) -> PublishedGuard<T> {
        PublishedGuard(super::lock(&self.0).clone())
    }

    pub(crate) fn swap(&self, value: Arc<T>) -> Arc<T> {
        std::mem::replace(&mut *super::lock(&self.0), value)
    }
}

pub(crate) struct Table<K, T>(loom::sync::RwLock<BTreeMap<K, T>>);

impl<K: Ord + Clone, T: Clone> Table<K, T> {
    pub(crate) fn new() -> Self {
        Self(loom::sync::RwLock::new(BTreeMap::new()))
    }

    fn read(&self) -> loom::sync::RwLockReadGuard<'_, BTreeMap<K, T>> {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> loom::sync::RwLockWriteGuard<'_, BTreeMap<K, T>> {
        self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// As a guard of the real map must not be held across an access that loom may switch at, the
    /// value is cloned and `look` runs after the lock: the real order allows no more than that.
    pub(crate) fn look<R>(&self, key: &K, look: impl FnOnce(&T) -> R) -> Option<R> {
        let found = self.read().get(key).cloned();
        found.as_ref().map(look)
    }

    pub(crate) fn find_or_insert_with(&self, key: &K, make: impl FnOnce() -> T) -> T {
        if let Some(found) = self.read().get(key) {
            return found.clone();
        }
        self.write().entry(key.clone()).or_insert_with(make).clone()
    }

    pub(crate) fn remove_if(&self, key: &K, is_it: impl FnOnce(&T) -> bool) {
        let mut map = self.write();
        if map.get(key).is_some_and(is_it) {
            map.remove(key);
        }
    }

    pub(crate) fn edit(&self, key: &K, edit: impl FnOnce(&mut T))
    where
        T: Default,
    {
        edit(self.write().entry(key.clone()).or_default());
    }

    pub(crate) fn edit_or_remove(&self, key: &K, edit: impl FnOnce(&mut T) -> bool) {
        let mut map = self.write();
        if map.get_mut(key).is_some_and(edit) {
            map.remove(key);
        }
    }

    pub(crate) fn values(&self) -> Vec<T> {
        self.read().values().cloned().collect()
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

/// Stands in for the bell that ships in the models of everything else: loom's `unpark` may wake a thread that waits for
/// something else by then, and a lock and a condition have fewer steps to explore.
#[derive(Default)]
pub struct Bell {
    rung: Mutex<bool>,
    ringing: Condvar,
}

impl Bell {
    pub(crate) fn ring(&self) {
        *super::lock(&self.rung) = true;
        self.ringing.notify_one();
    }

    pub(crate) fn is_rung(&self) -> bool {
        false
    }

    pub(crate) fn sleep(&self, _: Option<Duration>) {
        let mut rung = super::lock(&self.rung);
        while !std::mem::take(&mut *rung) {
            rung = self.ringing.wait(rung).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
}
