//! The record: one memory trace, its parts, and the rules for their values.
//!
//! Knows nothing of threads, files or SQL. A [`Trace`] is immutable; the store replaces it as a whole.

mod edit;
mod id;
mod kind;
mod link;
mod names;
mod new;
mod parts;
mod payload;
#[cfg(feature = "serde")]
mod serialize;
mod setters;

pub use edit::TraceEdit;
pub use id::TraceId;
pub use kind::{Origin, Tier, TraceType};
pub use link::Link;
pub use new::NewTrace;
pub use payload::Payload;

pub(crate) use crate::clock::Micros;
#[cfg(all(any(feature = "sqlite", feature = "postgres", all(test, feature = "snapshot")), not(loom)))]
pub(crate) use crate::clock::timestamp;
#[cfg(feature = "legion")]
pub(crate) use link::ASSOCIATED_AT;
pub(crate) use link::{LinkKey, LinkState};
pub(crate) use new::Defaults;
pub(crate) use parts::{Content, Dynamics, Incarnation, MAX_REVISION, SharedContent, name as checked_name};

use crate::protocol::{Head, Record};
use jiff::Timestamp;
use std::fmt;

/// One memory: its payload, strength and origin. Immutable: a write to the store makes a new `Trace`, and
/// one that you hold does not change.
///
/// Cloning copies the numbers and shares the rest. Strengths range from 0 to 1; times are UTC, in
/// microseconds.
#[derive(Clone)]
pub struct Trace {
    head: Head<Self>,
    id: TraceId,
    pub(crate) content: SharedContent,
    pub(crate) numbers: Dynamics,
}

impl Trace {
    fn new(id: TraceId, content: Content, numbers: Dynamics) -> Self {
        Self { head: Head::default(), id, content: SharedContent::new(content), numbers }
    }

    /// The trace's id. Never changes.
    pub fn id(&self) -> TraceId {
        self.id
    }

    pub(crate) fn birth(&self) -> Incarnation {
        self.content.birth
    }

    /// Marks its content as what its row holds. One that others have too, such as a backend that keeps traces, is copied
    /// first: whoever has theirs may be of another row.
    pub(crate) fn mark_stored(&mut self) {
        SharedContent::make_mut(&mut self.content).stored.set();
    }

    /// The same as a later state of another: it has that one's links.
    #[cfg(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom)))]
    pub(crate) fn continuing(&self, other: &Self) -> Self {
        let content = Content { birth: other.birth(), ..Content::clone(&self.content) };
        Self { content: SharedContent::new(content), ..self.clone() }
    }

    /// Returns this trace with other numbers.
    pub(crate) fn renumbered(&self, numbers: Dynamics) -> Self {
        Self { numbers, ..self.clone() }
    }

    /// Returns this trace as the next state of another one with its id, or `None` if no field differs.
    pub(crate) fn succeeding(&self, old: &Self) -> Option<Self> {
        let mut numbers = Dynamics { revision: old.numbers.revision, ..self.numbers };
        let is_same = self.content == old.content;
        if is_same && numbers == old.numbers {
            return None;
        }
        numbers.revision = numbers.revision.saturating_add(1).min(MAX_REVISION);
        let content = Content { birth: old.birth(), ..Content::clone(&self.content) };
        let content = if is_same { old.content.clone() } else { SharedContent::new(content) };
        Some(Self { content, numbers, ..self.clone() })
    }

    /// The type of memory. Only [`replace`](crate::TraceStore::replace) changes it.
    pub fn trace_type(&self) -> TraceType {
        self.content.kind
    }

    /// The content, as JSON.
    pub fn payload(&self) -> &Payload {
        &self.content.payload
    }

    /// The embedding for similarity search, if one was given.
    pub fn embedding(&self) -> Option<&[f32]> {
        self.content.rare.embedding.as_deref()
    }

    /// The stored strength, from 0 to 1, as of [`last_decayed`](Self::last_decayed).
    pub fn strength(&self) -> f64 {
        self.numbers.strength
    }

    /// The highest strength so far, from 0 to 1: decay is computed from it.
    pub fn peak_strength(&self) -> f64 {
        self.numbers.peak_strength
    }

    /// The exponent of the decay, 0 or more: 0 never fades.
    pub fn base_decay_rate(&self) -> f64 {
        self.numbers.base_decay_rate
    }

    /// Emotional valence, from -1 (unpleasant) to 1 (pleasant).
    pub fn emotional_valence(&self) -> f64 {
        self.numbers.emotional_valence
    }

    /// Emotional intensity, from 0 to 1.
    pub fn emotional_intensity(&self) -> f64 {
        self.numbers.emotional_intensity
    }

    /// The tags, sorted and without duplicates.
    pub fn tags(&self) -> impl ExactSizeIterator<Item = &str> {
        self.content.names.tags.iter().map(|tag| &**tag)
    }

    /// Whether the trace has exactly this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.content.names.tags.binary_search_by(|own| (**own).cmp(tag)).is_ok()
    }

    /// The trace's origin. Only [`replace`](crate::TraceStore::replace) changes it.
    pub fn origin(&self) -> Origin {
        self.content.origin
    }

    /// The agent that the trace came from, if known.
    pub fn source_agent(&self) -> Option<&str> {
        self.content.rare.source_agent.as_deref()
    }

    /// The trace's partition. Only [`replace`](crate::TraceStore::replace) changes it.
    pub fn partition(&self) -> &str {
        &self.content.names.partition
    }

    /// The time of creation. Only [`replace`](crate::TraceStore::replace) changes it.
    pub fn created_at(&self) -> Timestamp {
        self.content.created_at.into()
    }

    /// The time of the last reinforcement, or of creation if there was none.
    pub fn last_reinforced(&self) -> Timestamp {
        self.numbers.last_reinforced.into()
    }

    /// The time as of which the stored [`strength`](Self::strength) was computed.
    pub fn last_decayed(&self) -> Timestamp {
        self.numbers.last_decayed.into()
    }

    /// Number of reinforcements.
    pub fn reinforcement_count(&self) -> u32 {
        self.numbers.reinforcement_count
    }

    /// Confidence of the agent in this memory, from 0 to 1.
    pub fn confidence(&self) -> f64 {
        self.numbers.confidence
    }

    /// The tier, as last [set](crate::TraceStore::update_tiers).
    pub fn tier(&self) -> Tier {
        self.numbers.tier
    }

    /// The id of the key that the host encrypted the payload with, if it did.
    pub fn encryption_key_id(&self) -> Option<&str> {
        self.content.rare.encryption_key_id.as_deref()
    }

    /// The trace that this one was derived from, if any.
    pub fn parent(&self) -> Option<TraceId> {
        self.content.rare.parent
    }

    /// The traces derived from this one, in the order given.
    pub fn children(&self) -> &[TraceId] {
        &self.content.rare.children
    }

    /// The end of the trace's [validity](crate::guide::memory#validity), if it has one: from then on queries leave it
    /// out, unless they [ask for it](crate::Query::include_invalid).
    pub fn valid_until(&self) -> Option<Timestamp> {
        self.content.rare.end.map(|end| end.at.into())
    }

    /// The trace that this one is marked as superseded by, whether or not the store holds that one. A superseded trace
    /// has an end of its [validity](Self::valid_until).
    pub fn superseded_by(&self) -> Option<TraceId> {
        self.content.rare.end?.superseded_by
    }

    /// Whether the trace is valid at a time: before the [end](Self::valid_until) of its validity, if it has one.
    pub fn is_valid_at(&self, at: Timestamp) -> bool {
        self.is_valid(at.into())
    }

    pub(crate) fn is_valid(&self, at: Micros) -> bool {
        self.end().is_none_or(|end| at < end)
    }

    /// The end of its validity.
    pub(crate) fn end(&self) -> Option<Micros> {
        self.content.rare.end.map(|end| end.at)
    }

    /// Whether the trace is marked as unresolved.
    pub fn is_unresolved(&self) -> bool {
        self.numbers.unresolved
    }

    /// Whether the trace is marked for consolidation with others.
    pub fn is_consolidation_candidate(&self) -> bool {
        self.numbers.consolidation_candidate
    }

    /// Whether the trace is exempt from eviction.
    pub fn is_pinned(&self) -> bool {
        self.numbers.pinned
    }

    /// The revision: 1 on insert, incremented by each update and each reinforcement. The upkeep's changes keep it.
    pub fn revision(&self) -> u64 {
        self.numbers.revision
    }
}

impl Record for Trace {
    fn head(&self) -> &Head<Self> {
        &self.head
    }

    fn head_mut(&mut self) -> &mut Head<Self> {
        &mut self.head
    }

    fn freed_bytes(&self, successor: Option<&Self>) -> usize {
        let is_shared = successor.is_some_and(|new| SharedContent::ptr_eq(&new.content, &self.content));
        size_of::<Self>() + if is_shared { 0 } else { self.content.bytes() }
    }

    fn touch(&self) -> usize {
        self.content.kind as usize
    }
}

/// Every field is equal.
impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.numbers == other.numbers
            && (SharedContent::ptr_eq(&self.content, &other.content) || self.content == other.content)
    }
}

/// Calls a macro with the name and the value of each field, as the getters return it; with `if set` before those that
/// few traces have.
macro_rules! each_field {
    ($trace:expr, $each:ident) => {
        $each!("id", $trace.id());
        $each!("type", $trace.trace_type());
        $each!("partition", $trace.partition());
        $each!("tags", $trace.tags().collect::<Vec<_>>());
        $each!("payload", $trace.payload());
        $each!("strength", $trace.strength());
        $each!("peak_strength", $trace.peak_strength());
        $each!("base_decay_rate", $trace.base_decay_rate());
        $each!("confidence", $trace.confidence());
        $each!("emotional_valence", $trace.emotional_valence());
        $each!("emotional_intensity", $trace.emotional_intensity());
        $each!("tier", $trace.tier());
        $each!("origin", $trace.origin());
        $each!("source_agent", $trace.source_agent());
        $each!("created_at", $trace.created_at());
        $each!("last_reinforced", $trace.last_reinforced());
        $each!("last_decayed", $trace.last_decayed());
        $each!("reinforcement_count", $trace.reinforcement_count());
        $each!("parent", $trace.parent());
        $each!("children", $trace.children());
        $each!("unresolved", $trace.is_unresolved());
        $each!("consolidation_candidate", $trace.is_consolidation_candidate());
        $each!("pinned", $trace.is_pinned());
        $each!("encryption_key_id", $trace.encryption_key_id());
        $each!("embedding", $trace.embedding());
        $each!("revision", $trace.revision());
        $each!(if set "valid_until", $trace.valid_until());
        $each!(if set "superseded_by", $trace.superseded_by());
    };
}

#[cfg(feature = "serde")]
use each_field;

/// Every field, as the getters return it.
impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut all = f.debug_struct("Trace");
        macro_rules! show {
            ($name:literal, $value:expr) => {
                all.field($name, &$value);
            };
            (if set $name:literal, $value:expr) => {
                if let Some(value) = $value {
                    all.field($name, &value);
                }
            };
        }
        each_field!(self, show);
        all.finish()
    }
}

/// Id, type and payload, in one line.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.id, self.trace_type(), self.payload())
    }
}
