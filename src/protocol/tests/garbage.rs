//! What has been replaced is freed as soon as nobody can see it, and nothing outlives the map.

use super::{Fixture, NEVER, Plain, plain};
use crate::protocol::{Change, GroupPart, GroupTry, Rejected};
use std::sync::{Arc, Weak};

#[test]
fn image_is_given_up_when_settled() {
    let mut store = Fixture::new((), NEVER);
    let old = store.put(1_u64, "a");
    store.flush();
    store.put(1, "b");
    store.map.collect();
    assert_eq!(Arc::strong_count(&old), 2, "a cut may need it");
    store.flush();
    assert_eq!(Arc::strong_count(&old), 1);
}

/// Runs `work` on a thread of its own, which is gone when this returns, while somebody is in the lock of a key's shard.
fn while_looked_at<T: Clone + Send + Sync + 'static>(
    store: &Fixture<u64, T>,
    key: u64,
    work: impl FnOnce() + Send,
) {
    let beside = |(): &()| std::thread::scope(|scope| scope.spawn(work).join()).expect("it does not panic");
    store.map.sink(&key, beside).expect("the key has a cell");
}

fn replaced(store: &Fixture<u64, u64>) -> Weak<Plain<u64>> {
    let old = Arc::downgrade(&store.put(1, 0));
    store.put(1, 1);
    old
}

#[test]
fn what_is_replaced_is_freed_at_once() {
    let store = Fixture::new((), NEVER);
    assert_eq!(replaced(&store).strong_count(), 0);
}

fn live<T>(records: &[Weak<T>]) -> usize {
    records.iter().filter(|record| record.strong_count() > 0).count()
}

/// And what a thread has left that is gone is freed by the next writer in the shard, or by the flusher, or with the map.
#[test]
fn what_may_be_seen_waits() {
    for by in ["a writer", "the flusher", "the end of the map"] {
        let mut store = Fixture::new((), NEVER);
        store.put(1, 0);
        let mut waiting = Vec::new();
        while_looked_at(&store, 1, || waiting.extend((0..10).map(|_| replaced(&store))));
        assert_eq!(live(&waiting), 10);
        match by {
            "a writer" => drop(store.put(1, 2)),
            "the flusher" => store.map.collect(),
            _ => store = Fixture::new((), NEVER),
        }
        assert_eq!(live(&waiting), 0, "freed by {by}");
        drop(store);
    }
}

/// A group holds what it has replaced, until the flusher frees it.
#[test]
fn a_group_that_may_be_seen_waits() {
    let store: Fixture<u64, u64> = Fixture::new((), NEVER);
    let old = Arc::downgrade(&store.put(1, 0));
    while_looked_at(&store, 1, || {
        let mut part = GroupPart::new(&store.map);
        part.set(&1, Change::put(plain(1)));
        GroupTry::new().with(&mut part).run(&store.generations).expect("nobody is in the way");
    });
    assert_eq!(old.strong_count(), 2, "it waits itself, and the group");
    store.put(1, 2);
    assert_eq!(old.strong_count(), 1);
    store.map.collect();
    assert_eq!(old.strong_count(), 0);
}

/// A writer that has left too much tries for longer, and not for ever.
#[test]
fn large_garbage_waits_for_nobody_for_ever() {
    let store = Fixture::new((), NEVER);
    store.put(1_u64, 0_u64);
    let mut waiting = Vec::new();
    while_looked_at(&store, 1, || {
        let put = |n| {
            Arc::downgrade(&store.upsert(1, Plain { bytes: 1 << 20, ..plain(n) }).new.expect("it is put"))
        };
        waiting.extend((0..4).map(put));
    });
    assert_eq!(live(&waiting), 4);
    store.put(1, 5);
    assert_eq!(live(&waiting), 0);
}

#[test]
fn nothing_outlives_the_map() {
    let mut store: Fixture<u64, u64> = Fixture::new((), NEVER);
    let mut all: Vec<_> = (0..1_000).map(|n| Arc::downgrade(&store.put(n % 7, n))).collect();
    all.push(Arc::downgrade(&store.put(8, 0)));
    store.flush();
    // Images before, tombstones, and what was replaced, by this thread and by one that is gone.
    all.extend((0..100).map(|n| Arc::downgrade(&store.put(n % 7, n))));
    store.remove(&8);
    let put = |n| Arc::downgrade(&store.put(n % 7, n));
    let others = std::thread::scope(|scope| scope.spawn(|| (0..100).map(put).collect::<Vec<_>>()).join());
    all.extend(others.expect("it does not panic"));
    while_looked_at(&store, 1, || all.extend((0..10).map(|n| Arc::downgrade(&store.put(1, n)))));
    drop(store);
    assert!(all.iter().all(|record| record.strong_count() == 0));
}

/// Neither what a group has replaced, nor what one has made that another write kept away.
#[test]
fn nothing_is_left_of_groups() {
    let content = Arc::new(());
    for is_dropped_at_once in [false, true] {
        let mut store: Fixture<u64, Arc<()>> = Fixture::new((), NEVER);
        for n in 0..20 {
            let mut part = GroupPart::new(&store.map);
            for key in [1, 2] {
                part.set(&key, Change::put(plain(content.clone())));
            }
            let is_late = n % 2 == 0;
            if is_late {
                store.put(1, content.clone());
            }
            let done = GroupTry::new().with(&mut part).run(&store.generations);
            assert!(
                matches!((&done, is_late), (Ok(()), false) | (Err(Rejected::By(Some(1))), true)),
                "{done:?}"
            );
            if n == 9 {
                store.flush();
                store.remove(&2);
            }
        }
        assert_eq!(store.map.len(), 2);
        if is_dropped_at_once {
            while_looked_at(&store, 1, || {
                let mut part = GroupPart::new(&store.map);
                part.set(&1, Change::put(plain(content.clone())));
                GroupTry::new().with(&mut part).run(&store.generations).expect("nobody is in the way");
            });
            assert!(Arc::strong_count(&content) > 3, "it waits");
        } else {
            store.flush();
            assert_eq!(Arc::strong_count(&content), 3);
        }
        drop(store);
        assert_eq!(Arc::strong_count(&content), 1);
    }
}
