//! Links: what was active together is associated (Hebb).

use super::TraceStore;
use super::engine::{Engine, not_found, reason};
use crate::core::planted::{Mistake, planted};
use crate::core::sync::{Ordering, fence};
use crate::core::{Change, Transition};
use crate::error::{Error, Result};
use crate::memory::constants::MAX_ASSOCIATED;
use crate::memory::{Pull, by_rank};
use crate::trace::{Birth, Ends, Link, Tie, Trace, TraceId};
use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What a co-activation did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CoActivation {
    /// How often the two have been active together by now.
    pub count: u32,
    /// Whether this was the time that made them associated: the third.
    pub formed: bool,
}

/// A trace that a [walk](TraceStore::walk) came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Step {
    /// The trace.
    pub trace: Arc<Trace>,
    /// Over how many links.
    pub depth: usize,
    /// From the start to this trace, both included.
    pub path: Vec<TraceId>,
}

impl TraceStore {
    /// Notes that two traces were active together. Three times make them associated. One record of its own changes,
    /// and one row: neither trace becomes dirty.
    ///
    /// Should one of the two be removed meanwhile and another of its id be inserted, the call may have counted for the
    /// trace that was before it counts for the one that is.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// let tide = store.insert(NewTrace::semantic(serde_json::json!("tide")))?;
    /// let moon = store.insert(NewTrace::semantic(serde_json::json!("moon")))?;
    /// for _ in 0..3 {
    ///     store.co_activate(tide, moon)?;
    /// }
    /// let near: Vec<_> = store.associated(tide, 0.0, 20).iter().map(|trace| trace.id()).collect();
    /// assert_eq!(near, [moon]);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) names the trace that is not in the store;
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the two are one; otherwise as for
    /// [`insert`](Self::insert). Nothing is changed.
    pub fn co_activate(&self, a: TraceId, b: TraceId) -> Result<CoActivation> {
        self.shared().admit()?;
        self.engine().co_activate(a, b)
    }

    /// Puts a link, with its count and times, in the place of any that there is between its two traces: for what
    /// another store knows. What two traces do here is [noted](Self::co_activate).
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) names the trace that is not in the store; otherwise as for
    /// [`insert`](Self::insert). Nothing is changed.
    pub fn put_link(&self, link: Link) -> Result<()> {
        self.shared().admit()?;
        let engine = self.engine();
        engine.put_link(link, engine.births(link.ends)?)
    }

    /// The traces associated with one, the strongest first: at most `limit` of its at most 20 neighbours with the
    /// highest counts, none weaker than `min_strength` now. None if the store does not hold the trace.
    ///
    /// Costs in proportion to its links.
    pub fn associated(&self, id: TraceId, min_strength: f64, limit: usize) -> Vec<Arc<Trace>> {
        let mut near = self.engine().associated(id, min_strength);
        near.truncate(limit);
        near.into_iter().map(|near| near.trace).collect()
    }

    /// The traces that one leads to over associations, breadth first: each once, without the start, at most
    /// `max_hops` links away (12 is usual). What is weaker than `min_strength` now (0.1 is usual) is neither given
    /// nor passed; the start itself may be.
    ///
    /// Costs in proportion to the links of the traces on the way, and for each trace to the length of its path.
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
    /// let steps = store.walk(tide, 12, 0.1);
    /// assert_eq!(steps.last().map(|step| &step.path[..]), Some(&[tide, bar, pilot][..]));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    pub fn walk(&self, start: TraceId, max_hops: usize, min_strength: f64) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        // From each trace reached to its step; the start has none.
        let mut reached = HashMap::from([(start, None)]);
        let mut queue = VecDeque::from([(start, 0)]);
        while let Some((id, depth)) = queue.pop_front() {
            if depth == max_hops {
                break;
            }
            for Pull { trace, .. } in self.engine().associated(id, min_strength) {
                let next = trace.id();
                if reached.contains_key(&next) {
                    continue;
                }
                let from = reached.get(&id).copied().flatten();
                let mut path = from.map_or_else(|| vec![start], |at: usize| steps[at].path.clone());
                path.push(next);
                reached.insert(next, Some(steps.len()));
                steps.push(Step { trace, depth: depth + 1, path });
                queue.push_back((next, depth + 1));
            }
        }
        steps
    }

    /// The links of a trace, in the order of the ids at their other ends; those too that do not associate yet.
    ///
    /// Costs in proportion to their number.
    pub fn links(&self, id: TraceId) -> Vec<Link> {
        let neighbours = self.engine().neighbours(id);
        neighbours.into_iter().map(|(link, _)| link).collect()
    }

    /// The link between two traces, if they were ever active together.
    pub fn link(&self, a: TraceId, b: TraceId) -> Option<Link> {
        let engine = self.engine();
        let tie = engine.links().get(&Ends::of(a, b)?)?;
        (engine.births(tie.link.ends).is_ok_and(|births| tie.joins(births))).then_some(tie.link)
    }

    /// How many links the store holds: one load. A removal that is going on in another thread may have taken its
    /// trace and not yet all its links.
    pub fn link_count(&self) -> usize {
        self.engine().links().len()
    }
}

impl Engine {
    fn co_activate(&self, a: TraceId, b: TraceId) -> Result<CoActivation> {
        let Some(ends) = Ends::of(a, b) else {
            return Err(Error::invalid("b", format_args!("{b}, as a is"), "give two traces"));
        };
        loop {
            let (births, now) = (self.births(ends)?, self.now());
            let done = self.links().upsert(&self.shared.clock, &ends, |old| {
                // A link of other traces is one of the past, or it is we who are late: then it stays, and counts.
                if old.is_some_and(|tie| !tie.joins(births)) && !self.are_still(ends, births) {
                    return Ok(Change::Keep);
                }
                let old = old.filter(|tie| tie.joins(births)).map(|tie| tie.link);
                let link = Link {
                    ends,
                    count: old.map_or(1, |link| link.count.saturating_add(1)),
                    first_at: old.map_or(now, |link| link.first_at),
                    last_at: now,
                };
                Ok(Change::Put(Tie::new(link, births)))
            });
            let Transition { new, .. } = done.map_err(reason)?;
            if self.look_again(ends, births)? {
                let link = new.map(|tie| tie.link);
                return Ok(CoActivation {
                    count: link.map_or(0, |link| link.count),
                    formed: link.is_some_and(|link| link.forms_now()),
                });
            }
        }
    }

    /// After a link of these traces was put in: whether they are still there; if not, it is taken out again.
    pub(super) fn look_again(&self, ends: Ends, births: [Birth; 2]) -> Result<bool> {
        // With the fence in `drop_links`: whoever removes one of the traces sees the link, or we see that.
        fence(Ordering::SeqCst);
        if self.are_still(ends, births) || planted(Mistake::NoSecondLook) {
            return Ok(true);
        }
        let undone = self.links().alter::<_, Error>(&self.shared.clock, &ends, |tie| {
            Ok(if tie.joins(births) { Change::Remove } else { Change::Keep })
        });
        undone.map_err(reason)?;
        Ok(false)
    }

    fn are_still(&self, ends: Ends, births: [Birth; 2]) -> bool {
        self.births(ends).is_ok_and(|now| now.iter().zip(births).all(|(now, was)| now.is(was)))
    }

    /// Which traces these are now, or which of them is not there.
    pub(super) fn births(&self, ends: Ends) -> Result<[Birth; 2]> {
        let [a, b] = ends.both();
        let birth = |id| self.traces().get(&id).map(|trace| trace.birth()).ok_or_else(|| not_found(id));
        Ok([birth(a)?, birth(b)?])
    }

    /// The links of a trace, each with the trace at the other end.
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

    /// The associated traces, with their strengths, the strongest first.
    pub(super) fn associated(&self, id: TraceId, min_strength: f64) -> Vec<Pull> {
        let now = self.now();
        let mut near = self.neighbours(id);
        near.retain(|(link, _)| link.is_associated());
        near.sort_by_key(|(link, trace)| (Reverse((link.count, link.last_at)), trace.id()));
        near.truncate(MAX_ASSOCIATED);
        let near = near.into_iter().map(|(_, trace)| Pull { weight: self.strength(&trace, now), trace });
        let mut near: Vec<_> = near.filter(|near| near.weight >= min_strength).collect();
        near.sort_by(by_rank);
        near
    }
}
