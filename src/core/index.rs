//! Finding entries by more than their key: kept in step by the map's transitions themselves.
//!
//! An index holds at least what it must: whoever reads it looks at each entry found, and takes what its value
//! says. So a value is never found under what it is no more, and it is never missed under what it is, as long as
//! the index lists an entry before its value says so, and takes it out only after.

use super::map::Entry;
use super::raw::pin;
use super::sync::Table;
use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

/// What a map tells an index.
pub trait Index<K, V, S> {
    /// `new` is about to take the place of `old`.
    fn enter(&self, _entry: &Arc<Entry<K, V, S>>, _old: Option<&V>, _new: Option<&V>) {}

    /// `new` has taken the place of `old`. Called with the two swapped if it has not, after all.
    fn leave(&self, _entry: &Arc<Entry<K, V, S>>, _old: Option<&V>, _new: Option<&V>) {}

    /// The map holds the entry, and somebody is about to give it a value.
    fn attach(&self, _entry: &Arc<Entry<K, V, S>>) {}

    /// The map holds the entry no more: it is retired.
    fn detach(&self, _entry: &Arc<Entry<K, V, S>>) {}
}

/// None.
impl<K, V, S> Index<K, V, S> for () {}

/// Something that a value can be found by: a hash of it, and over how many lists its entries are spread, so that
/// none gets long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Term {
    /// Of two terms with one hash the entries are listed together.
    pub hash: u64,
    /// 1 or more, the same for each use of the term.
    pub lists: u16,
}

/// What terms a value can be found by.
pub trait HasTerms {
    /// Calls `each` with every term of `self` that `other` has not.
    fn terms_beyond(&self, other: Option<&Self>, each: impl FnMut(Term));
}

/// A list of the entries of some term.
type Posting<E> = Vec<Arc<E>>;

/// Entries by the terms of their values.
///
/// A posting is a multiset. Two transitions of an entry, one that takes a term away and a later one that gives it
/// back, may come here in the other order: the term is there twice then and once after, but never less than once
/// while a value has it.
pub struct Terms<E> {
    postings: Table<(u64, u16), Posting<E>>,
}

impl<E> Terms<E> {
    /// An empty one.
    pub fn new() -> Self {
        Self { postings: Table::new() }
    }

    /// How many entries [`find`](Self::find) would answer now.
    pub fn count(&self, term: Term) -> usize {
        self.lists(term).filter_map(|key| self.postings.look(&key, Vec::len)).sum()
    }

    /// The entries under any of these terms, each once; at least those whose value has one of them all the while.
    pub fn find(&self, terms: &[Term]) -> Vec<Arc<E>> {
        let mut found = Vec::new();
        for key in terms.iter().flat_map(|term| self.lists(*term)) {
            self.postings.look(&key, |posting| found.extend_from_slice(posting));
        }
        if cfg!(loom) {
            // In the order of listing: that of addresses is another one in each execution.
            let mut seen = HashSet::new();
            found.retain(|entry| seen.insert(Arc::as_ptr(entry)));
        } else {
            found.sort_unstable_by_key(Arc::as_ptr);
            found.dedup_by(|a, b| Arc::ptr_eq(a, b));
        }
        found
    }

    fn lists(&self, term: Term) -> impl Iterator<Item = (u64, u16)> {
        (0..spread(term.lists)).map(move |list| (term.hash, list))
    }

    fn key(&self, term: Term, entry: &Arc<E>) -> (u64, u16) {
        let place = (Arc::as_ptr(entry).addr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        (term.hash, place as u16 % spread(term.lists))
    }

    fn add(&self, term: Term, entry: &Arc<E>) {
        self.postings.edit(&self.key(term, entry), |posting| posting.push(entry.clone()));
    }

    fn take(&self, term: Term, entry: &Arc<E>) {
        self.postings.edit_or_remove(&self.key(term, entry), |posting| {
            if let Some(at) = posting.iter().rposition(|held| Arc::ptr_eq(held, entry)) {
                posting.swap_remove(at);
            }
            posting.is_empty()
        });
    }
}

/// In a model one list is as good as many, and does not depend on where memory is.
fn spread(lists: u16) -> u16 {
    if cfg!(loom) { 1 } else { lists.max(1) }
}

impl<K, V: HasTerms, S> Index<K, V, S> for Terms<Entry<K, V, S>> {
    fn enter(&self, entry: &Arc<Entry<K, V, S>>, old: Option<&V>, new: Option<&V>) {
        if let Some(new) = new {
            new.terms_beyond(old, |term| self.add(term, entry));
        }
    }

    fn leave(&self, entry: &Arc<Entry<K, V, S>>, old: Option<&V>, new: Option<&V>) {
        if let Some(old) = old {
            old.terms_beyond(new, |term| self.take(term, entry));
        }
    }
}

/// A key that joins two nodes.
pub trait Joins {
    /// What it joins.
    type Node: Eq + Ord + Hash + Clone;

    /// The two.
    fn nodes(&self) -> [Self::Node; 2];
}

/// Entries by either node that their key joins.
///
/// An entry is listed from before its first value until it leaves the map, that is until its removal has been
/// committed: so whoever captures finds what the sink may hold.
pub struct Adjacency<K: Joins, V, S> {
    nodes: Table<K::Node, Neighbours<K, V, S>>,
}

/// The entries of a node, by the node at their other end.
type Neighbours<K, V, S> = BTreeMap<<K as Joins>::Node, Arc<Entry<K, V, S>>>;

impl<K: Joins, V, S> Adjacency<K, V, S> {
    /// An empty one.
    pub fn new() -> Self {
        Self { nodes: Table::new() }
    }

    /// The entries that join a node with others.
    pub fn of(&self, node: &K::Node) -> Vec<Arc<Entry<K, V, S>>> {
        self.nodes.look(node, |others| others.values().cloned().collect()).unwrap_or_default()
    }
}

/// Each node, with the other.
fn directions<K: Joins>(key: &K) -> [(K::Node, K::Node); 2] {
    let [a, b] = key.nodes();
    [(a.clone(), b.clone()), (b, a)]
}

impl<K: Joins, V: Send + Sync + 'static, S> Index<K, V, S> for Adjacency<K, V, S> {
    fn attach(&self, entry: &Arc<Entry<K, V, S>>) {
        for (node, other) in directions(entry.key()) {
            let is_it = |held: &Arc<_>| Arc::ptr_eq(held, entry);
            if self.nodes.look(&node, |others| others.get(&other).is_some_and(is_it)) == Some(true) {
                continue;
            }
            let pin = pin();
            self.nodes.edit(&node, |others| {
                // Retired meanwhile, it has been or will be detached, and another may be here in its place. Who
                // attached that one found the map without this one: the lock of this list passes that on.
                if !entry.is_retired(&pin) {
                    others.insert(other, entry.clone());
                }
            });
            if entry.is_retired(&pin) {
                // The list may have been made for it, and stay empty.
                self.nodes.edit_or_remove(&node, |others| others.is_empty());
            }
        }
    }

    fn detach(&self, entry: &Arc<Entry<K, V, S>>) {
        for (node, other) in directions(entry.key()) {
            self.nodes.edit_or_remove(&node, |others| {
                if others.get(&other).is_some_and(|held| Arc::ptr_eq(held, entry)) {
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
    use std::sync::Arc;

    #[test]
    fn the_entries_of_a_term_are_spread_over_its_lists() {
        let (terms, term) = (Terms::new(), Term { hash: 1, lists: 8 });
        let entries: Vec<_> = (0..800_u64).map(Arc::new).collect();
        entries.iter().for_each(|entry| terms.add(term, entry));
        let lengths: Vec<_> =
            terms.lists(term).map(|key| terms.postings.look(&key, Vec::len).unwrap_or(0)).collect();
        assert_eq!((lengths.len(), lengths.iter().sum::<usize>(), terms.count(term)), (8, 800, 800));
        assert!(lengths.iter().all(|length| (20..400).contains(length)), "{lengths:?}");
        entries.iter().for_each(|entry| terms.take(term, entry));
        assert!(terms.postings.values().is_empty(), "an empty list does not stay");
    }
}
