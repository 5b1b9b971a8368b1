//! A lock-free list that many threads push to and one takes whole.

use crate::core::sync::{AtomicPtr, Ordering};
use std::ptr;

struct Node<T> {
    value: T,
    next: *mut Node<T>,
}

/// Push-only: a node, once linked, is neither moved nor unlinked until the whole list is taken, so
/// the compare-and-swap on the head has no ABA problem.
pub(crate) struct Stack<T> {
    /// Null, or a node from `Box::into_raw` that the list owns together with all behind it.
    head: AtomicPtr<Node<T>>,
}

// SAFETY: the list owns its values and gives no reference to them; `push` moves a value in from any
// thread and `take` moves them out on any thread, which is what `T: Send` allows.
unsafe impl<T: Send> Send for Stack<T> {}
// SAFETY: as above; `&Stack` allows just `push` and `take`.
unsafe impl<T: Send> Sync for Stack<T> {}

impl<T> Stack<T> {
    pub(crate) fn new() -> Self {
        Self { head: AtomicPtr::new(ptr::null_mut()) }
    }

    pub(crate) fn push(&self, value: T) {
        // Relaxed: the head is only compared and stored as `next`, never read through.
        let mut head = self.head.load(Ordering::Relaxed);
        let node = Box::into_raw(Box::new(Node { value, next: head }));
        // Release pairs with the Acquire in `take`: who takes the list sees the node's fields. Nodes
        // further down come along, as each later push continues the release sequence of this one.
        while let Err(now) = self.head.compare_exchange_weak(head, node, Ordering::Release, Ordering::Relaxed)
        {
            head = now;
            // SAFETY: the exchange failed, so the node is not linked and still ours alone.
            unsafe { (*node).next = head };
        }
    }

    /// Takes all that has been pushed, newest first.
    pub(crate) fn take(&self) -> Vec<T> {
        // Acquire pairs with the Release in `push`.
        let mut node = self.head.swap(ptr::null_mut(), Ordering::Acquire);
        let mut values = Vec::new();
        while !node.is_null() {
            // SAFETY: every linked pointer came from `Box::into_raw`, and the swap gave this chain to
            // us alone: a pusher that still compares with an old head never reads through it.
            let taken = unsafe { Box::from_raw(node) };
            node = taken.next;
            values.push(taken.value);
        }
        values
    }
}

impl<T> Drop for Stack<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Stack;

    #[test]
    fn takes_each_pushed_value_once() {
        let stack = Stack::new();
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let stack = &stack;
                scope.spawn(move || (0..10_000).for_each(|i| stack.push(thread * 10_000 + i)));
            }
            (0..100).for_each(|_| taken.extend(stack.take()));
        });
        taken.extend(stack.take());
        taken.sort_unstable();
        assert!(taken.into_iter().eq(0..40_000));
    }

    #[test]
    fn drops_what_was_never_taken() {
        let value = std::sync::Arc::new(());
        let stack = Stack::new();
        stack.push(value.clone());
        stack.push(value.clone());
        drop(stack);
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
    }
}
