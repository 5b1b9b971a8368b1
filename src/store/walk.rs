//! Walks: traces that are reached over associations.

use super::TraceStore;
use super::inner::Inner;
use crate::trace::{Trace, TraceId};
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::iter::FusedIterator;
use std::sync::Arc;
use std::{fmt, vec};

/// A trace reached by a [walk](TraceStore::walk).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Step {
    /// The trace reached.
    pub trace: Arc<Trace>,
    /// Number of links between the start and the trace: 1 or more.
    pub depth: usize,
    /// The trace that it was reached from: the start, or the trace of an earlier step.
    pub from: TraceId,
}

/// A breadth-first search over associations, from [`TraceStore::walk`]. This iterator searches only as far as it is
/// consumed: `take(50)` ends the search after 50 traces.
pub struct Walk<'a> {
    inner: &'a Inner,
    /// The partition that it stays in.
    within: Option<&'a str>,
    max_hops: usize,
    min_strength: f64,
    /// Each reached trace, with the trace it was reached from; the start maps to itself.
    reached: HashMap<TraceId, TraceId>,
    /// Reached traces with their depths, whose neighbours are not yet visited.
    queue: VecDeque<(TraceId, usize)>,
    /// The trace whose neighbours are being visited, its depth, and the remaining neighbours.
    at: (TraceId, usize),
    near: vec::IntoIter<Arc<Trace>>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        inner: &'a Inner,
        within: Option<&'a str>,
        start: TraceId,
        max_hops: usize,
        min_strength: f64,
    ) -> Self {
        Self {
            inner,
            within,
            max_hops,
            min_strength,
            reached: HashMap::from([(start, start)]),
            queue: VecDeque::from([(start, 0)]),
            at: (start, 0),
            near: Vec::new().into_iter(),
        }
    }

    /// Returns the ids on the path from the start to a trace that the walk has reached, both included; empty if the
    /// walk has not reached it. The cost is proportional to the length of the path.
    pub fn path(&self, to: TraceId) -> Vec<TraceId> {
        let mut path = Vec::new();
        let mut next = self.reached.get_key_value(&to);
        while let Some((id, from)) = next {
            path.push(*id);
            next = self.reached.get_key_value(from).filter(|_| from != id);
        }
        path.reverse();
        path
    }
}

impl Iterator for Walk<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            let (from, depth) = self.at;
            for trace in self.near.by_ref() {
                let id = trace.id();
                if let Entry::Vacant(new) = self.reached.entry(id) {
                    new.insert(from);
                    self.queue.push_back((id, depth + 1));
                    return Some(Step { trace, depth: depth + 1, from });
                }
            }
            // The queue is ordered by depth.
            self.at = self.queue.pop_front().filter(|(_, depth)| *depth < self.max_hops)?;
            self.near = self.inner.associated(self.at.0, self.min_strength, self.within).into_iter();
        }
    }
}

impl FusedIterator for Walk<'_> {}

impl fmt::Debug for Walk<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk").field("reached", &self.reached.len()).finish_non_exhaustive()
    }
}

impl TraceStore {
    /// Returns the traces reachable from a trace over associations, breadth first: each once, without the start, at
    /// most `max_hops` links away (usually 12). Traces weaker than `min_strength` now (usually 0.1), and those that are
    /// not [valid](crate::guide::memory#validity) any more, are neither returned nor passed through; the start itself
    /// may be so.
    ///
    /// The [`Walk`] is an iterator that continues the search as it is consumed: it may see writes that other threads
    /// make in the meantime. The cost is proportional to the number of links of the reached traces, plus about 100
    /// bytes for each of these traces.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// # let ids = store.insert_many(["tide", "bar", "pilot"].map(|what| NewTrace::semantic(json!(what))))?;
    /// let [tide, bar, pilot] = ids[..] else { unreachable!() };
    /// for _ in 0..3 {
    ///     store.co_activate(tide, bar)?; // three times together: associated
    ///     store.co_activate(bar, pilot)?;
    /// }
    /// let mut walk = store.walk(tide, 12, 0.1);
    /// let depths: Vec<_> = walk.by_ref().take(50).map(|step| step.depth).collect();
    /// assert_eq!(depths, [1, 2]);
    /// assert_eq!(walk.path(pilot), [tide, bar, pilot]);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    pub fn walk(&self, start: TraceId, max_hops: usize, min_strength: f64) -> Walk<'_> {
        Walk::new(self.inner(), None, start, max_hops, min_strength)
    }
}
