//! Links: traces that were active together are associated (Hebb).

use super::TraceStore;
use super::inner::{Inner, not_found, reason};
use crate::error::{Error, Result};
use crate::memory::constants::MAX_ASSOCIATED;
use crate::protocol::planted::{Mistake, planted};
use crate::protocol::sync::{Ordering, fence};
use crate::protocol::{Change, Transition};
use crate::trace::{Incarnation, Link, LinkKey, LinkState, Trace, TraceId};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

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
        self.inner().co_activate(a, b, None)
    }

    /// Records that all of these traces were active together: each pair of them, as
    /// [`co_activate`](Self::co_activate) does. An id that is given twice counts once. Returns the number of pairs,
    /// which is what the call costs: 45 for 10 traces, 4,950 for 100.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// let recalled = store.insert_many(["tide", "moon", "pilot"].map(NewTrace::text))?;
    /// assert_eq!(store.co_activate_all(recalled)?, 3);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotFound`](crate::ErrorKind::NotFound) names a trace that is not in the store: then no pair is counted, unless
    /// the trace was removed during the call. Otherwise the errors of [`insert`](Self::insert).
    pub fn co_activate_all(&self, ids: impl IntoIterator<Item = TraceId>) -> Result<usize> {
        self.inner().co_activate_all(ids.into_iter().collect(), None)
    }

    /// Removes the link between two traces, and returns it; `None` if they have none. Neither trace changes.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) and [`Lagging`](crate::ErrorKind::Lagging), under the conditions of
    /// [`insert`](Self::insert).
    pub fn unlink(&self, a: TraceId, b: TraceId) -> Result<Option<Link>> {
        self.inner().unlink(a, b, None)
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
        inner.put_link(link, inner.births(link.ends, None)?)
    }

    /// Returns the traces associated with a trace, strongest first: at most `limit` of its at most 20 valid neighbours
    /// with the highest counts, without those weaker than `min_strength` now. Empty if the store does not hold the
    /// trace.
    ///
    /// The cost is proportional to the number of its links.
    pub fn associated(&self, id: TraceId, min_strength: f64, limit: usize) -> Vec<Arc<Trace>> {
        let mut near = self.inner().associated(id, min_strength, None);
        near.truncate(limit);
        near
    }

    /// Returns the links of a trace, ordered by the ids at their other ends, including links that do not associate
    /// yet.
    ///
    /// The cost is proportional to the number of links.
    pub fn links(&self, id: TraceId) -> Vec<Link> {
        let neighbours = self.inner().neighbours(id, None);
        neighbours.into_iter().map(|(link, _)| link).collect()
    }

    /// Returns the link between two traces, if they were ever active together.
    pub fn link(&self, a: TraceId, b: TraceId) -> Option<Link> {
        self.inner().link(a, b, None)
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

/// Links of all traces, or of those in one partition, to which others are as if they were not there.
type Within<'a> = Option<&'a str>;

impl Inner {
    pub(super) fn link(&self, a: TraceId, b: TraceId, within: Within<'_>) -> Option<Link> {
        let tie = self.links().get(&LinkKey::of(a, b)?)?;
        (self.births(tie.link.ends, within).is_ok_and(|births| tie.joins(births))).then_some(tie.link)
    }

    pub(super) fn co_activate_all(&self, ids: BTreeSet<TraceId>, within: Within<'_>) -> Result<usize> {
        self.check_writable()?;
        if let Some(missing) = ids.iter().find(|id| self.find(**id, within).is_none()) {
            return Err(not_found(*missing));
        }
        let ids: Vec<_> = ids.into_iter().collect();
        let mut pairs = 0;
        for (n, a) in ids.iter().enumerate() {
            for b in &ids[n + 1..] {
                self.co_activate(*a, *b, within)?;
                pairs += 1;
            }
        }
        Ok(pairs)
    }

    pub(super) fn unlink(&self, a: TraceId, b: TraceId, within: Within<'_>) -> Result<Option<Link>> {
        self.check_writable()?;
        let Some(ends) = LinkKey::of(a, b) else { return Ok(None) };
        let Ok(births) = self.births(ends, within) else { return Ok(None) };
        let done = self.links().update(&self.state.generations, &ends, |tie| {
            Ok(if tie.joins(births) { Change::Remove } else { Change::Keep })
        });
        let done = done.map_err(reason)?.filter(|done| done.new.is_none());
        Ok(done.and_then(|done| done.old).map(|tie| tie.link))
    }

    pub(super) fn co_activate(&self, a: TraceId, b: TraceId, within: Within<'_>) -> Result<Link> {
        self.state.check_lag()?;
        let ends = ends_of(a, b)?;
        loop {
            let (births, now) = (self.births(ends, within)?, self.now());
            let done = self.links().upsert(&self.state.generations, &ends, |old| {
                // A link of other incarnations is out of date, or this call is: in the second case the link stays, and
                // counts.
                if old.is_some_and(|tie| !tie.joins(births)) && !self.are_still(ends, births) {
                    return Ok(Change::Keep);
                }
                let old = old.filter(|tie| tie.joins(births)).map(|tie| tie.link);
                Ok(Change::put(LinkState::new(Link::counted(old, ends, now), births)))
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
        self.births(ends, None).is_ok_and(|now| now.iter().zip(births).all(|(now, was)| now.is(was)))
    }

    /// Returns the current incarnations of the two traces, or an error that names the missing one.
    pub(super) fn births(&self, ends: LinkKey, within: Within<'_>) -> Result<[Incarnation; 2]> {
        let [a, b] = ends.ids();
        let birth = |id| self.find(id, within).map(|trace| trace.birth()).ok_or_else(|| not_found(id));
        Ok([birth(a)?, birth(b)?])
    }

    pub(super) fn find(&self, id: TraceId, within: Within<'_>) -> Option<Arc<Trace>> {
        self.traces().get(&id).filter(|trace| within.is_none_or(|within| trace.partition() == within))
    }

    /// Returns the links of a trace, each with the trace at the other end.
    pub(super) fn neighbours(&self, id: TraceId, within: Within<'_>) -> Vec<(Link, Arc<Trace>)> {
        let Some(trace) = self.find(id, within) else { return Vec::new() };
        let keys = self.links().index().of(&id);
        let ties = keys.iter().filter_map(|ends| self.links().get(ends));
        let ties = ties.filter(|tie| tie.touches(id, trace.birth()));
        ties.filter_map(|tie| {
            let other = self.find(tie.link.other(id)?, within)?;
            tie.touches(other.id(), other.birth()).then_some((tie.link, other))
        })
        .collect()
    }

    /// Returns the associated traces, strongest first.
    pub(super) fn associated(&self, id: TraceId, min_strength: f64, within: Within<'_>) -> Vec<Arc<Trace>> {
        let now = self.now();
        let mut near = self.neighbours(id, within);
        near.retain(|(link, trace)| link.is_associated() && trace.is_valid(now));
        // A time in the future comes from a wrong clock: it must not rank before the others until then.
        near.sort_by_key(|(link, trace)| (Reverse((link.count, link.last_at.min(now))), trace.id()));
        near.truncate(MAX_ASSOCIATED);
        let near = near.into_iter().map(|(_, trace)| (self.strength(&trace, now), trace));
        let mut near: Vec<_> = near.filter(|(strength, _)| *strength >= min_strength).collect();
        near.sort_by(|(a, of_a), (b, of_b)| b.total_cmp(a).then_with(|| of_a.id().cmp(&of_b.id())));
        near.into_iter().map(|(_, trace)| trace).collect()
    }
}
