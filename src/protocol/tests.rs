//! What the core promises to one thread, step by step; what it promises to many is for the models.

use super::index::Index;
use super::{
    Adjacency, Change, EdgeKey, Generations, GroupPart, GroupTry, Head, Map, Notify, Opening, Record,
    Rejected, Transition,
};
use std::hash::Hash;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod garbage;

const NEVER: usize = usize::MAX;

/// A record that is just a value, and frees as many bytes as it is told.
#[derive(Clone, PartialEq, Debug)]
struct Plain<T> {
    head: Head<Self>,
    value: T,
    bytes: usize,
}

impl<T: Send + Sync + 'static> Record for Plain<T> {
    fn head(&self) -> &Head<Self> {
        &self.head
    }

    fn head_mut(&mut self) -> &mut Head<Self> {
        &mut self.head
    }

    fn freed_bytes(&self, _: Option<&Self>) -> usize {
        self.bytes
    }
}

impl<T> Deref for Plain<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

fn plain<T>(value: T) -> Plain<T> {
    Plain { head: Head::default(), value, bytes: 1 }
}

/// A map and its generations, of which the first is 1.
struct Fixture<K, T: Send + Sync + 'static, I = ()> {
    map: Map<K, Plain<T>, (), I>,
    generations: Arc<Generations<K>>,
    notify: Arc<Notify>,
}

impl<K, T, I> Fixture<K, T, I>
where
    K: Eq + Ord + Hash + Clone,
    T: Clone + Send + Sync + 'static,
    I: Index<K>,
{
    fn new(index: I, threshold: usize) -> Self {
        let notify = Arc::new(Notify::default());
        let generations = Generations::new(1, threshold, notify.clone(), None);
        Self { map: Map::new(index), generations, notify }
    }

    fn upsert(&self, key: K, value: Plain<T>) -> Transition<Plain<T>> {
        let put = |_: Option<&Arc<_>>| Ok::<_, ()>(Change::put(value.clone()));
        self.map.upsert(&self.generations, &key, put).expect("no generation is sealed here")
    }

    fn put(&self, key: K, value: T) -> Arc<Plain<T>> {
        self.upsert(key, plain(value)).new.expect("what was put")
    }

    fn remove(&self, key: &K) -> Option<Transition<Plain<T>>> {
        self.map.update::<_, ()>(&self.generations, key, |_| Ok(Change::Remove)).ok().flatten()
    }

    /// A flush whose commit succeeds: number of keys that were listed.
    fn flush(&mut self) -> usize {
        let (cut, (), _) = self.generations.cut_and(Opening::Open, || ());
        cut.keys.iter().for_each(|key| self.map.settle(key, cut.number, |_| ()));
        self.map.collect();
        cut.keys.len()
    }
}

#[test]
fn key_is_listed_once_a_generation() {
    let mut store = Fixture::new((), NEVER);
    store.put(1_u64, "a");
    store.put(1, "b");
    store.put(2, "a");
    let inside = store.generations.enter();
    assert_eq!((inside.number(), inside.dirty(), inside.is_sealed()), (1, 2, false));
    drop(inside);
    assert_eq!(store.flush(), 2);
    assert_eq!((store.generations.enter().number(), store.generations.enter().dirty()), (2, 0));
    store.put(1, "c");
    assert_eq!((store.flush(), store.flush()), (1, 0));
}

#[test]
fn the_first_write_of_a_generation_says_since_when_it_waits() {
    let mut store = Fixture::new((), NEVER);
    assert_eq!(store.generations.enter().first_write(), None);
    let before = Instant::now();
    store.put(1_u64, "a");
    let first = store.generations.enter().first_write();
    store.put(2, "a");
    assert!(first.is_some_and(|at| at >= before && at <= Instant::now()));
    assert_eq!(store.generations.enter().first_write(), first);
    store.flush();
    assert_eq!(store.generations.enter().first_write(), None);
}

#[test]
fn the_flusher_is_woken_by_the_first_write_and_when_so_many_entries_are_dirty() {
    let mut store = Fixture::new((), 3);
    for first in [1_u64, 4] {
        assert!(!store.notify.is_notified());
        store.put(first, "a");
        assert!(store.notify.is_notified());
        store.notify.sleep(None);
        store.put(2, "a");
        store.put(2, "b");
        assert!(!store.notify.is_notified());
        store.put(3, "a");
        assert!(store.notify.is_notified());
        store.notify.sleep(None);
        store.flush();
    }
}

/// Also before there was anybody to wake.
#[test]
fn a_flusher_that_was_rung_for_does_not_sleep_and_another_does() {
    let notify = Notify::default();
    notify.notify();
    notify.sleep(None);
    assert!(!notify.is_notified());
    let slept = |time| {
        let begun = Instant::now();
        notify.sleep(Some(time));
        begun.elapsed() >= time
    };
    assert!((0..10).any(|_| slept(Duration::from_millis(5))), "at times a sleeper wakes for no reason");
}

#[test]
fn what_was_removed_leaves_the_map_when_that_is_settled() {
    let mut store = Fixture::new((), NEVER);
    store.put(1_u64, "a");
    store.flush();
    assert!(store.remove(&1).is_some());
    assert_eq!(store.map.keys(), [1], "until then its removal is owed");
    assert!(store.map.len() == 0 && store.map.get(&1).is_none());
    store.flush();
    assert!(store.map.keys().is_empty());
}

#[test]
fn what_was_written_since_the_cut_is_left_to_the_next_settling() {
    let mut store = Fixture::new((), NEVER);
    store.put(1_u64, "a");
    let (cut, (), block) = store.generations.cut_and(Opening::Open, || ());
    drop(block);
    store.remove(&1);
    cut.keys.iter().for_each(|key| store.map.settle(key, cut.number, |_| ()));
    let (captured, ()) = store.map.capture(&1, cut.number, |_| ()).expect("its removal is in no cut yet");
    assert_eq!(captured.generation, 1);
    assert!(captured.value.is_some_and(|value| **value == "a"), "the image at the cut is there");
    store.flush();
    assert!(store.map.capture(&1, 2, |_| ()).is_none());
}

#[test]
fn capture_is_the_image_at_the_cut() {
    let store = Fixture::new((), NEVER);
    let captured = |store: &Fixture<u64, _>, cut| {
        let captured = store.map.capture(&1, cut, |_| ());
        captured.map(|(captured, ())| (captured.generation, captured.value.map(|value| **value)))
    };
    assert_eq!(captured(&store, 0), None);
    store.put(1, "a");
    assert_eq!(captured(&store, 0), Some((0, None)), "it was absent");
    store.put(1, "b");
    drop(store.generations.cut_and(Opening::Open, || ()));
    assert_eq!(captured(&store, 1), Some((1, Some("b"))));
    store.put(1, "c");
    store.put(1, "d");
    assert_eq!(captured(&store, 1), Some((1, Some("b"))));
    store.remove(&1);
    assert_eq!(captured(&store, 1), Some((1, Some("b"))));
    drop(store.generations.cut_and(Opening::Open, || ()));
    assert_eq!(captured(&store, 2), Some((2, None)), "it was removed");
    store.put(1, "e");
    assert_eq!(captured(&store, 2), Some((2, None)));
}

/// Of a key that is absent before and after, committed or not.
#[test]
fn group_that_makes_nothing_leaves_no_cell() {
    let store: Fixture<u64, u64> = Fixture::new((), NEVER);
    for n in 0..4 {
        let mut part = GroupPart::new(&store.map);
        part.set(&1, Change::put(plain(0)));
        part.set(&1, Change::Remove);
        part.set(&2, Change::put(plain(0)));
        if n % 2 == 0 {
            store.put(2, n);
        }
        let done = GroupTry::new().with(&mut part).run(&store.generations);
        assert_eq!(done.is_ok(), n % 2 == 1);
        assert_eq!((store.map.keys(), store.map.get(&1)), (vec![2], None));
    }
    store.put(1, 5);
    assert_eq!(store.map.len(), 2);
}

/// The keys that are attached.
#[derive(Default)]
struct Attached(std::sync::Mutex<std::collections::BTreeSet<u64>>);

impl Index<u64> for Attached {
    fn attach(&self, key: &u64) {
        self.0.lock().expect("nobody panics").insert(*key);
    }

    fn detach(&self, key: &u64, has_cell: impl Fn() -> bool) {
        if !has_cell() {
            self.0.lock().expect("nobody panics").remove(key);
        }
    }
}

/// While a group had a cell for a key that it only checked, nobody else could detach that.
#[test]
fn group_detaches_what_it_only_checked() {
    let store: Fixture<u64, u64, Attached> = Fixture::new(Attached::default(), NEVER);
    store.map.index().attach(&1);
    let mut part = GroupPart::new(&store.map);
    assert!(part.get(&1).is_none());
    part.set(&2, Change::put(plain(0)));
    GroupTry::new().with(&mut part).run(&store.generations).expect("nobody is in the way");
    assert_eq!(*store.map.index().0.lock().expect("nobody panics"), [2].into());
}

/// A record that is computed from is held by count, so none that is made meanwhile can be taken for it.
#[test]
fn address_that_comes_back_deceives_nobody() {
    let store: Fixture<u64, u64> = Fixture::new((), NEVER);
    store.put(1, 0);
    let mut tries = 0;
    let done = store.map.upsert::<_, ()>(&store.generations, &1, |old| {
        tries += 1;
        if tries == 1 {
            // Another writer, many times over: what was replaced is freed, and its memory used again.
            for n in 1..=1_000 {
                store.put(1, n);
                store.map.collect();
            }
        }
        Ok(Change::put(plain(old.map_or(0, |old| ***old + 1))))
    });
    assert!(done.is_ok_and(|done| done.new.is_some_and(|new| **new == 1_001)));
    assert_eq!(tries, 2, "the first found another record than it computed from");
}

#[test]
fn what_a_rejected_write_made_does_not_stay() {
    let store = Fixture::new((), NEVER);
    let rejected = store.map.upsert(&store.generations, &1_u64, |_| Err::<Change<Plain<&str>>, _>("no"));
    assert!(matches!(rejected, Err(Rejected::By("no"))));
    assert!(store.map.keys().is_empty());
    drop(store.generations.cut_and(Opening::Sealed, || ()));
    assert!(store.generations.enter().is_sealed());
    let rejected = store.map.upsert::<_, ()>(&store.generations, &1, |_| Ok(Change::put(plain("a"))));
    assert!(matches!(rejected, Err(Rejected::Sealed)));
    assert!(store.map.keys().is_empty() && store.map.len() == 0);
}

/// And is none of its dirty keys: the capture of what it follows from has made the same of it. It is captured and
/// settled all the same, should the store take writes again.
#[test]
fn what_follows_from_a_write_is_not_refused_by_a_sealed_generation() {
    let mut store = Fixture::new((), NEVER);
    store.put(1_u64, "a");
    store.put(2, "a");
    drop(store.generations.cut_and(Opening::Sealed, || ()));
    let follow = |key, change: fn() -> Change<Plain<&'static str>>| {
        store.map.follow(&store.generations, &key, |_| change())
    };
    assert!(follow(1, || Change::Remove) && follow(2, || Change::put(plain("b"))), "they have changed");
    assert!(!follow(1, || Change::Remove) && !follow(2, || Change::Keep) && !follow(3, || Change::Remove));
    assert_eq!((store.map.len(), store.map.keys().len()), (1, 2));
    let inside = store.generations.enter();
    assert_eq!((inside.dirty(), inside.first_write()), (0, None));
    drop(inside);
    let captured = |key| store.map.capture(&key, 1, |_| ()).and_then(|captured| captured.0.value);
    assert!([1, 2].map(captured).into_iter().all(|image| image.is_some_and(|image| **image == "a")));
    assert_eq!(store.flush(), 2);
    assert_eq!(store.map.keys(), [2]);
}

#[test]
fn a_transition_tells_what_was_there_and_whether_it_changed() {
    let store = Fixture::new((), NEVER);
    let a = store.put(1_u64, "a");
    let kept = store.map.upsert::<_, ()>(&store.generations, &1, |_| Ok(Change::Keep));
    assert!(kept.is_ok_and(|kept| kept.is_noop() && kept.old == Some(a.clone()) && kept.new == Some(a)));
    let again = store.upsert(1, plain("a"));
    assert!(!again.is_noop(), "another value, though an equal one");
    assert!(store.remove(&1).is_some_and(|gone| gone.old.is_some() && gone.new.is_none()));
    assert!(store.remove(&1).is_none() && store.remove(&2).is_none(), "nothing to remove");
    for key in [1, 3] {
        let nothing = store.map.upsert::<_, ()>(&store.generations, &key, |_| Ok(Change::Remove));
        assert!(nothing.is_ok_and(|nothing| nothing.is_noop()));
    }
    assert_eq!(store.generations.enter().dirty(), 1);
}

#[test]
fn fetching_yields_everything_in_order() {
    let store = Fixture::new((), 1_000);
    (0..100).filter(|key| key % 3 > 0).for_each(|key| drop(store.put(key, key)));
    let keys: Vec<u64> = (0..100).rev().collect();
    let yielded: Vec<u64> =
        store.map.fetching(&keys, |key| (key % 2 == 0).then_some(key), |_| 0).copied().collect();
    assert_eq!(yielded, keys);
}

#[test]
fn what_is_loaded_is_not_dirty_and_is_there_once() {
    let mut store = Fixture::new((), NEVER);
    assert!(store.map.load(1_u64, plain("a"), ()));
    assert!(!store.map.load(1, plain("b"), ()));
    assert_eq!((store.map.len(), store.map.get(&1).map(|value| **value), store.flush()), (1, Some("a"), 0));
}

/// Whoever comes second has listed the key in vain, and finds what the first has made.
#[test]
fn key_listed_in_vain_is_counted_and_captured_once() {
    let mut store: Fixture<u64, &str> = Fixture::new((), NEVER);
    let mut tries = 0;
    let done = store.map.upsert::<_, ()>(&store.generations, &1, |_| {
        tries += 1;
        if tries == 1 {
            store.put(1, "first");
        }
        Ok(Change::put(plain("second")))
    });
    assert!(done.is_ok_and(|done| done.old.is_some_and(|old| **old == "first")));
    assert_eq!(store.generations.enter().dirty(), 1);
    assert_eq!(store.flush(), 1);
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Pair(u8, u8);

impl EdgeKey for Pair {
    type Node = u8;

    fn nodes(&self) -> [u8; 2] {
        [self.0, self.1]
    }

    fn joining(a: &u8, b: &u8) -> Self {
        Self(*a.min(b), *a.max(b))
    }
}

#[test]
fn a_joint_is_found_from_both_ends_until_its_removal_is_settled() {
    let mut pairs = Fixture::new(Adjacency::new(), NEVER);
    pairs.put(Pair(1, 2), "a");
    assert!(pairs.map.load(Pair(1, 3), plain("b"), ()));
    let found = |pairs: &Fixture<Pair, &'static str, Adjacency<Pair>>| {
        [1, 2, 3].map(|node| pairs.map.index().of(&node))
    };
    let all = [vec![Pair(1, 2), Pair(1, 3)], vec![Pair(1, 2)], vec![Pair(1, 3)]];
    assert_eq!(found(&pairs), all);
    pairs.flush();
    pairs.remove(&Pair(1, 2));
    assert_eq!(found(&pairs), all, "its removal is owed");
    pairs.flush();
    assert_eq!(found(&pairs), [vec![Pair(1, 3)], vec![], vec![Pair(1, 3)]]);
    pairs.put(Pair(1, 2), "c");
    assert_eq!(found(&pairs), all);
}
