//! Finding keys by more than themselves: kept in step by the map's transitions.
//!
//! An index lists at least what it must: whoever reads it looks at the value of each key found, and takes what that
//! says. So a value is never found under what it is no more, and it is never missed under what it is, as long as the
//! index lists a key before its value says so, and takes it out only after.

use super::planted::{Mistake, planted};
use super::sync::ShardedMap;
use std::collections::BTreeSet;
use std::hash::Hash;

/// What a map tells an index.
pub trait Index<K, V> {
    /// `new` is about to take the place of `old`.
    fn enter(&self, _key: &K, _old: Option<&V>, _new: Option<&V>) {}

    /// `new` has taken the place of `old`. Called with the two swapped if it has not, after all.
    fn leave(&self, _key: &K, _old: Option<&V>, _new: Option<&V>) {}

    /// The key is about to get a cell, or has one.
    fn attach(&self, _key: &K) {}

    /// The key may have no cell any more: `has_cell` says so.
    fn detach(&self, _key: &K, _has_cell: impl Fn() -> bool) {}
}

/// None.
impl<K, V> Index<K, V> for () {}

/// Something that a value can be found by: a hash of it, and over how many lists its keys are spread, so that none
/// gets long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Term {
    /// Of two terms with one hash the keys are listed together.
    pub hash: u64,
    /// 1 or more, the same for each use of the term.
    pub lists: u16,
}

/// What terms a value can be found by.
pub trait HasTerms {
    /// Calls `each` with every term of `self` that `other` has not.
    fn terms_beyond(&self, other: Option<&Self>, each: impl FnMut(Term));
}

/// Keys by the terms of their values.
///
/// A posting is a multiset. Two transitions of a key, one that takes a term away and a later one that gives it back,
/// may come here in the other order: the term is there twice then and once after, but never less than once while a
/// value has it.
pub struct Terms<K> {
    postings: ShardedMap<(u64, u16), Vec<K>>,
}

impl<K: Ord + Hash + Clone> Terms<K> {
    /// An empty one.
    pub fn new() -> Self {
        Self { postings: ShardedMap::new() }
    }

    /// Number of keys that [`find`](Self::find) would return now, if none has two of its terms.
    pub fn count(&self, term: Term) -> usize {
        self.lists(term).filter_map(|list| self.postings.with(&list, Vec::len)).sum()
    }

    /// The keys under any of these terms, each once; at least those whose value has one of them all the while.
    pub fn find(&self, terms: &[Term]) -> Vec<K> {
        let mut found = Vec::new();
        for list in terms.iter().flat_map(|term| self.lists(*term)) {
            self.postings.with(&list, |posting| found.extend_from_slice(posting));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn lists(&self, term: Term) -> impl Iterator<Item = (u64, u16)> {
        (0..spread(term.lists)).map(move |list| (term.hash, list))
    }

    fn list(&self, term: Term, key: &K) -> (u64, u16) {
        (term.hash, (self.postings.hash(key) >> 48) as u16 % spread(term.lists))
    }

    fn add(&self, term: Term, key: &K) {
        self.postings.edit(&self.list(term, key), |posting| posting.push(key.clone()));
    }

    fn take(&self, term: Term, key: &K) {
        self.postings.edit_or_remove(&self.list(term, key), |posting| {
            if let Some(at) = posting.iter().rposition(|listed| listed == key) {
                posting.swap_remove(at);
            }
            posting.is_empty()
        });
    }
}

/// In a model one list is as good as many.
fn spread(lists: u16) -> u16 {
    if cfg!(loom) { 1 } else { lists.max(1) }
}

impl<K: Ord + Hash + Clone, V: HasTerms> Index<K, V> for Terms<K> {
    fn enter(&self, key: &K, old: Option<&V>, new: Option<&V>) {
        if let Some(new) = new {
            new.terms_beyond(old, |term| self.add(term, key));
        }
    }

    fn leave(&self, key: &K, old: Option<&V>, new: Option<&V>) {
        if let Some(old) = old {
            old.terms_beyond(new, |term| self.take(term, key));
        }
    }
}

/// A key that joins two nodes.
pub trait EdgeKey {
    /// What it joins.
    type Node: Eq + Ord + Hash + Clone;

    /// The two.
    fn nodes(&self) -> [Self::Node; 2];

    /// The key that joins these two, in either order.
    fn joining(a: &Self::Node, b: &Self::Node) -> Self;
}

/// Keys by either node that they join.
///
/// A key is listed from before its first value until its cell is taken out, that is until its removal has been
/// committed: so whoever captures finds what the sink may hold. Should its cell be taken out just then, whoever makes
/// it anew lists it before he leaves the generation.
pub struct Adjacency<K: EdgeKey> {
    /// The nodes that each node is joined with.
    nodes: ShardedMap<K::Node, BTreeSet<K::Node>>,
}

impl<K: EdgeKey> Adjacency<K> {
    /// An empty one.
    pub fn new() -> Self {
        Self { nodes: ShardedMap::new() }
    }

    /// The keys that join a node with others.
    pub fn of(&self, node: &K::Node) -> Vec<K> {
        let keys = |others: &BTreeSet<K::Node>| others.iter().map(|other| K::joining(node, other)).collect();
        self.nodes.with(node, keys).unwrap_or_default()
    }
}

/// Each node, with the other.
fn directions<K: EdgeKey>(key: &K) -> [(K::Node, K::Node); 2] {
    let [a, b] = key.nodes();
    [(a.clone(), b.clone()), (b, a)]
}

impl<K: EdgeKey, V> Index<K, V> for Adjacency<K> {
    fn attach(&self, key: &K) {
        for (node, other) in directions(key) {
            if self.nodes.with(&node, |others| others.contains(&other)) != Some(true) {
                self.nodes.edit(&node, |others| {
                    others.insert(other);
                });
            }
        }
    }

    fn detach(&self, key: &K, has_cell: impl Fn() -> bool) {
        for (node, other) in directions(key) {
            self.nodes.edit_or_remove(&node, |others| {
                // Asked under the lock of this list: who makes the cell anew after this looks here after that.
                if !has_cell() || planted(Mistake::DetachedUnasked) {
                    others.remove(&other);
                }
                others.is_empty()
            });
        }
    }
}

#[cfg(all(test, not(any(loom, crossbeam_loom))))]
mod tests {
    use super::{Term, Terms};

    #[test]
    fn keys_of_a_term_are_spread_over_its_lists() {
        let (terms, term) = (Terms::new(), Term { hash: 1, lists: 8 });
        (0..800_u64).for_each(|key| terms.add(term, &key));
        let lengths: Vec<_> =
            terms.lists(term).map(|list| terms.postings.with(&list, Vec::len).unwrap_or(0)).collect();
        assert_eq!((lengths.len(), lengths.iter().sum::<usize>(), terms.count(term)), (8, 800, 800));
        assert!(lengths.iter().all(|length| (20..400).contains(length)), "{lengths:?}");
        (0..800_u64).for_each(|key| terms.take(term, &key));
        assert!(terms.postings.keys().is_empty(), "an empty list does not stay");
    }
}
