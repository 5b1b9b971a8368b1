//! The lists of keys that the views have not applied, as a question walks them.

use super::generations::Shared;
use super::raw::List;
use super::sync::{Arc, AtomicArc, AtomicArcGuard, AtomicU64, Mutex, Notify, Ordering, lock};

/// The keys listed in one generation. Who holds it may walk it, for as long as it likes: nobody waits for that.
pub(super) struct Listed<D> {
    generation: u64,
    keys: Shared<List<D>>,
}

impl<D> Clone for Listed<D> {
    fn clone(&self) -> Self {
        Self { generation: self.generation, keys: self.keys.clone() }
    }
}

impl<D: Clone> Listed<D> {
    pub(super) fn keys(&self) -> Vec<D> {
        self.keys.to_vec()
    }
}

/// One published array of lists, oldest first: those of closed generations that are not applied, and that of the open
/// one. A question loads it once, and enters no generation.
pub(super) struct Unapplied<D> {
    lists: AtomicArc<Vec<Listed<D>>>,
    /// Of two that change the array at once, the flusher and the indexer, each keeps what the other did.
    edit: Mutex<()>,
    /// The newest generation whose grace period is over.
    complete: AtomicU64,
    indexer: Shared<Notify>,
}

impl<D> Unapplied<D> {
    pub(super) fn new(indexer: Shared<Notify>, first: u64, keys: Shared<List<D>>) -> Self {
        let lists = AtomicArc::new(Arc::new(vec![Listed { generation: first, keys }]));
        Self { lists, edit: Mutex::new(()), complete: AtomicU64::new(first - 1), indexer }
    }

    pub(super) fn indexer(&self) -> &Notify {
        &self.indexer
    }

    pub(super) fn load(&self) -> AtomicArcGuard<Vec<Listed<D>>> {
        self.lists.load()
    }

    /// Publishes the list of a generation that is about to be opened.
    pub(super) fn add(&self, generation: u64, keys: Shared<List<D>>) {
        self.change(|lists| lists.push(Listed { generation, keys }));
    }

    /// The grace period of a generation is over, and of all before it: nothing is listed there any more.
    pub(super) fn complete(&self, generation: u64) {
        // Release, with Acquire in `next`: whoever applies the list finds all that was listed, and what was written.
        self.complete.store(generation, Ordering::Release);
        self.indexer.notify();
    }

    /// The oldest list that may be applied.
    pub(super) fn next(&self) -> Option<Listed<D>> {
        let complete = self.complete.load(Ordering::Acquire);
        self.lists.load().first().filter(|list| list.generation <= complete).cloned()
    }

    /// The views have what is listed there.
    pub(super) fn remove(&self, applied: &Listed<D>) {
        self.change(|lists| lists.retain(|list| list.generation != applied.generation));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Listed<D>>)) {
        let _one = lock(&self.edit);
        let mut lists = Vec::clone(&self.lists.load());
        change(&mut lists);
        // AcqRel, with Acquire in `load`: who finds a list gone finds its keys in the views, whose lock was let go
        // before, and who finds one finds all that its makers knew.
        drop(self.lists.swap(Arc::new(lists)));
    }
}
