//! Storage of traces: the trait [`Backend`], and the engines that implement it.
//!
//! A backend carries out what the flusher requests and makes no decisions: it applies one batch in one transaction,
//! and reports the kind of each failure. The flusher does the retrying, reopening, merging and reporting.

mod discard;
mod error;
#[cfg(all(feature = "sqlite", not(loom)))]
pub(crate) mod sqlite;

pub(crate) use discard::Discard;
pub use error::BackendError;

use crate::Durability;
use crate::trace::{Link, Trace, TraceId, TraceType};
use std::sync::Arc;

/// An engine that stores traces for one [`TraceStore`](crate::TraceStore), for example a database.
///
/// The flusher's thread owns the backend and makes one call at a time; before that, the thread that opens the store
/// calls [`load`](Self::load). A call may block: writers do not notice. A panic is caught, reported as health, and
/// followed by [`reopen`](Self::reopen).
///
/// Rows are identified by number: the store gives each trace a number when it is first written, and never gives it to
/// another trace while the store is open. A backend therefore need not look traces up by id.
///
/// # Errors of a backend
///
/// The reaction of the flusher to a failed call depends on the [kind](BackendError::kind) of the error and on nothing
/// else. The batch is kept and tried again after a wait, which doubles with each failure in a row.
///
/// | [`ErrorKind`](crate::ErrorKind) | meaning | before the next try | waits |
/// |---|---|---|---|
/// | `Busy` | another connection holds a lock; nothing was written; counts from the third in a row | - | 50 ms to 2 s |
/// | `OutOfMemory` | memory ran out | - | 50 ms to 2 s |
/// | `DiskFull` | no space is left | - | 1 to 30 s |
/// | `Corrupt` | the stored data is damaged | [`replace`](Self::replace), for all of memory | 100 ms to 30 s |
/// | `Io` | reading, writing or syncing failed | [`reopen`](Self::reopen) | 250 ms to 10 s |
/// | `Unreachable` | the data was moved, deleted or changed by others, or access is denied | `reopen` | 250 ms to 10 s |
/// | `NotAStore` | other data is in the place of this store's data | `reopen` | 250 ms to 10 s |
/// | `NewerSchema` | a newer version wrote the data | `reopen` | 250 ms to 10 s |
/// | `InUse` | another owner has the data | `reopen` | 250 ms to 10 s |
/// | `Forked` | the data was open in the process that this one was forked from | `reopen` | 250 ms to 10 s |
/// | `Backend` | any other failure | `reopen` | 250 ms to 10 s |
///
/// After a `reopen`, every change that is not known to be durable is applied again.
///
/// In the repository, `examples/backend.rs` is a small backend, and `tests/promises/own_backend` one that keeps a
/// journal in a file.
pub trait Backend: Send + 'static {
    /// Gives everything stored to `into`, every trace before any link, and returns the other facts it knows. The store
    /// assumes that all of it is durable. Called when the store is opened, and again after a [`reopen`](Self::reopen)
    /// that found [`Changed`](Reopened::Changed).
    ///
    /// # Errors
    ///
    /// An error makes opening the store fail; later, the flusher waits and then reopens again.
    fn load(&mut self, into: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError>;

    /// Applies a whole batch, in one transaction, together with its watermark: erasures first, then traces, then
    /// links.
    ///
    /// A row that is rejected for its own content is left out and named in [`Applied::refused`]; the rest is
    /// committed. A link is left out in the same way if one of its traces has no row. With [`Durability::Durable`] this
    /// batch and all before it survive a power loss once this returns.
    ///
    /// # Errors
    ///
    /// After an error the store assumes neither that the batch was applied nor that it was not: its rows come again,
    /// in a later batch.
    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError>;

    /// Whether the stored data is as this backend left it, as far as a check at almost no cost can tell. If not,
    /// [`reopen`](Self::reopen) is called next. Called before each batch, even an empty one, and before a spill; not
    /// while there is nothing to do. The SQLite backend also checks before it moves its log, or compacts.
    ///
    /// # Errors
    ///
    /// An error is handled like one of [`apply`](Self::apply).
    fn is_untouched(&mut self) -> Result<bool, BackendError> {
        Ok(true)
    }

    /// Connects again after an error that leaves the state of the connection unknown, and checks what is stored.
    ///
    /// # Errors
    ///
    /// The flusher waits, and tries again.
    fn reopen(&mut self) -> Result<Reopened, BackendError>;

    /// Quarantines damaged data, deleting nothing, and starts an empty storage in its place.
    ///
    /// # Errors
    ///
    /// The flusher waits, and tries again.
    fn replace(&mut self) -> Result<(), BackendError>;

    /// Performs maintenance such as checkpoints. Called between batches; with `idle` when there has been nothing to do
    /// for a while, repeatedly if the [WAL](Self::wal_bytes) is not empty. Returns whether everything applied is now
    /// durable.
    ///
    /// # Errors
    ///
    /// An error is handled like one of [`apply`](Self::apply).
    fn tidy(&mut self, idle: bool) -> Result<bool, BackendError> {
        let _ = idle;
        Ok(false)
    }

    /// Marks a clean end. This is the last call: everything up to `watermark` is applied and durable.
    ///
    /// Should all who waited for it have given up, the store goes on, and [reopens](Self::reopen). So what keeps others
    /// away is given up by the drop, which comes before the close of the store returns.
    ///
    /// # Errors
    ///
    /// An error makes closing the store fail, and the store stays open.
    fn close(&mut self, watermark: u64) -> Result<(), BackendError>;

    /// Returns the number of bytes in the WAL; 0 if there is none.
    fn wal_bytes(&self) -> u64 {
        0
    }

    /// Returns the disk space that the store takes, and how much of it is unused. Called after each batch.
    ///
    /// # Errors
    ///
    /// An error is handled like one of [`apply`](Self::apply).
    fn space(&mut self) -> Result<Space, BackendError> {
        Ok(Space::default())
    }

    /// Does one step of giving unused space back: as much as takes a few milliseconds, since a flush may wait for it.
    /// Called between batches, repeatedly until it returns `false`: nothing is left to do. `asked` is `true` if a
    /// caller of [`compact`](crate::TraceStore::compact) waits, and `false` for a compaction in the background.
    ///
    /// # Errors
    ///
    /// An error is handled like one of [`apply`](Self::apply); it ends the compaction.
    fn compact(&mut self, asked: bool) -> Result<bool, BackendError> {
        let _ = asked;
        Ok(false)
    }
}

/// Disk space; from [`Backend::space`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// Number of bytes in all files of the store, including its WAL.
    pub bytes: u64,
    /// Number of unused bytes among them, which a [compaction](Backend::compact) gives back.
    pub free_bytes: u64,
}

/// Number that identifies the row of a trace: 1 or more.
pub(crate) type RowNumber = i64;

/// A stored row, as [`Backend::load`] gives it.
#[derive(Debug)]
pub enum Stored {
    /// A trace, or a row that should be one.
    Trace {
        /// Number of the row: 1 or more.
        row: i64,
        /// The trace, or the reason why its row can't be used; such a row stays unchanged and is listed as
        /// [quarantined](crate::Stats::quarantined).
        trace: Result<Trace, Unreadable>,
    },
    /// A link, or the reason why its row can't be used; such a row is treated like an unusable trace row.
    Link(Result<Link, Unreadable>),
}

/// A stored row that can't be used.
#[derive(Debug)]
pub struct Unreadable {
    /// The id in the row, if it can be read.
    pub id: Option<TraceId>,
    /// The reason, as text for people.
    pub reason: String,
}

/// State of a backend after it has been loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Loaded {
    /// The generation up to which everything is stored; 0 if nothing was ever stored.
    pub watermark: u64,
    /// The highest row number ever used; 0 if there is none.
    pub last_row: i64,
}

impl Loaded {
    /// Returns the state, for a backend outside this crate.
    pub fn new(watermark: u64, last_row: i64) -> Self {
        Self { watermark, last_row }
    }
}

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
    /// Changes of links: removals first, then the others, both in the order of ids.
    pub links: &'a [LinkChange],
    /// Durability that must be reached when `apply` returns.
    pub durability: Durability,
}

impl<'a> Batch<'a> {
    /// Returns a batch without changes, for tests of a backend outside this crate.
    pub fn new(watermark: u64, durability: Durability) -> Self {
        Self { watermark, erased: &[], traces: &[], links: &[], durability }
    }

    /// Returns the batch with these changes of traces.
    pub fn traces(self, traces: &'a [TraceChange]) -> Self {
        Self { traces, ..self }
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
    /// Returns the id of the row's trace.
    pub fn id(&self) -> TraceId {
        match self {
            TraceChange::Delete { id, .. } => *id,
            TraceChange::Upsert { trace, .. } | TraceChange::UpdateNumbers { trace, .. } => trace.id(),
        }
    }
}

/// Result of [`Backend::apply`] for a batch.
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

/// Result of [`Backend::reopen`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reopened {
    /// The data that this store has written, up to some committed batch.
    Same,
    /// The data of [`Same`](Self::Same), plus writes by another writer: all of it is read and compared with memory,
    /// and [replaced](Backend::replace) if it differs.
    Changed,
    /// No data: everything has to be written again.
    Empty,
}
