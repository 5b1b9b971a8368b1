//! What the core promises to one thread, step by step; what it promises to many is for the models.

use super::index::Index;
use super::{Adjacency, Bell, Change, Clock, Cutter, Entry, HasTerms, Joins, Map, Opening, Refused};
use super::{Term, Terms, Transition};
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

const NEVER: usize = usize::MAX;

/// A map and its clock, whose first generation is 1.
struct Fixture<K, V, I> {
    map: Map<K, V, (), I>,
    clock: Arc<Clock<Arc<Entry<K, V, ()>>>>,
    cutter: Cutter<Arc<Entry<K, V, ()>>>,
    bell: Arc<Bell>,
}

impl<K, V, I> Fixture<K, V, I>
where
    K: Eq + Ord + Hash + Clone,
    V: Send + Sync + 'static,
    I: Index<K, V, ()>,
{
    fn new(index: I, threshold: usize) -> Self {
        let bell = Arc::new(Bell::default());
        let (clock, cutter) = Clock::new(1, threshold, bell.clone());
        Self { map: Map::new(index), clock, cutter, bell }
    }

    fn put(&self, key: K, value: V) -> Arc<V> {
        let value = Arc::new(value);
        let done = self.map.upsert::<_, ()>(&self.clock, &key, |_| Ok(Change::Put(value.clone())));
        assert!(done.is_ok(), "no generation is sealed here");
        value
    }

    fn remove(&self, key: &K) -> Option<Transition<V>> {
        self.map.alter::<_, ()>(&self.clock, key, |_| Ok(Change::Remove)).ok().flatten()
    }

    /// A flush whose commit succeeds: how many entries were captured.
    fn flush(&mut self) -> usize {
        let (cut, ()) = self.cutter.cut_and(Opening::Open, || ());
        cut.entries.iter().for_each(|entry| self.map.settle(entry, cut.number));
        cut.entries.len()
    }
}

#[test]
fn an_entry_is_listed_once_in_each_generation_that_it_is_written_in() {
    let mut store = Fixture::new((), NEVER);
    store.put(1_u64, "a");
    store.put(1, "b");
    store.put(2, "a");
    let inside = store.clock.enter();
    assert_eq!((inside.number(), inside.dirty(), inside.is_sealed()), (1, 2, false));
    drop(inside);
    assert_eq!(store.flush(), 2);
    assert_eq!((store.clock.enter().number(), store.clock.enter().dirty()), (2, 0));
    store.put(1, "c");
    assert_eq!((store.flush(), store.flush()), (1, 0));
}

#[test]
fn the_first_write_of_a_generation_says_since_when_it_waits() {
    let mut store = Fixture::new((), NEVER);
    assert_eq!(store.clock.enter().first_write(), None);
    let before = Instant::now();
    store.put(1_u64, "a");
    let first = store.clock.enter().first_write();
    store.put(2, "a");
    assert!(first.is_some_and(|at| at >= before && at <= Instant::now()));
    assert_eq!(store.clock.enter().first_write(), first);
    store.flush();
    assert_eq!(store.clock.enter().first_write(), None);
}

#[test]
fn the_flusher_is_woken_by_the_first_write_and_when_so_many_entries_are_dirty() {
    let mut store = Fixture::new((), 3);
    for first in [1_u64, 4] {
        assert!(!store.bell.is_rung());
        store.put(first, "a");
        assert!(store.bell.is_rung());
        store.bell.sleep(None);
        store.put(2, "a");
        store.put(2, "b");
        assert!(!store.bell.is_rung());
        store.put(3, "a");
        assert!(store.bell.is_rung());
        store.bell.sleep(None);
        store.flush();
    }
}

/// Also before there was anybody to wake.
#[test]
fn a_flusher_that_was_rung_for_does_not_sleep_and_another_does() {
    let bell = Bell::default();
    bell.ring();
    bell.sleep(None);
    assert!(!bell.is_rung());
    let slept = |time| {
        let begun = Instant::now();
        bell.sleep(Some(time));
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
    assert!(store.map.entry(&1).is_some(), "until then its removal is owed");
    assert_eq!((store.map.len(), store.map.get(&1)), (0, None));
    store.flush();
    assert!(store.map.entry(&1).is_none() && store.map.entries().is_empty());
}

#[test]
fn what_was_written_since_the_cut_is_left_to_the_next_settling() {
    let mut store = Fixture::new((), NEVER);
    store.put(1_u64, "a");
    let (cut, ()) = store.cutter.cut_and(Opening::Open, || ());
    store.remove(&1);
    cut.entries.iter().for_each(|entry| store.map.settle(entry, cut.number));
    let entry = store.map.entry(&1).expect("its removal is in no cut yet");
    assert_eq!(entry.capture(cut.number).as_deref(), Some(&"a"), "the image at the cut is there");
    store.flush();
    assert!(store.map.entry(&1).is_none());
}

/// Nothing of the crate holds on to it: what is replaced is freed some epochs later.
#[test]
fn the_image_before_is_given_up_when_settled() {
    let mut store = Fixture::new((), NEVER);
    let old = store.put(1_u64, "a");
    store.flush();
    store.put(1, "b");
    for _ in 0..1_000 {
        store.map.get(&2);
    }
    assert_eq!(Arc::strong_count(&old), 2, "a cut may need it");
    store.flush();
    while Arc::strong_count(&old) > 1 {
        store.put(2, "x");
        store.flush();
    }
}

#[test]
fn what_a_refused_write_made_does_not_stay() {
    let mut store = Fixture::new((), NEVER);
    let refused = store.map.upsert(&store.clock, &1_u64, |_| Err::<Change<&str>, _>("no"));
    assert!(matches!(refused, Err(Refused::By("no"))));
    assert!(store.map.entries().is_empty());
    store.cutter.cut_and(Opening::Sealed, || ());
    assert!(store.clock.enter().is_sealed());
    let refused = store.map.upsert::<_, ()>(&store.clock, &1, |_| Ok(Change::Put(Arc::new("a"))));
    assert!(matches!(refused, Err(Refused::Sealed)));
    assert!(store.map.entries().is_empty() && store.map.len() == 0);
}

#[test]
fn a_transition_tells_what_was_there_and_whether_it_changed() {
    let store = Fixture::new((), NEVER);
    let a = store.put(1_u64, "a");
    let kept = store.map.upsert::<_, ()>(&store.clock, &1, |_| Ok(Change::Keep));
    assert!(kept.is_ok_and(|kept| kept.is_void() && kept.old == Some(a.clone()) && kept.new == Some(a)));
    let again = store.map.upsert::<_, ()>(&store.clock, &1, |_| Ok(Change::Put(Arc::new("a"))));
    assert!(again.is_ok_and(|again| !again.is_void()), "another value, though an equal one");
    assert!(store.remove(&1).is_some_and(|gone| gone.old.is_some() && gone.new.is_none()));
    assert!(store.remove(&1).is_none() && store.remove(&2).is_none(), "nothing to remove");
    let nothing = store.map.upsert::<_, ()>(&store.clock, &1, |_| Ok(Change::Remove));
    assert!(nothing.is_ok_and(|nothing| nothing.is_void()));
    let nothing = store.map.upsert::<_, ()>(&store.clock, &3, |_| Ok(Change::Remove));
    assert!(nothing.is_ok_and(|nothing| nothing.is_void()));
    assert_eq!(store.clock.enter().dirty(), 1);
}

#[test]
fn what_is_loaded_is_not_dirty_and_is_there_once() {
    let mut store = Fixture::new((), NEVER);
    assert!(store.map.load(1_u64, Arc::new("a"), ()));
    assert!(!store.map.load(1, Arc::new("b"), ()));
    assert_eq!((store.map.len(), store.map.get(&1).as_deref(), store.flush()), (1, Some(&"a"), 0));
}

/// A value found by its letters.
struct Word(&'static str);

impl HasTerms for Word {
    fn terms_beyond(&self, other: Option<&Self>, mut each: impl FnMut(Term)) {
        let others = other.map_or("", |other| other.0);
        self.0.chars().filter(|letter| !others.contains(*letter)).for_each(|letter| each(term(letter)));
    }
}

fn term(letter: char) -> Term {
    Term { hash: u64::from(letter), lists: 8 }
}

type Words = Fixture<u64, Word, Terms<Entry<u64, Word, ()>>>;

fn found(words: &Words, letters: &[char]) -> Vec<u64> {
    let terms: Vec<_> = letters.iter().map(|letter| term(*letter)).collect();
    let mut keys: Vec<_> = words.map.index().find(&terms).iter().map(|entry| *entry.key()).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn each_entry_is_found_once_by_any_of_its_terms_however_many_lists_they_have() {
    let words: Words = Fixture::new(Terms::new(), NEVER);
    for key in 0..100 {
        words.put(key, Word(["ab", "bc"][key as usize % 2]));
    }
    assert!(words.map.load(100, Arc::new(Word("c")), ()));
    let count = |letter| words.map.index().count(term(letter));
    assert_eq!([count('a'), count('b'), count('c'), count('d')], [50, 100, 51, 0]);
    assert_eq!(found(&words, &['a', 'b']), (0..100).collect::<Vec<_>>());
    assert_eq!(found(&words, &['c']).len(), 51);
    words.put(0, Word("cd"));
    words.remove(&1);
    assert_eq!([count('a'), count('b'), count('c'), count('d')], [49, 98, 51, 1]);
    assert_eq!(found(&words, &['d', 'c', 'd']).len(), 51);
    assert_eq!(words.map.index().find(&[]).len(), 0);
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Pair(u8, u8);

impl Joins for Pair {
    type Node = u8;

    fn nodes(&self) -> [u8; 2] {
        [self.0, self.1]
    }
}

#[test]
fn a_joint_is_found_from_both_ends_until_its_removal_is_settled() {
    let mut pairs = Fixture::new(Adjacency::new(), NEVER);
    pairs.put(Pair(1, 2), "a");
    assert!(pairs.map.load(Pair(1, 3), Arc::new("b"), ()));
    let found = |pairs: &Fixture<Pair, &'static str, Adjacency<Pair, &'static str, ()>>| {
        [1, 2, 3].map(|node| {
            pairs.map.index().of(&node).iter().map(|entry| entry.key().clone()).collect::<Vec<_>>()
        })
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
