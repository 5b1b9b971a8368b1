//! What a backend is given to apply, and what it answers.

use crate::Durability;
use crate::trace::{Link, Trace, TraceId, TraceType};
use std::sync::Arc;

/// The changes of one cut, or of several if earlier flushes failed: each row occurs once.
#[derive(Debug)]
#[non_exhaustive]
pub struct Batch<'a> {
    /// The generation up to which everything is stored once this batch is stored; never decreases.
    pub watermark: u64,
    /// Scopes to erase. Every stored row in them is deleted first, unreadable ones included, together with the links
    /// to them; none of their content may be left in any file.
    pub erased: &'a [Scope],
    /// Changes of traces: removals first, then the others in ascending order of row numbers.
    pub traces: &'a [TraceChange],
    /// Rows, in ascending order, whose trace was removed and another one of its id inserted since the last batch: a
    /// backend that keeps former contents of a row must forget those of these.
    pub replaced: &'a [i64],
    /// Changes of links: removals first, then the others, both in the order of ids.
    pub links: &'a [LinkChange],
    /// Durability that must be reached when `apply` returns.
    pub durability: Durability,
}

impl<'a> Batch<'a> {
    /// Returns a batch without changes, for tests of a backend outside this crate.
    pub fn new(watermark: u64, durability: Durability) -> Self {
        Self { watermark, erased: &[], traces: &[], replaced: &[], links: &[], durability }
    }

    /// Returns the batch with these changes of traces.
    pub fn traces(self, traces: &'a [TraceChange]) -> Self {
        Self { traces, ..self }
    }

    /// Returns the batch with these rows of other traces than before.
    pub fn replaced(self, replaced: &'a [i64]) -> Self {
        Self { replaced, ..self }
    }

    /// Returns the batch with these changes of links.
    pub fn links(self, links: &'a [LinkChange]) -> Self {
        Self { links, ..self }
    }

    /// Returns the batch with these scopes to erase.
    pub fn erased(self, erased: &'a [Scope]) -> Self {
        Self { erased, ..self }
    }

    /// Whether the batch contains nothing but a watermark.
    pub fn is_empty(&self) -> bool {
        self.erased.is_empty() && self.traces.is_empty() && self.links.is_empty()
    }
}

/// A part of a store.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Scope {
    /// All traces of a type.
    Type(TraceType),
    /// All traces of a partition.
    Partition(Arc<str>),
}

impl Scope {
    /// Whether the scope contains a trace.
    pub fn contains(&self, trace: &Trace) -> bool {
        match self {
            Scope::Type(kind) => trace.trace_type() == *kind,
            Scope::Partition(partition) => trace.partition() == &**partition,
        }
    }
}

/// A change of one link's row.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum LinkChange {
    /// Deletes the row of the link between these two traces, if it exists; the smaller id comes first.
    Delete(TraceId, TraceId),
    /// Writes the row, whether or not it exists.
    Upsert(Link),
}

impl LinkChange {
    /// Returns the ids of the traces that the link joins; the smaller one comes first.
    pub(crate) fn ends(&self) -> (TraceId, TraceId) {
        match self {
            LinkChange::Delete(a, b) => (*a, *b),
            LinkChange::Upsert(link) => link.ends(),
        }
    }
}

/// A change of one trace's row.
#[derive(Clone, PartialEq, Debug)]
pub enum TraceChange {
    /// Deletes the row, if it exists.
    Delete {
        /// Number of the row: 1 or more.
        row: i64,
        /// Id of its trace.
        id: TraceId,
    },
    /// Writes the whole row, whether or not it exists.
    Upsert {
        /// Number of the row: 1 or more.
        row: i64,
        /// New content of the row.
        trace: Arc<Trace>,
    },
    /// Updates a row that exists and already holds this trace's payload, embedding, tags and all other fields that do
    /// not count, grow or fade: only the remaining fields are written. A backend may write the whole row.
    UpdateNumbers {
        /// Number of the row: 1 or more.
        row: i64,
        /// New content of the row.
        trace: Arc<Trace>,
    },
}

impl TraceChange {
    /// Reads a byte of each cache line, about, that is to be written: see [`fetching`](crate::protocol::fetching).
    #[cfg(all(feature = "sqlite", not(loom)))]
    pub(crate) fn touch(&self) -> usize {
        match self {
            TraceChange::Delete { .. } => 0,
            TraceChange::Upsert { trace, .. } => {
                let payload = trace.payload().as_str().as_bytes().iter().step_by(64).take(8);
                payload.fold(trace.numbers.touch(), |touched, byte| touched ^ usize::from(*byte))
            }
            TraceChange::UpdateNumbers { trace, .. } => trace.numbers.touch(),
        }
    }

    /// Returns the id of the row's trace.
    pub fn id(&self) -> TraceId {
        match self {
            TraceChange::Delete { id, .. } => *id,
            TraceChange::Upsert { trace, .. } | TraceChange::UpdateNumbers { trace, .. } => trace.id(),
        }
    }
}

/// Result of [`Backend::apply`](super::Backend::apply) for a batch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Number of trace rows written whole.
    pub upserted: u64,
    /// Number of trace rows of which only the numbers were written.
    pub updated: u64,
    /// Number of trace rows deleted.
    pub deleted: u64,
    /// Number of bytes of payload text handed to the engine.
    pub payload_bytes: u64,
    /// Changes left out for their own content: the index into [`Batch::traces`], and the reason.
    pub refused: Vec<(usize, String)>,
    /// Number of link rows written.
    pub links_upserted: u64,
    /// Number of link rows deleted, including those removed together with erased traces.
    pub links_deleted: u64,
    /// Links left out: the index into [`Batch::links`], and the reason.
    pub refused_links: Vec<(usize, String)>,
    /// Number of trace rows deleted for each scope in [`Batch::erased`].
    pub erased: Vec<u64>,
    /// Ids in the erased trace rows, as far as they can be read.
    pub erased_ids: Vec<TraceId>,
    /// First trace id of each link that was removed with them.
    pub erased_links: Vec<TraceId>,
}
