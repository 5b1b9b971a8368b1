//! Finding links by the traces that they join: kept in step by the map's transitions.

use super::planted::{Mistake, planted};
use super::sync::ShardedMap;
use std::collections::BTreeSet;
use std::hash::Hash;

/// What a map tells an index.
pub trait Index<K> {
    /// The key is about to get a cell, or has one.
    fn attach(&self, _key: &K) {}

    /// The key may have no cell any more: `has_cell` says so.
    fn detach(&self, _key: &K, _has_cell: impl Fn() -> bool) {}
}

/// None.
impl<K> Index<K> for () {}

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

impl<K: EdgeKey> Index<K> for Adjacency<K> {
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
