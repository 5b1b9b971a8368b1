//! Indexes, on the core.

use super::support::model;
use mnemon::model::{
    Adjacency, Change, EdgeKey, Generations, HasTerms, Head, Map, Notify, Opening, Record, Rejected, Term,
    Terms,
};
use std::sync::Arc;

/// A value that can be found by its term, if it has one.
#[derive(Clone)]
struct Tagged(Option<u64>, Head<Tagged>);

impl Record for Tagged {
    fn head(&self) -> &Head<Self> {
        &self.1
    }

    fn head_mut(&mut self) -> &mut Head<Self> {
        &mut self.1
    }
}

impl HasTerms for Tagged {
    fn terms_beyond(&self, other: Option<&Self>, mut each: impl FnMut(Term)) {
        if let Some(term) = self.0
            && other.is_none_or(|other| other.0 != self.0)
        {
            each(tag(term));
        }
    }
}

fn tag(term: u64) -> Term {
    Term { hash: term, lists: 1 }
}

struct Store {
    generations: Arc<Generations<u64>>,
    map: Map<u64, Tagged, (), Terms<u64>>,
}

impl Store {
    fn new() -> Arc<Self> {
        let (generations, _) = Generations::new(1, usize::MAX, Arc::new(Notify::default()));
        Arc::new(Self { generations, map: Map::new(Terms::new()) })
    }

    fn retag(&self, term: Option<u64>) {
        let put = |_: Option<&Arc<Tagged>>| Ok::<_, ()>(Change::Put(Tagged(term, Head::default())));
        let done: Result<_, Rejected<()>> = self.map.upsert(&self.generations, &1, put);
        assert!(done.is_ok(), "no generation is sealed here");
    }

    fn has(&self, term: u64) -> bool {
        self.map.get(&1).is_some_and(|value| value.0 == Some(term))
    }

    fn finds(&self, term: u64) -> bool {
        let found = self.map.index().find(&[tag(term)]);
        found.iter().any(|key| self.map.get(key).is_some_and(|value| value.0 == Some(term)))
    }
}

fn spawn(store: &Arc<Store>, work: impl FnOnce(&Store) + 'static) -> loom::thread::JoinHandle<()> {
    let store = store.clone();
    loom::thread::spawn(move || work(&store))
}

/// While a thread takes a term away for good, another finds the value by it, or sees it without.
#[test]
fn a_value_is_found_by_a_term_that_it_has() {
    model("a_value_is_found_by_a_term_that_it_has", None, || {
        let store = Store::new();
        store.retag(Some(7));
        let taking = spawn(&store, |store| store.retag(None));
        assert!(store.finds(7) || !store.has(7), "a value that has a term is found by it");
        taking.join().unwrap();
        assert_eq!(store.map.index().count(tag(7)), 0, "a value that has it no more is not listed");
    });
}

/// A thread takes a term away and gives it back; who has seen the value without it, and then with it, finds it.
#[test]
fn a_value_is_found_by_a_term_given_back() {
    model("a_value_is_found_by_a_term_given_back", Some(4), || {
        let store = Store::new();
        store.retag(Some(7));
        let taking = spawn(&store, |store| {
            store.retag(None);
            store.retag(Some(7));
        });
        if !store.has(7) && store.has(7) {
            assert!(store.finds(7), "nothing takes it again, so it is found");
        }
        taking.join().unwrap();
        assert!(store.finds(7), "a value that has a term is found by it");
        assert_eq!(store.map.index().count(tag(7)), 1, "and once");
    });
}

/// Two threads retag one value at the same time: whichever is last, it is found by its own term and no other.
#[test]
fn concurrent_retagging_leaves_one_term() {
    model("concurrent_retagging_leaves_one_term", Some(3), || {
        let store = Store::new();
        store.retag(Some(7));
        let other = spawn(&store, |store| store.retag(Some(8)));
        store.retag(None);
        store.retag(Some(7));
        other.join().unwrap();
        let counts = [7, 8].map(|term| store.map.index().count(tag(term)));
        let expected = [7, 8].map(|term| usize::from(store.has(term)));
        assert_eq!(counts, expected, "each value is listed under its term, and nowhere else");
        assert!(store.finds(7) != store.finds(8));
    });
}

/// A key that joins two nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
struct Joint;

impl EdgeKey for Joint {
    type Node = u8;

    fn nodes(&self) -> [u8; 2] {
        [1, 2]
    }

    fn joining(_: &u8, _: &u8) -> Self {
        Joint
    }
}

struct Joints {
    generations: Arc<Generations<Joint>>,
    map: Map<Joint, Tagged, (), Adjacency<Joint>>,
}

impl Joints {
    fn change(&self, change: impl Fn() -> Change<Tagged>) {
        let done: Result<_, Rejected<()>> = self.map.upsert(&self.generations, &Joint, |_| Ok(change()));
        assert!(done.is_ok(), "no generation is sealed here");
    }

    fn put_and_find(&self) {
        self.change(put);
        for node in Joint.nodes() {
            let found = self.map.index().of(&node);
            assert!(found.iter().any(|key| self.map.get(key).is_some()), "who has made it finds it");
        }
    }
}

fn put() -> Change<Tagged> {
    Change::Put(Tagged(None, Head::default()))
}

/// Two threads make a joint anew, while the flusher lets its removed entry go.
#[test]
fn a_joint_made_anew_is_found_from_both_ends() {
    model("a_joint_made_anew_is_found_from_both_ends", Some(4), || {
        let (generations, mut cutter) = Generations::new(1, usize::MAX, Arc::new(Notify::default()));
        let joints = Arc::new(Joints { generations, map: Map::new(Adjacency::new()) });
        joints.change(put);
        joints.change(|| Change::Remove);
        let cut = cutter.cut(Opening::Open);
        let makers = [0, 1].map(|_| {
            let joints = joints.clone();
            loom::thread::spawn(move || joints.put_and_find())
        });
        cut.keys.iter().for_each(|key| joints.map.settle(key, cut.number, |_| ()));
        for maker in makers {
            maker.join().unwrap();
        }
        assert_eq!(joints.map.keys().len(), 1);
    });
}
