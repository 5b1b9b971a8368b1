//! Finding traces by what they are.

use super::TraceStore;
use crate::core::Term;
use crate::memory::{self, Pull, Ranked, by_rank, by_recency};
use crate::trace::{Micros, Tier, Trace, TraceId, TraceType};
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What comes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Order {
    /// The strongest now.
    #[default]
    Strength,
    /// The most recently reinforced.
    Recency,
    /// The highest retrieval score now: see [`Ranked`].
    Score,
}

/// A question to the store, from [`TraceStore::query`]: every condition given must be met.
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
    /// A question to the store: every trace, the strongest first, at most 100 of them, unless it is narrowed.
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
    /// Of this type; given more than once, of any of them.
    pub fn of_type(mut self, kind: TraceType) -> Self {
        self.types.push(kind);
        self
    }

    /// With this very tag; given more than once, with all of them.
    pub fn tagged(mut self, tag: impl Into<Box<str>>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Of this partition; of any unless given.
    pub fn partition(mut self, partition: impl Into<Box<str>>) -> Self {
        self.partition = Some(partition.into());
        self
    }

    /// In this [tier](Trace::tier), as it was last set; given more than once, in any of them.
    pub fn tier(mut self, tier: Tier) -> Self {
        self.tiers.push(tier);
        self
    }

    /// Of which something is still open, or nothing; either unless given.
    pub fn unresolved(mut self, unresolved: bool) -> Self {
        self.unresolved = Some(unresolved);
        self
    }

    /// Made then or later.
    pub fn since(mut self, at: Timestamp) -> Self {
        self.since = Some(at.into());
        self
    }

    /// Made then or earlier.
    pub fn until(mut self, at: Timestamp) -> Self {
        self.until = Some(at.into());
        self
    }

    /// At least so strong now; 0 unless given. What is no number is met by none.
    pub fn min_strength(mut self, strength: f64) -> Self {
        self.min_strength = strength;
        self
    }

    /// What comes first; the strongest unless given. Of equals the smaller id.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// At most so many; 100 unless given.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The answer. A trace that is there and meets the conditions from before the call to its end is among it; one
    /// that another thread is changing meanwhile is judged by its state at some moment in between.
    ///
    /// Looks at the traces of that one of its types, tags and partition which has the fewest, and at every trace if
    /// it names none: [`Stats::entries_visited`](crate::Stats::entries_visited) counts them.
    pub fn run(self) -> Vec<Arc<Trace>> {
        let candidates = self.candidates();
        let engine = self.store.engine();
        engine.visited.fetch_add(candidates.len() as u64, Ordering::Relaxed);
        let now = engine.now();
        let matching = candidates.iter().filter_map(|id| engine.traces().get(id));
        let matching = matching.filter(|trace| self.fits(trace));
        let mut found: Vec<_> = matching
            .filter_map(|trace| {
                let strength = engine.strength(&trace, now);
                (strength >= self.min_strength).then(|| self.weighed(trace, strength, now))
            })
            .collect();
        let order = match self.order {
            Order::Recency => by_recency,
            Order::Strength | Order::Score => by_rank,
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

    /// Whatever can meet the conditions, each once.
    fn candidates(&self) -> Vec<TraceId> {
        let traces = self.store.engine().traces();
        let kinds = self.types.iter().map(|kind| memory::of_type(*kind)).collect();
        let others = self.tags.iter().map(|tag| memory::of_tag(tag));
        let others = others.chain(self.partition.iter().map(|name| memory::of_partition(name)));
        // Each of these is enough by itself: all of its terms together hold every match.
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

    fn weighed(&self, trace: Arc<Trace>, strength: f64, now: Micros) -> Pull {
        let weight = match self.order {
            Order::Strength | Order::Recency => strength,
            Order::Score => Ranked::new(trace.clone(), strength, now, false).score,
        };
        Pull { weight, trace }
    }
}
