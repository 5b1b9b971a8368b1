//! Finding traces by their properties.

use super::TraceStore;
use crate::memory::Order;
use crate::trace::{Tier, Trace, TraceType};
use crate::views::{Answer, Conditions, Search};
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::Ordering;

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
    conditions: Conditions,
    order: Order,
    limit: usize,
}

impl TraceStore {
    /// Returns a query without conditions: unless narrowed, it finds at most 100 traces of all, strongest first.
    pub fn query(&self) -> Query<'_> {
        Query { store: self, conditions: Conditions::default(), order: Order::Strength, limit: 100 }
    }
}

impl Query<'_> {
    /// Traces of this type; if called more than once, of any of the types.
    pub fn of_type(mut self, kind: TraceType) -> Self {
        self.conditions.types.push(kind);
        self
    }

    /// Traces with exactly this tag; if called more than once, with all of the tags.
    pub fn tagged(mut self, tag: impl Into<Box<str>>) -> Self {
        self.conditions.tags.push(tag.into());
        self
    }

    /// Traces of this partition. Default: of any partition.
    pub fn partition(mut self, partition: impl Into<Box<str>>) -> Self {
        self.conditions.partition = Some(partition.into());
        self
    }

    /// Traces in this [tier](Trace::tier), as last set; if called more than once, in any of the tiers.
    pub fn tier(mut self, tier: Tier) -> Self {
        self.conditions.tiers.push(tier);
        self
    }

    /// Traces that are unresolved, or with `false` those that are not. Default: both.
    pub fn unresolved(mut self, unresolved: bool) -> Self {
        self.conditions.unresolved = Some(unresolved);
        self
    }

    /// Traces created at this time or later.
    pub fn since(mut self, at: Timestamp) -> Self {
        self.conditions.since = Some(at.into());
        self
    }

    /// Traces created at this time or earlier.
    pub fn until(mut self, at: Timestamp) -> Self {
        self.conditions.until = Some(at.into());
        self
    }

    /// Traces with at least this strength now. Default: 0. NaN matches nothing.
    pub fn min_strength(mut self, strength: f64) -> Self {
        self.conditions.min_strength = strength;
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

    /// Runs the query and returns the matching traces. A write that returned before the call is seen; a trace that
    /// another thread changes during the call is matched by its state at some moment of the call.
    ///
    /// Looks at no more traces than needed: in the sort order until no later one can be among the results, or at each
    /// trace with the types, tags, partition and tiers asked for, where these are few. Besides, it looks at each trace
    /// that was changed so recently that the views lack the change, and in the order of strength at each trace once the
    /// clock has been set back. [`explain`](Self::explain) says how many.
    pub fn run(self) -> Vec<Arc<Trace>> {
        self.answer().traces
    }

    /// Runs the query, and returns one line that says how: from which end, at how many entries it looked, and how many
    /// of those are traces that were changed so recently that the views lack the change.
    ///
    /// ```
    /// # use mnemon::{NewTrace, Order, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// store.insert_many((0..1_000).map(|n| NewTrace::semantic(serde_json::json!(n))))?;
    /// let plan = store.query().order(Order::Recency).limit(5).explain();
    /// assert!(plan.starts_with("5 of 1000 traces"), "{plan}");
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    pub fn explain(&self) -> String {
        let Answer { traces, visited, unsettled, way, .. } = self.answer();
        let (found, all) = (traces.len(), self.store.len());
        format!("{found} of {all} traces, {way}: {visited} looked at, {unsettled} of them just changed")
    }

    fn answer(&self) -> Answer {
        let inner = self.store.inner();
        let search = || Search {
            conditions: &self.conditions,
            order: self.order,
            limit: self.limit,
            curve: inner.settings.curve,
            scoring: inner.scoring(inner.now()),
        };
        // The time is read while the views are held: none of what they show is of a later one.
        let answer = inner.state.ask(|unsettled, views| search().ask(unsettled, views));
        let mut answer = answer.unwrap_or_else(|| {
            let traces = inner.traces();
            search().scan(traces.keys().iter().filter_map(|id| traces.get(id)))
        });
        inner.visited.fetch_add(answer.visited as u64, Ordering::Relaxed);
        inner.state.correct(std::mem::take(&mut answer.late));
        if answer.is_out_of_time {
            inner.state.correct_all();
        }
        answer
    }
}
