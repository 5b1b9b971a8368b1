//! What the flusher is asked to do with its next cut.

use crate::backend::Scope;
use crate::error::Result;
#[cfg(all(feature = "snapshot", not(loom)))]
use crate::trace::Trace;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Something for the flusher to do with the next cut.
pub(crate) enum CutTask {
    /// To delete every row of a scope in that cut's transaction.
    Erase(Erasure),
    /// To compact what is stored, after that cut.
    #[cfg_attr(loom, allow(dead_code, reason = "asked for through a channel that no model knows"))]
    Compact(CompactAnswer),
    /// To show what is not known to be durable, as of that cut.
    #[cfg(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom)))]
    Spill(Box<dyn FnOnce(crate::archive::Spill) + Send>),
    /// To show the state at that cut.
    #[cfg(all(feature = "snapshot", not(loom)))]
    View(Box<dyn FnOnce(View) + Send>),
}

/// A scope to erase, and where to say how many rows it had.
pub(crate) struct Erasure {
    pub(crate) scope: Scope,
    pub(crate) rows: Arc<AtomicU64>,
}

/// Everything there is, as of one cut.
#[cfg(all(feature = "snapshot", not(loom)))]
pub(crate) struct View {
    pub(crate) cut: u64,
    pub(crate) traces: Vec<Arc<Trace>>,
    pub(crate) links: Vec<crate::trace::Link>,
}

/// Result of a compaction; from [`TraceStore::compact`](crate::TraceStore::compact).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct CompactReport {
    /// Bytes of the file and its WAL when it began.
    pub bytes_before: u64,
    /// Bytes of the file and its WAL when it ended. A reader that holds the WAL keeps both long until it ends.
    pub bytes_after: u64,
    /// Time from the request to the end, including flushes in between.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
    pub elapsed: Duration,
}

/// Receives the outcome of a compaction that was asked for.
pub(crate) type CompactAnswer = Box<dyn FnOnce(Result<CompactReport>) + Send>;
