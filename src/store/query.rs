//! Finding traces by their properties.

use super::TraceStore;
use super::cursor::Cursor;
use crate::memory::Order;
use crate::trace::{Micros, Tier, Trace, TraceId, TraceType};
use crate::views::{Answer, Conditions, Search};
use jiff::Timestamp;
use std::fmt;
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
#[derive(Clone)]
#[must_use = "a query asks nothing until it is run"]
pub struct Query<'a> {
    pub(super) store: &'a TraceStore,
    pub(super) conditions: Conditions,
    filters: Vec<Filter<'a>>,
    order: Order,
    pub(super) limit: usize,
    after: Option<Cursor>,
    #[cfg(all(feature = "recall", not(loom)))]
    text: Option<Box<str>>,
}

type Filter<'a> = Arc<dyn Fn(&Trace) -> bool + Send + Sync + 'a>;

/// A part of the results of a query, from [`Query::page`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Page {
    /// The results, in the order asked for.
    pub traces: Vec<Arc<Trace>>,
    /// Where the next page begins, for [`Query::after`]; `None` if there is none. A page that is exactly full has it,
    /// though nothing may follow.
    pub next: Option<Cursor>,
}

impl TraceStore {
    /// Returns a query without conditions: unless narrowed and limited, it finds all traces that are
    /// [valid](crate::guide::memory#validity), strongest first.
    pub fn query(&self) -> Query<'_> {
        Query {
            store: self,
            conditions: Conditions::default(),
            filters: Vec::new(),
            order: Order::Strength,
            limit: usize::MAX,
            after: None,
            #[cfg(all(feature = "recall", not(loom)))]
            text: None,
        }
    }
}

impl<'a> Query<'a> {
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

    /// Traces with one of these tags; if called more than once, with one of the tags of each call. With no tags, none.
    pub fn tagged_any<S: Into<Box<str>>>(mut self, tags: impl IntoIterator<Item = S>) -> Self {
        self.conditions.any_tags.push(tags.into_iter().map(Into::into).collect());
        self
    }

    /// Traces without this tag; if called more than once, with none of the tags.
    pub fn untagged(mut self, tag: impl Into<Box<str>>) -> Self {
        self.conditions.no_tags.push(tag.into());
        self
    }

    /// Traces that say one of these words, and all of the phrases in quotation marks: what [`TraceStore::recall`]
    /// finds, in any order, such as [`Order::Relevance`]. Looks at every trace with one of the words, and in a store
    /// without a [text index](crate::StoreBuilder::text_index) reads every text, as English. If called more than once,
    /// the last text counts.
    ///
    /// ```
    /// use mnemon::{NewTrace, Order, TextIndex, TraceStore};
    ///
    /// let store = TraceStore::builder().text_index(TextIndex::english()).in_memory()?;
    /// store.insert_many(["a storm", "the storm of storms", "a calm"].map(NewTrace::text))?;
    /// assert_eq!(store.query().text("storms").order(Order::Created).run().len(), 2);
    /// let best = store.query().text("storms").order(Order::Relevance).limit(1).run();
    /// assert_eq!(best[0].payload().as_str(), "\"the storm of storms\"");
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    #[cfg(all(feature = "recall", not(loom)))]
    pub fn text(mut self, text: impl Into<Box<str>>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// Traces that were derived from this one: those that have it as [`parent`](Trace::parent).
    pub fn parent(mut self, parent: TraceId) -> Self {
        self.conditions.parent = Some(parent);
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

    /// Also traces that are not [valid](crate::guide::memory#validity) any more. Default: only those that are valid at
    /// the time of the query. Looks at each invalid trace, besides what it would look at anyway.
    pub fn include_invalid(mut self) -> Self {
        self.conditions.include_invalid = true;
        self
    }

    /// Traces for which the closure returns `true`, before the limit is applied; if called more than once, for which
    /// all closures do. It is asked last, outside any lock, and may be asked about a trace more than once. The query
    /// looks at more traces until enough pass: at all that meet the other conditions, if need be.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// store.insert_many((0..10).map(|depth| NewTrace::semantic(serde_json::json!({"depth": depth}))))?;
    /// let depth = |trace: &mnemon::Trace| trace.payload().get("depth").ok().flatten()?.as_u64();
    /// let deep = store.query().filter(|trace| depth(trace) > Some(6)).limit(5).run();
    /// assert_eq!(deep.len(), 3);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    pub fn filter(mut self, passes: impl Fn(&Trace) -> bool + Send + Sync + 'a) -> Self {
        self.filters.push(Arc::new(passes));
        self
    }

    /// Sort order of the results. Default: strongest first. Ties are ordered by id, smaller first.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Maximum number of results. Default: no maximum.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Results that come after those of an earlier page of the same query, in the order of that page.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Runs the query, and returns the results with the place where the next page begins.
    ///
    /// No page has what an earlier one had, whatever is written meanwhile, but for this: in an order by strength or
    /// score, a trace that was updated or reinforced meanwhile may come again. What is written after the first page may
    /// be on a later one, or on none. Strengths and scores are those of the time of the first page. In an order by
    /// strength, a page that is asked for more than ten minutes after the first looks at every trace that meets the
    /// conditions; in one by strength or score, every page looks at what the earlier ones had.
    ///
    /// In the order of relevance, which is relative to all texts of the store, every write of a text moves the others:
    /// a page may then have again what an earlier one had, or lack what none had.
    ///
    /// ```
    /// # use mnemon::{NewTrace, Order, TraceStore};
    /// # let store = TraceStore::in_memory();
    /// store.insert_many((0..5).map(|n| NewTrace::semantic(serde_json::json!(n))))?;
    /// let newest = || store.query().order(Order::Created).limit(3);
    /// let first = newest().page();
    /// let cursor = first.next.expect("there are more");
    /// let second = newest().after(cursor.to_string().parse()?).page(); // as text, through a client
    /// assert_eq!((first.traces.len(), second.traces.len(), second.next), (3, 2, None));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    pub fn page(self) -> Page {
        let (at, answer) = self.answer();
        let is_full = answer.found.len() >= self.limit;
        let order = self.sorted_by();
        let next = answer.found.last().filter(|_| is_full).map(|last| Cursor { order, at, key: last.key });
        Page { traces: answer.found.into_iter().map(|held| held.trace).collect(), next }
    }

    /// Returns an iterator over the results, which asks for them as it goes: in an order by recency or creation 1,024
    /// at a time, as [`page`](Self::page) does, otherwise, and with [invalid](Self::include_invalid) traces, all at
    /// once.
    pub fn iter(self) -> impl Iterator<Item = Arc<Trace>> + use<'a> {
        let at_once = match self.sorted_by() {
            _ if self.conditions.include_invalid => usize::MAX,
            Order::Recency | Order::Created => 1_024,
            Order::Strength | Order::Score | Order::Relevance => usize::MAX,
        };
        let (mut left, mut next) = (self.limit, Some(self.after));
        std::iter::from_fn(move || {
            let query = Self { limit: left.min(at_once), after: next.take()?, ..self.clone() };
            let page = query.page();
            left -= page.traces.len();
            next = page.next.map(Some).filter(|_| left > 0);
            Some(page.traces)
        })
        .flatten()
    }

    /// Returns the number of valid traces that meet the conditions, whatever the limit and the order. Without times, a
    /// least strength and [filters](Self::filter), it counts in the views, and looks at no trace but those just
    /// changed.
    pub fn count(&self) -> usize {
        let query = Self { order: Order::Created, limit: usize::MAX, after: None, ..self.clone() };
        #[cfg(all(feature = "recall", not(loom)))]
        if query.text.is_some() {
            return query.answer().1.found.len();
        }
        if !query.filters.is_empty() {
            return query.answer().1.found.len();
        }
        let inner = self.store.inner();
        let counted =
            inner.state.ask(|unsettled, views| query.search(inner.now(), usize::MAX).count(unsettled, views));
        match counted {
            Some((count, visited)) => {
                inner.visited.fetch_add(visited as u64, Ordering::Relaxed);
                count
            }
            None => query.answer().1.found.len(),
        }
    }

    /// Runs the query and returns the matching traces. A write that returned before the call is seen; a trace that
    /// another thread changes during the call is matched by its state at some moment of the call.
    ///
    /// Looks at no more traces than needed: in the sort order until no later one can be among the results, or at each
    /// trace with the types, tags, partition and tiers asked for, where these are few. Besides, it looks at each trace
    /// that was changed so recently that the views lack the change, and in the order of strength at each trace once the
    /// clock has been set back. [`explain`](Self::explain) says how many.
    pub fn run(self) -> Vec<Arc<Trace>> {
        self.page().traces
    }

    /// Runs the query, and returns one line that says how: from which end, at how many entries it looked, and how many
    /// of those are traces that were changed so recently that the views lack the change. With a [filter](Self::filter)
    /// it says this of the last time that it looked.
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
        let Answer { found, visited, unsettled, way, .. } = self.answer().1;
        let all = match &self.conditions.within {
            Some(partition) => self.store.query().partition(&**partition).include_invalid().count(),
            None => self.store.len(),
        };
        let found = found.len();
        format!("{found} of {all} traces, {way}: {visited} looked at, {unsettled} of them just changed")
    }

    /// Traces of this partition, whatever else is asked for.
    pub(super) fn within(mut self, partition: &str) -> Self {
        self.conditions.within = Some(partition.into());
        self
    }

    fn sorted_by(&self) -> Order {
        self.after.map_or(self.order, |after| after.order)
    }

    /// Returns the answer, and the time that it is of.
    fn answer(&self) -> (Micros, Answer) {
        let passes = |trace: &Trace| self.filters.iter().all(|passes| passes(trace));
        let mut limit =
            if self.filters.is_empty() { self.limit } else { self.limit.saturating_mul(4).max(64) };
        loop {
            let (at, mut answer) = self.ask(limit);
            let are_all = answer.found.len() < limit;
            answer.found.retain(|held| passes(&held.trace));
            if self.filters.is_empty() || are_all || answer.found.len() >= self.limit {
                answer.found.truncate(self.limit);
                return (at, answer);
            }
            // Of one moment altogether, so it begins again.
            limit = limit.saturating_mul(8);
        }
    }

    /// Returns the strength of a trace that meets all conditions, at a time.
    #[cfg(all(feature = "recall", not(loom)))]
    pub(super) fn admits(&self, trace: &Trace, at: Micros) -> Option<f64> {
        let strength = Search { order: Order::Score, ..self.search(at, 0) }.admits(trace)?;
        self.filters.iter().all(|passes| passes(trace)).then_some(strength)
    }

    /// Returns the time that the results are of: that of the first page.
    pub(super) fn time(&self, now: Micros) -> Micros {
        self.after.map_or(now, |after| after.at)
    }

    fn search(&self, now: Micros, limit: usize) -> Search<'_> {
        let inner = self.store.inner();
        Search {
            conditions: &self.conditions,
            order: self.sorted_by(),
            limit,
            after: self.after.map(|after| after.key),
            curve: inner.settings.curve,
            scoring: inner.scoring(self.time(now)),
        }
    }

    fn ask(&self, limit: usize) -> (Micros, Answer) {
        let inner = self.store.inner();
        #[cfg(all(feature = "recall", not(loom)))]
        if let Some(text) = &self.text {
            let alone = Self { text: None, filters: Vec::new(), ..self.clone() };
            let (now, found) = super::recall::matching(alone, text);
            let search = self.search(now, limit);
            inner.visited.fetch_add(found.len() as u64, Ordering::Relaxed);
            return (search.scoring.at, search.rank(found));
        }
        // The time is read while the views are held: none of what they show is of a later one.
        let answer = inner.state.ask(|unsettled, views| {
            let search = self.search(inner.now(), limit);
            (search.scoring.at, search.ask(unsettled, views))
        });
        let (at, mut answer) = answer.unwrap_or_else(|| {
            let traces = inner.traces();
            let search = self.search(inner.now(), limit);
            (search.scoring.at, search.scan(traces.keys().iter().filter_map(|id| traces.get(id))))
        });
        inner.visited.fetch_add(answer.visited as u64, Ordering::Relaxed);
        inner.state.correct(std::mem::take(&mut answer.late));
        if answer.is_out_of_time {
            inner.state.correct_all();
        }
        if answer.ends_are_behind {
            inner.state.correct_ends();
        }
        (at, answer)
    }
}

impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { conditions, filters, order, limit, after, .. } = self;
        let mut shown = f.debug_struct("Query");
        #[cfg(all(feature = "recall", not(loom)))]
        shown.field("text", &self.text);
        shown
            .field("conditions", conditions)
            .field("filters", &filters.len())
            .field("order", order)
            .field("limit", limit)
            .field("after", after)
            .finish()
    }
}
