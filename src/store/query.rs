//! Finding traces by their properties.

use super::TraceStore;
use crate::memory::{self, Scoring, Weighted, by_recency, by_score, by_strength};
use crate::protocol::Term;
use crate::trace::{Micros, Tier, Trace, TraceId, TraceType};
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Sort order of the results.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Order {
    /// Strongest first, by current strength.
    #[default]
    Strength,
    /// Most recently reinforced first. A time in the future, from a wrong clock, counts as now.
    Recency,
    /// Highest current retrieval score first: see [`Ranked`](crate::Ranked). Ties are ordered by strength, then by how
    /// recently the trace was reinforced.
    Score,
}

/// A query of the store, from [`TraceStore::query`]: a result meets every condition given.
///
/// ```
/// use mnemon::{NewTrace, TraceStore, TraceType};
///
/// let store = TraceStore::in_memory();
/// store.insert(NewTrace::episodic(serde_json::json!("the pilot called")).tag("harbour"))?;
/// store.insert(NewTrace::semantic(serde_json::json!("the bar is 4 m deep")).tags(["harbour", "depth"]))?;
/// let facts = store.query().of_type(TraceType::Semantic).tagged("harbour").min_strength(0.1).run();
/// assert_eq!(facts.len(), 1);
/// # Ok::<(), mnemon::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a query asks nothing until it is run"]
pub struct Query<'a> {
    store: &'a TraceStore,
    types: Vec<TraceType>,
    tags: Vec<Box<str>>,
    partition: Option<Box<str>>,
    tiers: Vec<Tier>,
    unresolved: Option<bool>,
    since: Option<Micros>,
    until: Option<Micros>,
    min_strength: f64,
    order: Order,
    limit: usize,
}

impl TraceStore {
    /// Returns a query without conditions: unless narrowed, it finds at most 100 traces of all, strongest first.
    pub fn query(&self) -> Query<'_> {
        Query {
            store: self,
            types: Vec::new(),
            tags: Vec::new(),
            partition: None,
            tiers: Vec::new(),
            unresolved: None,
            since: None,
            until: None,
            min_strength: 0.0,
            order: Order::Strength,
            limit: 100,
        }
    }
}

impl Query<'_> {
    /// Traces of this type; if called more than once, of any of the types.
    pub fn of_type(mut self, kind: TraceType) -> Self {
        self.types.push(kind);
        self
    }

    /// Traces with exactly this tag; if called more than once, with all of the tags.
    pub fn tagged(mut self, tag: impl Into<Box<str>>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Traces of this partition. Default: of any partition.
    pub fn partition(mut self, partition: impl Into<Box<str>>) -> Self {
        self.partition = Some(partition.into());
        self
    }

    /// Traces in this [tier](Trace::tier), as last set; if called more than once, in any of the tiers.
    pub fn tier(mut self, tier: Tier) -> Self {
        self.tiers.push(tier);
        self
    }

    /// Traces that are unresolved, or with `false` those that are not. Default: both.
    pub fn unresolved(mut self, unresolved: bool) -> Self {
        self.unresolved = Some(unresolved);
        self
    }

    /// Traces created at this time or later.
    pub fn since(mut self, at: Timestamp) -> Self {
        self.since = Some(at.into());
        self
    }

    /// Traces created at this time or earlier.
    pub fn until(mut self, at: Timestamp) -> Self {
        self.until = Some(at.into());
        self
    }

    /// Traces with at least this strength now. Default: 0. NaN matches nothing.
    pub fn min_strength(mut self, strength: f64) -> Self {
        self.min_strength = strength;
        self
    }

    /// Sort order of the results. Default: strongest first. Ties are ordered by id, smaller first.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Maximum number of results. Default: 100.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Runs the query and returns the matching traces. A trace that exists and meets the conditions from before the
    /// call until its end is included; a trace that another thread changes during the call is matched by its state at
    /// some moment of the call.
    ///
    /// Visits the traces of whichever given type, tag or partition has the fewest, or every trace if the query names
    /// none: [`Stats::entries_visited`](crate::Stats::entries_visited) counts them.
    pub fn run(self) -> Vec<Arc<Trace>> {
        let candidates = self.candidates();
        let inner = self.store.inner();
        inner.visited.fetch_add(candidates.len() as u64, Ordering::Relaxed);
        let scoring = inner.scoring(inner.now());
        let matching = candidates.iter().filter_map(|id| inner.traces().get(id));
        let matching = matching.filter(|trace| self.fits(trace));
        let mut found: Vec<_> = matching
            .filter_map(|trace| {
                let strength = inner.strength(&trace, scoring.at);
                (strength >= self.min_strength).then(|| self.pull(trace, strength, scoring))
            })
            .collect();
        let order = match self.order {
            Order::Strength => by_strength,
            Order::Recency => by_recency,
            Order::Score => by_score,
        };
        if found.len() > self.limit {
            if self.limit > 0 {
                found.select_nth_unstable_by(self.limit - 1, order);
            }
            found.truncate(self.limit);
        }
        found.sort_unstable_by(order);
        found.into_iter().map(|found| found.trace).collect()
    }

    /// Returns the id of every trace that can meet the conditions, each once.
    fn candidates(&self) -> Vec<TraceId> {
        let traces = self.store.inner().traces();
        let kinds = self.types.iter().map(|kind| memory::of_type(*kind)).collect();
        let others = self.tags.iter().map(|tag| memory::of_tag(tag));
        let others = others.chain(self.partition.iter().map(|name| memory::of_partition(name)));
        // Each of these is sufficient alone: all of its terms together include every match.
        let ways = others.map(|term| vec![term]).chain([kinds]).filter(|terms: &Vec<Term>| !terms.is_empty());
        let size = |terms: &Vec<Term>| terms.iter().map(|term| traces.index().count(*term)).sum::<usize>();
        match ways.min_by_key(size) {
            Some(terms) => traces.index().find(&terms),
            None => traces.keys(),
        }
    }

    fn fits(&self, trace: &Trace) -> bool {
        let any = |wanted: &[TraceType]| wanted.is_empty() || wanted.contains(&trace.trace_type());
        any(&self.types)
            && self.tags.iter().all(|tag| trace.has_tag(tag))
            && self.partition.as_deref().is_none_or(|partition| trace.partition() == partition)
            && (self.tiers.is_empty() || self.tiers.contains(&trace.tier()))
            && self.unresolved.is_none_or(|unresolved| trace.is_unresolved() == unresolved)
            && self.since.is_none_or(|since| trace.content.created_at >= since)
            && self.until.is_none_or(|until| trace.content.created_at <= until)
    }

    fn pull(&self, trace: Arc<Trace>, strength: f64, scoring: Scoring) -> Weighted {
        let log_score = match self.order {
            Order::Strength | Order::Recency => 0.0,
            Order::Score => scoring.log_score(&trace, strength, 1.0),
        };
        Weighted { strength, log_score, reinforced: scoring.reinforced(&trace), trace }
    }
}
