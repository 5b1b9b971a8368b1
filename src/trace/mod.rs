//! The record: one memory trace, what it is made of, and the rules its values obey.
//!
//! Knows nothing of threads, files or SQL. A [`Trace`] is immutable; the store replaces it as a whole.

mod edit;
mod id;
mod kind;
mod link;
mod new;
mod parts;
mod payload;
mod setters;

pub use edit::TraceEdit;
pub use id::TraceId;
pub use kind::{Origin, Tier, TraceType};
pub use link::Link;
pub use new::NewTrace;
pub use payload::Payload;

pub(crate) use link::{Ends, Tie};
pub(crate) use new::Defaults;
#[cfg(all(feature = "sqlite", not(loom)))]
pub(crate) use parts::MAX_TAGS_JSON;
#[cfg(all(any(feature = "snapshot", feature = "sqlite"), not(loom)))]
pub(crate) use parts::timestamp;
pub(crate) use parts::{Birth, Content, MAX_REVISION, Micros, Numbers, name as checked_name};

use crate::core::{Head, Record};
use jiff::Timestamp;
use std::fmt;
use std::sync::Arc;

/// One memory: what it says, how strong it is, and where it came from. Immutable: a write to the store
/// makes a new one, and one that you hold stays as it is.
///
/// Copying one copies numbers and shares the rest. Strengths are from 0 to 1; times are UTC, to the
/// microsecond.
#[derive(Clone)]
pub struct Trace {
    head: Head<Self>,
    id: TraceId,
    pub(crate) content: Arc<Content>,
    pub(crate) numbers: Numbers,
}

impl Trace {
    fn new(id: TraceId, content: Content, numbers: Numbers) -> Self {
        Self { head: Head::default(), id, content: Arc::new(content), numbers }
    }

    /// Its identity; never changes.
    pub fn id(&self) -> TraceId {
        self.id
    }

    pub(crate) fn birth(&self) -> Birth {
        self.content.birth
    }

    /// What kind of memory it is; never changes.
    pub fn trace_type(&self) -> TraceType {
        self.content.kind
    }

    /// What it says.
    pub fn payload(&self) -> &Payload {
        &self.content.payload
    }

    /// The vector that stands for it in a similarity search, where one was given.
    pub fn embedding(&self) -> Option<&[f32]> {
        self.content.embedding.as_deref()
    }

    /// The stored strength, from 0 to 1: what it was when last written.
    pub fn strength(&self) -> f64 {
        self.numbers.strength
    }

    /// The highest strength it has had, from which it fades.
    pub fn peak_strength(&self) -> f64 {
        self.numbers.peak_strength
    }

    /// How fast it fades: the exponent of the decay, 0 or more.
    pub fn base_decay_rate(&self) -> f64 {
        self.numbers.base_decay_rate
    }

    /// How pleasant it is, from -1 to 1.
    pub fn emotional_valence(&self) -> f64 {
        self.numbers.emotional_valence
    }

    /// How moving it is, from 0 to 1.
    pub fn emotional_intensity(&self) -> f64 {
        self.numbers.emotional_intensity
    }

    /// Its tags, sorted, each once.
    pub fn tags(&self) -> impl ExactSizeIterator<Item = &str> {
        self.content.tags.iter().map(|tag| &**tag)
    }

    /// Whether it has this very tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.content.tags.binary_search_by(|own| (**own).cmp(tag)).is_ok()
    }

    /// Where it came from; never changes.
    pub fn origin(&self) -> Origin {
        self.content.origin
    }

    /// The agent that it came from, where another one is known.
    pub fn source_agent(&self) -> Option<&str> {
        self.content.source_agent.as_deref()
    }

    /// The partition it belongs to; never changes.
    pub fn partition(&self) -> &str {
        &self.content.partition
    }

    /// When it was made; never changes.
    pub fn created_at(&self) -> Timestamp {
        self.content.created_at.into()
    }

    /// When it was last reinforced, or made.
    pub fn last_reinforced(&self) -> Timestamp {
        self.numbers.last_reinforced.into()
    }

    /// When its stored strength was last brought up to date.
    pub fn last_decayed(&self) -> Timestamp {
        self.numbers.last_decayed.into()
    }

    /// How often it was reinforced.
    pub fn reinforcement_count(&self) -> u32 {
        self.numbers.reinforcement_count
    }

    /// How sure the agent is of it, from 0 to 1.
    pub fn confidence(&self) -> f64 {
        self.numbers.confidence
    }

    /// How near at hand it is kept.
    pub fn tier(&self) -> Tier {
        self.numbers.tier
    }

    /// The key its payload is encrypted with, where the host encrypts it.
    pub fn encryption_key_id(&self) -> Option<&str> {
        self.content.encryption_key_id.as_deref()
    }

    /// The trace that it came out of.
    pub fn parent(&self) -> Option<TraceId> {
        self.content.parent
    }

    /// The traces that came out of it, in the order given.
    pub fn children(&self) -> &[TraceId] {
        &self.content.children
    }

    /// Whether something about it is still open.
    pub fn is_unresolved(&self) -> bool {
        self.numbers.unresolved
    }

    /// Whether it is to be merged with others.
    pub fn is_consolidation_candidate(&self) -> bool {
        self.numbers.consolidation_candidate
    }

    /// Whether it must never be evicted.
    pub fn is_pinned(&self) -> bool {
        self.numbers.pinned
    }

    /// Counts the host's changes: 1 when made, one more at each.
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
        let is_shared = successor.is_some_and(|new| Arc::ptr_eq(&new.content, &self.content));
        size_of::<Self>() + if is_shared { 0 } else { self.content.bytes() }
    }
}

/// Every field is equal.
impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
            && self.numbers == other.numbers
            && (Arc::ptr_eq(&self.content, &other.content) || self.content == other.content)
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { head: _, id, content, numbers } = self;
        f.debug_struct("Trace").field("id", id).field("content", content).field("numbers", numbers).finish()
    }
}
