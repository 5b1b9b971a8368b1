//! Recall: finding traces by what they say and by their embeddings.

mod answer;
#[cfg(test)]
mod tests;

use super::{Partition, Query, TraceStore};
use crate::error::{Error, ErrorKind, Result};
use crate::recall::{Fusion, ScoreParts};
use crate::trace::{Micros, Tier, Trace, TraceId, TraceType};
use answer::Answering;
use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;

/// A question of the store's memory, from [`TraceStore::recall`].
///
/// ```
/// use mnemon::{NewTrace, TextIndex, TraceStore};
///
/// let store = TraceStore::builder().text_index(TextIndex::english()).in_memory()?;
/// let ana = store.insert(NewTrace::text("Ana said that the storm took the north quay").tag("harbour"))?;
/// store.insert(NewTrace::text("the pilot called at noon"))?;
/// let found = store.recall("what did Ana say about the storms?").tagged("harbour").run()?;
/// assert_eq!(found[0].trace.id(), ana);
/// assert_eq!(found[0].parts.relevance, 1.0);
/// # Ok::<(), mnemon::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a question is not asked until it is run"]
pub struct Recall<'a> {
    query: Query<'a>,
    text: Box<str>,
    near: Option<Box<[f32]>>,
    fusion: Fusion,
    weigh: Option<Weigh<'a>>,
    spread: f64,
    stale_ok: bool,
}

type Weigh<'a> = Arc<dyn Fn(&ScoreParts) -> f64 + Send + Sync + 'a>;

/// A trace that was [recalled](Recall::run).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recalled {
    /// The trace.
    pub trace: Arc<Trace>,
    /// The score: see [`ScoreParts`].
    pub score: f64,
    /// What the score is made of.
    pub parts: ScoreParts,
}

impl TraceStore {
    /// Returns a question of what the traces say: of the strings of their payloads, and of their tags. Words in
    /// quotation marks must stand in a row, in one string or tag; of the other words one is enough, and rare words
    /// count most. The [`TextIndex`](crate::TextIndex) says which words are the same.
    ///
    /// An empty text is for a question of embeddings alone: see [`near`](Recall::near).
    pub fn recall(&self, text: impl Into<Box<str>>) -> Recall<'_> {
        Recall { text: text.into(), ..Recall::of(self.query().limit(10)) }
    }

    /// Builds the text index anew, in the background: the next [`recall`](Self::recall) waits for that. Nothing else
    /// does. Does nothing without a [text index](crate::StoreBuilder::text_index).
    pub fn rebuild_text_index(&self) {
        self.state().read_texts_again();
    }

    /// Returns the number of traces that the text index still has to read after opening, or after it was built anew.
    /// Until there are none, a [`recall`](Self::recall) waits, and helps.
    pub fn text_index_backlog(&self) -> usize {
        self.state().left_to_read()
    }
}

impl Partition {
    /// See [`TraceStore::recall`].
    pub fn recall(&self, text: impl Into<Box<str>>) -> Recall<'_> {
        let recall = self.store().recall(text);
        Recall { query: recall.query.within(self.name()), ..recall }
    }
}

/// Conditions, which are those of a query.
macro_rules! as_in_query {
    ($($name:ident($argument:ident: $type:ty);)*) => {
        impl<'a> Recall<'a> {
            $(
                #[doc = concat!("Condition on what is found: see [`Query::", stringify!($name), "`].")]
                pub fn $name(mut self, $argument: $type) -> Self {
                    self.query = self.query.$name($argument);
                    self
                }
            )*
        }
    };
}

as_in_query! {
    of_type(kind: TraceType);
    tagged(tag: impl Into<Box<str>>);
    tagged_any(tags: impl IntoIterator<Item = impl Into<Box<str>>>);
    untagged(tag: impl Into<Box<str>>);
    parent(parent: TraceId);
    partition(partition: impl Into<Box<str>>);
    tier(tier: Tier);
    unresolved(unresolved: bool);
    since(at: Timestamp);
    until(at: Timestamp);
    min_strength(strength: f64);
    filter(passes: impl Fn(&Trace) -> bool + Send + Sync + 'a);
}

impl Recall<'_> {
    /// Maximum number of results. Default: 10.
    pub fn limit(mut self, limit: usize) -> Self {
        self.query = self.query.limit(limit);
        self
    }

    /// Traces whose embeddings are near to this one, by the cosine of the angle between them, together with those that
    /// the text finds: see [`fusion`](Self::fusion). Every embedding that meets the conditions is compared. Default:
    /// the text alone decides.
    ///
    /// ```
    /// use mnemon::{NewTrace, TextIndex, TraceStore};
    ///
    /// let store = TraceStore::builder().text_index(TextIndex::english()).in_memory()?;
    /// let gale = store.insert(NewTrace::text("a gale from the west").embedding([0.9, 0.1]))?;
    /// store.insert(NewTrace::text("bread and cheese").embedding([0.1, 0.9]))?;
    /// let found = store.recall("the storm").near([0.8, 0.2]).run()?;
    /// assert_eq!(found[0].trace.id(), gale);
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    pub fn near(mut self, embedding: impl Into<Box<[f32]>>) -> Self {
        self.near = Some(embedding.into());
        self
    }

    /// How the relevance of the text and the similarity of the embedding become one. Default:
    /// [half of each](Fusion::Weights).
    pub fn fusion(mut self, fusion: Fusion) -> Self {
        self.fusion = fusion;
        self
    }

    /// Lends a share of the score of each trace found, 0 to 1, to each of the traces
    /// [associated](TraceStore::associated) with it, which may be found by that alone, if they meet the conditions. The
    /// best traces lend, ten times as many as the limit and at least 100. Default: 0.
    pub fn spread(mut self, share: f64) -> Self {
        self.spread = share;
        self
    }
}

impl<'a> Recall<'a> {
    fn of(query: Query<'a>) -> Self {
        Self {
            query,
            text: Box::default(),
            near: None,
            fusion: Fusion::default(),
            weigh: None,
            spread: 0.0,
            stale_ok: false,
        }
    }

    /// Ranks by a number of your own for each trace, highest first; one for which it is NaN is not found. Every trace
    /// with a word of the question, or with an embedding that it is near to, is scored, outside any lock. Default: the
    /// score of [`ScoreParts`]. Anything [lent](Self::spread) is added to it.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TextIndex, TraceStore};
    /// # let store = TraceStore::builder().text_index(TextIndex::english()).in_memory()?;
    /// let found = store.recall("storm").weigh(|parts| parts.relevance * parts.strength).run()?;
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    pub fn weigh(mut self, weigh: impl Fn(&ScoreParts) -> f64 + Send + Sync + 'a) -> Self {
        self.weigh = Some(Arc::new(weigh));
        self
    }

    /// Does not look for traces whose texts were changed so recently that the index lacks them, some hundreds of writes
    /// at most in a store that runs: reading them takes a question some 20 microseconds each. Default: looks for them.
    pub fn stale_ok(mut self) -> Self {
        self.stale_ok = true;
        self
    }

    /// Asks the question, and returns what is found, best first. Equal scores are ordered by strength, recency and
    /// emotion, as in a [ranking](TraceStore::rank), then by smaller id.
    ///
    /// A write that returned before the call is seen. A trace that another thread changes meanwhile is found by its
    /// state at some moment of the call, and is returned as it was then; one that was removed is not found. What is so
    /// new that the index lacks it counts as if it had it. No writer waits.
    ///
    /// The cost is proportional to the number of traces that have each of the words, and to that of those that the
    /// question has to look at: a few times the limit, more where many match about as well. The first call after
    /// opening waits until the index has read what was loaded.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput) if the store has no [text index](crate::StoreBuilder::text_index), if
    /// the vector has another number of dimensions than the embeddings of the store, which it names both, or numbers
    /// that are not finite, or if a weight or a share is out of its range.
    pub fn run(&self) -> Result<Vec<Recalled>> {
        let reading = self.query.store.inner().settings.text_index.ok_or_else(no_index)?;
        self.check()?;
        Ok(Answering::begin(self, reading).answer())
    }

    fn check(&self) -> Result<()> {
        let inner = self.query.store.inner();
        if let Some(near) = &self.near {
            inner.check_dimensions("near", near.len())?;
            if let Some(at) = near.iter().position(|number| !number.is_finite()) {
                return Err(Error::invalid(&format!("near[{at}]"), near[at], "give finite numbers"));
            }
        }
        if let Fusion::Weights { text, vector } = self.fusion
            && !(text >= 0.0 && vector >= 0.0 && (text + vector).is_normal())
        {
            let given = format_args!("{text} and {vector}");
            return Err(Error::invalid("fusion", given, "give two weights of 0 or more, one of them more"));
        }
        if !(0.0..=1.0).contains(&self.spread) {
            return Err(Error::invalid("spread", self.spread, "give a number from 0 to 1"));
        }
        Ok(())
    }
}

/// The traces that a text finds, with their relevance, and the time that the answer is of: in a store without an index
/// as well.
pub(super) fn matching(query: Query<'_>, text: &str) -> (Micros, Vec<(Arc<Trace>, f64)>) {
    let reading = query.store.inner().settings.text_index.unwrap_or_default();
    let recall = Recall { text: text.into(), ..Recall::of(query) };
    Answering::begin(&recall, reading).all()
}

fn no_index() -> Error {
    let message = "recall refused: the store has no text index; open it with StoreBuilder::text_index";
    Error::new(ErrorKind::InvalidInput, message)
}

impl fmt::Debug for Recall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { query, text, near, fusion, weigh, spread, stale_ok } = self;
        f.debug_struct("Recall")
            .field("text", text)
            .field("query", query)
            .field("near", &near.as_ref().map(|near| near.len()))
            .field("fusion", fusion)
            .field("weigh", &weigh.is_some())
            .field("spread", spread)
            .field("stale_ok", stale_ok)
            .finish()
    }
}
