//! Links: traces that were active together are associated (Hebb).

use super::TraceStore;
use super::inner::{Inner, not_found, reason};
use crate::error::{Error, Result};
use crate::memory::constants::MAX_ASSOCIATED;
use crate::memory::{Weighted, by_strength};
use crate::protocol::planted::{Mistake, planted};
use crate::protocol::sync::{Ordering, fence};
use crate::protocol::{Change, Transition};
use crate::trace::{Incarnation, Link, LinkKey, LinkState, Trace, TraceId};
use std::cmp::Reverse;
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
    max_hops: usize,
    min_strength: f64,
    /// Each reached trace, with the trace it was reached from; the start maps to itself.
    reached: HashMap<TraceId, TraceId>,
    /// Reached traces with their depths, whose neighbours are not yet visited.
    queue: VecDeque<(TraceId, usize)>,
    /// The trace whose neighbours are being visited, its depth, and the remaining neighbours.
    at: (TraceId, usize),
    near: vec::IntoIter<Weighted>,
}

impl Walk<'_> {
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
            for Weighted { trace, .. } in self.near.by_ref() {
                let id = trace.id();
                if let Entry::Vacant(new) = self.reached.entry(id) {
                    new.insert(from);
                    self.queue.push_back((id, depth + 1));
                    return Some(Step { trace, depth: depth + 1, from });
                }
            }
            // The queue is ordered by depth.
            self.at = self.queue.pop_front().filter(|(_, depth)| *depth < self.max_hops)?;
            self.near = self.inner.associated(self.at.0, self.min_strength).into_iter();
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
    /// Records that two traces were active together, and returns their link. Three co-activations make them
    /// associated. Changes one link record and one row: neither trace becomes dirty.
    ///
    /// If one of the two traces is removed during the call, and another one with its id inserted, the call may count
    /// for the earlier trace before it counts for the later one.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// let tide = store.insert(NewTrace::semantic(serde_json::json!("tide")))?;
    /// let moon = store.insert(NewTrace::semantic(serde_json::json!("moon")))?;
    /// assert!(!store.co_activate(tide, moon)?.is_associated());
    /// store.co_activate(tide, moon)?;
    /// assert!(store.co_activate(tide, moon)?.is_associated());
    /// let near: Vec<_> = store.associated(tide, 0.0, 20).iter().map(|trace| trace.id()).collect();
    /// assert_eq!(near, [moon]);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) names the trace that is not in the store;
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if both ids are the same; otherwise the errors of
    /// [`insert`](Self::insert). Nothing is changed.
    pub fn co_activate(&self, a: TraceId, b: TraceId) -> Result<Link> {
        self.state().check_lag()?;
        self.inner().co_activate(a, b)
    }

    /// Stores a link with its count and times, replacing any link between its two traces. For links known from another
    /// store; co-activations in this store are recorded with [`co_activate`](Self::co_activate).
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) names the trace that is not in the store; otherwise the errors of
    /// [`insert`](Self::insert). Nothing is changed.
    pub fn put_link(&self, link: Link) -> Result<()> {
        self.state().check_lag()?;
        let inner = self.inner();
        inner.put_link(link, inner.births(link.ends)?)
    }

    /// Returns the traces associated with a trace, strongest first: at most `limit` of its at most 20 neighbours with
    /// the highest counts, without those weaker than `min_strength` now. Empty if the store does not hold the trace.
    ///
    /// The cost is proportional to the number of its links.
    pub fn associated(&self, id: TraceId, min_strength: f64, limit: usize) -> Vec<Arc<Trace>> {
        let mut near = self.inner().associated(id, min_strength);
        near.truncate(limit);
        near.into_iter().map(|near| near.trace).collect()
    }

    /// Returns the traces reachable from a trace over associations, breadth first: each once, without the start, at
    /// most `max_hops` links away (usually 12). Traces weaker than `min_strength` now (usually 0.1) are neither
    /// returned nor passed through; the start itself may be weaker.
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
        Walk {
            inner: self.inner(),
            max_hops,
            min_strength,
            reached: HashMap::from([(start, start)]),
            queue: VecDeque::from([(start, 0)]),
            at: (start, 0),
            near: Vec::new().into_iter(),
        }
    }

    /// Returns the links of a trace, ordered by the ids at their other ends, including links that do not associate
    /// yet.
    ///
    /// The cost is proportional to the number of links.
    pub fn links(&self, id: TraceId) -> Vec<Link> {
        let neighbours = self.inner().neighbours(id);
        neighbours.into_iter().map(|(link, _)| link).collect()
    }

    /// Returns the link between two traces, if they were ever active together.
    pub fn link(&self, a: TraceId, b: TraceId) -> Option<Link> {
        let inner = self.inner();
        let tie = inner.links().get(&LinkKey::of(a, b)?)?;
        (inner.births(tie.link.ends).is_ok_and(|births| tie.joins(births))).then_some(tie.link)
    }

    /// Returns the number of links in the store: one load. While another thread removes a trace, the count may still
    /// include some of its links although the trace is gone.
    pub fn link_count(&self) -> usize {
        self.inner().links().len()
    }
}

pub(super) fn ends_of(a: TraceId, b: TraceId) -> Result<LinkKey> {
    LinkKey::of(a, b).ok_or_else(|| Error::invalid("b", format_args!("{b}, as a is"), "give two traces"))
}

impl Inner {
    fn co_activate(&self, a: TraceId, b: TraceId) -> Result<Link> {
        let ends = ends_of(a, b)?;
        loop {
            let (births, now) = (self.births(ends)?, self.now());
            let done = self.links().upsert(&self.state.generations, &ends, |old| {
                // A link of other incarnations is out of date, or this call is: in the second case the link stays, and
                // counts.
                if old.is_some_and(|tie| !tie.joins(births)) && !self.are_still(ends, births) {
                    return Ok(Change::Keep);
                }
                let old = old.filter(|tie| tie.joins(births)).map(|tie| tie.link);
                Ok(Change::Put(LinkState::new(Link::counted(old, ends, now), births)))
            });
            let Transition { new, .. } = done.map_err(reason)?;
            if let Some(tie) = new.filter(|_| self.look_again(ends, births)) {
                return Ok(tie.link);
            }
        }
    }

    /// Called after a link between these traces was stored. Returns whether they are still present; if not, removes
    /// the link.
    pub(super) fn look_again(&self, ends: LinkKey, births: [Incarnation; 2]) -> bool {
        // Pairs with the fence in `drop_links`: either a thread that removes one of the traces sees the link, or this
        // one sees that the trace is gone.
        if !planted(Mistake::LinkNotFenced) {
            fence(Ordering::SeqCst);
        }
        if self.are_still(ends, births) || planted(Mistake::NoSecondLook) {
            return true;
        }
        self.links().follow(&self.state.generations, &ends, |tie| {
            if tie.joins(births) { Change::Remove } else { Change::Keep }
        });
        false
    }

    fn are_still(&self, ends: LinkKey, births: [Incarnation; 2]) -> bool {
        self.births(ends).is_ok_and(|now| now.iter().zip(births).all(|(now, was)| now.is(was)))
    }

    /// Returns the current incarnations of the two traces, or an error that names the missing one.
    pub(super) fn births(&self, ends: LinkKey) -> Result<[Incarnation; 2]> {
        let [a, b] = ends.ids();
        let birth = |id| self.traces().get(&id).map(|trace| trace.birth()).ok_or_else(|| not_found(id));
        Ok([birth(a)?, birth(b)?])
    }

    /// Returns the links of a trace, each with the trace at the other end.
    fn neighbours(&self, id: TraceId) -> Vec<(Link, Arc<Trace>)> {
        let Some(trace) = self.traces().get(&id) else { return Vec::new() };
        let keys = self.links().index().of(&id);
        let ties = keys.iter().filter_map(|ends| self.links().get(ends));
        let ties = ties.filter(|tie| tie.touches(id, trace.birth()));
        ties.filter_map(|tie| {
            let other = self.traces().get(&tie.link.other(id)?)?;
            tie.touches(other.id(), other.birth()).then_some((tie.link, other))
        })
        .collect()
    }

    /// Returns the associated traces with their strengths, strongest first.
    pub(super) fn associated(&self, id: TraceId, min_strength: f64) -> Vec<Weighted> {
        let now = self.now();
        let mut near = self.neighbours(id);
        near.retain(|(link, _)| link.is_associated());
        // A time in the future comes from a wrong clock: it must not rank before the others until then.
        near.sort_by_key(|(link, trace)| (Reverse((link.count, link.last_at.min(now))), trace.id()));
        near.truncate(MAX_ASSOCIATED);
        let scoring = self.scoring(now);
        let near = near.into_iter().map(|(_, trace)| Weighted {
            strength: self.strength(&trace, now),
            log_score: 0.0,
            reinforced: scoring.reinforced(&trace),
            trace,
        });
        let mut near: Vec<_> = near.filter(|near| near.strength >= min_strength).collect();
        near.sort_by(by_strength);
        near
    }
}
