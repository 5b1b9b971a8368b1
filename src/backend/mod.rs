//! Storage of traces: the trait [`Backend`], and the engines that implement it.
//!
//! A backend carries out what the flusher requests and makes no decisions: it applies one batch in one transaction,
//! and reports the kind of each failure. The flusher does the retrying, reopening, merging and reporting.

mod batch;
mod discard;
mod error;
#[cfg(all(feature = "sqlite", not(loom)))]
pub(crate) mod sqlite;

#[cfg(all(feature = "postgres", not(loom)))]
pub(crate) mod postgres;

pub use batch::{Applied, Batch, LinkChange, Scope, TraceChange};
pub(crate) use discard::Discard;
pub use error::BackendError;

use crate::trace::{Link, Trace, TraceId};
use std::time::Duration;

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
    /// committed. A link is left out in the same way if one of its traces has no row. With
    /// [`Durability::Durable`](crate::Durability::Durable) this batch and all before it survive a power loss once this
    /// returns.
    ///
    /// # Errors
    ///
    /// After an error the store assumes neither that the batch was applied nor that it was not: its rows come again,
    /// in a later batch.
    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError>;

    /// Whether the stored data is as this backend left it, as far as a check at almost no cost can tell. If not,
    /// [`reopen`](Self::reopen) is called next. Called before each batch, even an empty one, and before a spill; not
    /// while there is nothing to do. The SQLite backend also checks before a checkpoint and before it compacts.
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

    /// Whether another owner has taken the data, for good: no later call can succeed. Asked after a call that failed with
    /// [`InUse`](crate::ErrorKind::InUse). The store goes on in memory. Its close spills what could not be written, and
    /// does not [close](Self::close) the backend; a store with a backend of your own has no place for a spill, and is
    /// closed only if everything had been flushed.
    fn is_lost(&self) -> bool {
        false
    }

    /// Returns the longest time between two calls of [`tidy`](Self::tidy) while nothing is applied, for a backend
    /// that has to notice something by itself; `None` if it need not be called. Called once, before the first batch.
    fn tidy_interval(&self) -> Option<Duration> {
        None
    }

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

/// A store that cuts each microsecond is there after 100,000 years. Above it there is no room to count on.
#[cfg(all(any(feature = "sqlite", feature = "postgres"), not(loom)))]
pub(crate) const MAX_WATERMARK: u64 = 1 << 62;

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
