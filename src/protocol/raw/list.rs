//! A lock-free list that many threads push to and any may read meanwhile.

use crate::protocol::planted::{Mistake, planted};
use crate::protocol::sync::{AtomicPtr, Ordering};
use std::ptr;

struct Node<T> {
    value: T,
    next: *mut Node<T>,
}

/// Push-only: a node, once linked, is neither moved nor unlinked before the whole list is dropped, so the
/// compare-and-swap on the head has no ABA problem, and a node that was found stays.
pub struct List<T> {
    /// Null, or a node from `Box::into_raw` that the list owns together with all behind it.
    head: AtomicPtr<Node<T>>,
}

// SAFETY: the list owns its values: `push` moves them in from any thread, and the drop drops them on any thread.
unsafe impl<T: Send> Send for List<T> {}
// SAFETY: as above; besides, `to_vec` reads them through `&T` on any thread.
unsafe impl<T: Send + Sync> Sync for List<T> {}

impl<T> List<T> {
    /// An empty list.
    #[allow(clippy::new_without_default, reason = "nobody asks for a default")]
    pub fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Adds a value: one allocation, and one compare-and-swap for each push that came between.
    pub fn push(&self, value: T) {
        // Relaxed: the head is only compared and stored as `next`, never read through.
        let mut head = self.head.load(Ordering::Relaxed);
        let node = Box::into_raw(Box::new(Node { value, next: head }));
        // Release pairs with the Acquire in `to_vec`: who finds the node sees its fields, and what its writer did
        // before. Nodes further down come along, as each later push continues the release sequence of this one.
        let release = if planted(Mistake::PushRelaxed) { Ordering::Relaxed } else { Ordering::Release };
        while let Err(now) = self.head.compare_exchange_weak(head, node, release, Ordering::Relaxed) {
            head = now;
            // SAFETY: the exchange failed, so the node is not linked and still ours alone.
            unsafe { (*node).next = head };
        }
    }

    /// Copies what has been pushed, newest first. Pushes may go on meanwhile: those that happened before are in it.
    pub fn to_vec(&self) -> Vec<T>
    where
        T: Clone,
    {
        // Acquire pairs with the Release in `push`.
        let acquire = if planted(Mistake::WalkRelaxed) { Ordering::Relaxed } else { Ordering::Acquire };
        let mut node = self.head.load(acquire);
        let mut values = Vec::new();
        while !node.is_null() {
            // SAFETY: every linked pointer came from `Box::into_raw`, and none is freed before the list is dropped,
            // which `&self` excludes.
            let found = unsafe { &*node };
            values.push(found.value.clone());
            node = found.next;
        }
        values
    }
}

impl<T> Drop for List<T> {
    fn drop(&mut self) {
        // Acquire pairs with the Release in `push`. `&mut` says that nobody pushes or reads any more.
        let mut node = self.head.load(Ordering::Acquire);
        while !node.is_null() {
            // SAFETY: every linked pointer came from `Box::into_raw`, and is freed here alone.
            node = unsafe { Box::from_raw(node) }.next;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::List;

    #[test]
    fn each_pushed_value_is_found_once() {
        let list = List::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let list = &list;
                scope.spawn(move || (0..10_000).for_each(|i| list.push(thread * 10_000 + i)));
            }
            let mut last = 0;
            for _ in 0..100 {
                let found = list.to_vec().len();
                assert!(found >= last, "what was found stays");
                last = found;
            }
        });
        let mut found = list.to_vec();
        found.sort_unstable();
        assert!(found.into_iter().eq(0..40_000));
    }

    #[test]
    fn drop_drops_values() {
        let value = std::sync::Arc::new(());
        let list = List::new();
        list.push(value.clone());
        list.push(value.clone());
        drop(list);
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
    }
}
