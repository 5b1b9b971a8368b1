//! Where traces are kept: the trait [`Backend`], and the engines that implement it.
//!
//! A backend does what the flusher says and judges nothing: it applies one batch in one transaction,
//! and names the class of what went wrong. Retrying, reopening, merging and reporting are the flusher's.

mod discard;
mod error;
#[cfg(all(feature = "sqlite", not(loom)))]
pub(crate) mod sqlite;

pub(crate) use discard::Discard;
pub use error::{BackendError, ErrorClass};

use crate::trace::{Link, Trace, TraceId, TraceType};
use std::sync::Arc;

/// An engine that stores traces for one [`TraceStore`](crate::TraceStore), for example a database.
///
/// The flusher's thread owns it and calls it, one call at a time; the thread that opens the store calls
/// [`load`](Self::load) before. A call may block: writers don't notice. A panic is
/// caught, reported as health, and followed by [`reopen`](Self::reopen).
///
/// Rows are named by number: the store gives each trace one when it is first written, and to no other while
/// it is open, so that a backend need not look a trace up by its id.
///
/// `examples/backend.rs` of the repository is a small one, `tests/own_backend` one that keeps a journal in a file.
pub trait Backend: Send + 'static {
    /// Gives everything stored to `into`, every trace before any link, and says what else is known. The store takes
    /// it to be durable. Called when the store is opened, and again after a reopening that found
    /// [`Changed`](Reopened::Changed).
    ///
    /// # Errors
    ///
    /// Opening the store fails with it; later the flusher waits, and reopens again.
    fn load(&mut self, into: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError>;

    /// Applies a batch whole, in one transaction, together with its watermark: what it erases first, then the
    /// traces, then the links.
    ///
    /// A row that is refused for its own content is left out and named in [`Applied::refused`]; the rest
    /// is committed. So is a link one of whose traces has no row. With [`Reach::Durable`] this batch and all before it survive a power loss once this
    /// returns.
    ///
    /// # Errors
    ///
    /// Nothing of the batch may be counted on, nor on its absence: its rows come again, in a later batch.
    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError>;

    /// Whether what is stored is as this backend left it, as far as that can be told for next to nothing. If it is not,
    /// [`reopen`](Self::reopen) is called next. Asked before each batch, also an empty one, and before a spill; SQLite's
    /// own also asks itself before it moves its log, or compacts.
    ///
    /// # Errors
    ///
    /// As for [`apply`](Self::apply).
    fn is_untouched(&mut self) -> Result<bool, BackendError> {
        Ok(true)
    }

    /// After an error that makes the connection doubtful: connects anew, and looks at what is there.
    ///
    /// # Errors
    ///
    /// The flusher waits, and tries again.
    fn reopen(&mut self) -> Result<Reopened, BackendError>;

    /// What is stored is damaged: puts it aside, deleting nothing, and starts an empty one in its place.
    ///
    /// # Errors
    ///
    /// The flusher waits, and tries again.
    fn replace(&mut self) -> Result<(), BackendError>;

    /// Called between batches, and with `idle` when there has been nothing to do for a while, again and again if a
    /// [log](Self::wal_bytes) is left: the time for checkpoints and the like. Answers whether all that was applied is durable now.
    ///
    /// # Errors
    ///
    /// As for [`apply`](Self::apply).
    fn tidy(&mut self, idle: bool) -> Result<bool, BackendError> {
        let _ = idle;
        Ok(false)
    }

    /// The last call: everything up to `watermark` is applied and durable. Marks a clean end.
    ///
    /// Should all who waited for it have given up, the store goes on, and [reopens](Self::reopen). So what keeps others
    /// away is given up by the drop, which comes before the close of the store returns.
    ///
    /// # Errors
    ///
    /// Closing the store fails with it, and the store stays open.
    fn close(&mut self, watermark: u64) -> Result<(), BackendError>;

    /// How many bytes wait in a write-ahead log; 0 if there is none.
    fn wal_bytes(&self) -> u64 {
        0
    }

    /// How much room the store takes on disk, and how much of that nothing uses. Called after each batch.
    ///
    /// # Errors
    ///
    /// As for [`apply`](Self::apply).
    fn space(&mut self) -> Result<Space, BackendError> {
        Ok(Space::default())
    }

    /// One step of giving back room that nothing uses: as much as takes a few milliseconds, since a flush may wait
    /// for it. Called between batches, again and again until it returns `false`: nothing more to do. `asked` if a
    /// caller of [`compact`](crate::TraceStore::compact) waits, `false` if it is done in the background.
    ///
    /// # Errors
    ///
    /// As for [`apply`](Self::apply); the compaction ends with it.
    fn compact(&mut self, asked: bool) -> Result<bool, BackendError> {
        let _ = asked;
        Ok(false)
    }
}

/// Room on disk; from [`Backend::space`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// Bytes of all files of the store, its log included.
    pub bytes: u64,
    /// Bytes of them that nothing uses, and that a [compaction](Backend::compact) gives back.
    pub free_bytes: u64,
}

/// The number of a trace's row, 1 or more.
pub type RowNumber = i64;

/// What [`Backend::load`] gives.
#[derive(Debug)]
pub enum Stored {
    /// A trace, or a row that should be one.
    Trace(StoredTrace),
    /// A link, or why the row of one can't be used; it is treated as that of a trace is.
    Link(Result<Link, Unreadable>),
}

/// A stored trace, as [`Backend::load`] gives it.
#[derive(Debug)]
pub struct StoredTrace {
    /// Its row.
    pub row: RowNumber,
    /// The trace, or why the row can't be used; then the row stays as it is and is listed as
    /// [quarantined](crate::Stats::quarantined).
    pub trace: Result<Trace, Unreadable>,
}

/// A stored row that is no trace.
#[derive(Debug)]
pub struct Unreadable {
    /// The row's id, where that can be read.
    pub id: Option<TraceId>,
    /// What is wrong, for a person.
    pub reason: String,
}

/// What a backend knows when it has been loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Loaded {
    /// The generation up to which everything is stored; 0 if nothing ever was.
    pub watermark: u64,
    /// The highest row number ever used; 0 if none.
    pub last_row: RowNumber,
}

impl Loaded {
    /// For a backend outside this crate.
    pub fn new(watermark: u64, last_row: RowNumber) -> Self {
        Self { watermark, last_row }
    }
}

/// The changes of one cut, or of several where earlier ones failed: each row once.
#[derive(Debug)]
#[non_exhaustive]
pub struct Batch<'a> {
    /// The generation up to which everything is stored once this batch is; never falls.
    pub watermark: u64,
    /// Every stored row of these is deleted first, the unreadable ones too, with the links to them; and nothing
    /// of what they held may be left behind in any file.
    pub erased: &'a [Scope],
    /// Removals first; then the rest by row number, rising.
    pub traces: &'a [TraceChange],
    /// Removals first; then the rest, each in the order of ids.
    pub links: &'a [LinkChange],
    /// What must be true when `apply` returns.
    pub reach: Reach,
}

impl<'a> Batch<'a> {
    /// For the tests of a backend outside this crate: one that changes nothing.
    pub fn new(watermark: u64, reach: Reach) -> Self {
        Self { watermark, erased: &[], traces: &[], links: &[], reach }
    }

    /// The same, with these changes of traces.
    pub fn traces(self, traces: &'a [TraceChange]) -> Self {
        Self { traces, ..self }
    }

    /// The same, with these changes of links.
    pub fn links(self, links: &'a [LinkChange]) -> Self {
        Self { links, ..self }
    }

    /// The same, erasing these.
    pub fn erased(self, erased: &'a [Scope]) -> Self {
        Self { erased, ..self }
    }

    /// Whether it says no more than the watermark.
    pub fn is_empty(&self) -> bool {
        self.erased.is_empty() && self.traces.is_empty() && self.links.is_empty()
    }
}

/// How far a committed batch must have got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// It survives the end of the process.
    Committed,
    /// It and all before it survive a power loss.
    Durable,
}

/// A part of a store.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Scope {
    /// The traces of a type.
    Type(TraceType),
    /// The traces of a partition.
    Partition(Arc<str>),
}

impl Scope {
    /// Whether a trace belongs to it.
    pub fn contains(&self, trace: &Trace) -> bool {
        match self {
            Scope::Type(kind) => trace.trace_type() == *kind,
            Scope::Partition(partition) => trace.partition() == &**partition,
        }
    }
}

/// What becomes of one link's row.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum LinkChange {
    /// The row of the link between these two is deleted, if it is there; the smaller id stands first.
    Delete(TraceId, TraceId),
    /// The row is written, whether it is there or not.
    Upsert(Link),
}

impl LinkChange {
    /// Whose row it is; the smaller id stands first.
    pub(crate) fn ends(&self) -> (TraceId, TraceId) {
        match self {
            LinkChange::Delete(a, b) => (*a, *b),
            LinkChange::Upsert(link) => link.ends(),
        }
    }
}

/// What becomes of one trace's row.
#[derive(Clone, PartialEq, Debug)]
pub enum TraceChange {
    /// The row is deleted, if it is there.
    Delete {
        /// The row.
        row: RowNumber,
        /// Whose it was.
        id: TraceId,
    },
    /// The row is written whole, whether it is there or not.
    Upsert {
        /// The row.
        row: RowNumber,
        /// What it holds from now on.
        trace: Arc<Trace>,
    },
    /// The row is there and holds this trace's payload, embedding, tags and whatever else does not
    /// count, grow or fade: just the rest is written. A backend may write the row whole.
    UpdateNumbers {
        /// The row.
        row: RowNumber,
        /// What it holds from now on.
        trace: Arc<Trace>,
    },
}

impl TraceChange {
    /// Whose row it is.
    pub fn id(&self) -> TraceId {
        match self {
            TraceChange::Delete { id, .. } => *id,
            TraceChange::Upsert { trace, .. } | TraceChange::UpdateNumbers { trace, .. } => trace.id(),
        }
    }
}

/// What a batch did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// Rows written whole.
    pub upserted: u64,
    /// Rows whose numbers were written.
    pub updated: u64,
    /// Rows deleted.
    pub deleted: u64,
    /// Bytes of payload text handed to the engine.
    pub payload_bytes: u64,
    /// Changes left out for their own content: the position in [`Batch::traces`], and why.
    pub refused: Vec<(usize, String)>,
    /// Rows of links written.
    pub links_upserted: u64,
    /// Rows of links deleted, with those that what was erased took along.
    pub links_deleted: u64,
    /// Links left out: the position in [`Batch::links`], and why.
    pub refused_links: Vec<(usize, String)>,
    /// Rows of traces deleted for each of [`Batch::erased`].
    pub erased: Vec<u64>,
    /// The ids that those rows had, as far as they can be read.
    pub erased_ids: Vec<TraceId>,
    /// Of the links that went with them, the first of each one's traces.
    pub erased_links: Vec<TraceId>,
}

/// What [`Backend::reopen`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reopened {
    /// What this store has written, up to some batch that was committed.
    Same,
    /// As [`Same`](Self::Same), but somebody else has written there too: all of it is read and compared with memory,
    /// and [replaced](Backend::replace) if it differs.
    Changed,
    /// Nothing: all has to be written again.
    Empty,
}
