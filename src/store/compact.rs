//! Compacting: the file gets as short as what it holds.

use super::TraceStore;
use crate::error::{Error, ErrorKind, Result};
use crate::flusher::{CompactReport, Errand};

impl TraceStore {
    /// Gives back to the file system what the store's file holds and nothing uses, and returns when that is done.
    /// Rows that are deleted leave free pages, which later rows fill; without this the file never shrinks. An
    /// [erasure](Self::erase_type) that leaves more than a quarter of the file free does it by itself, in the background.
    ///
    /// The flusher does it in steps of a few milliseconds between flushes: a flush waits for one step at most, reads
    /// and writes for none. It changes nothing that the store holds, and a power loss meanwhile takes back steps of
    /// it and no more. What is moved passes through the log, and the file shrinks when that is emptied: a reader that
    /// holds the log, such as a [backup](crate::backup), delays that until it ends. Costs in proportion to what is free, and
    /// a little more for each page the more are free.
    ///
    /// A file that was made by a version before 0.1.0 is written anew once, in one step: flushes wait for that, and it
    /// takes memory and room in the log for all that the file holds. Such a file never shrinks by itself.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("memory.db");
    /// # #[cfg(feature = "sqlite")] {
    /// let store = TraceStore::open(&path)?;
    /// let ids = store.insert_many((0..1_000).map(|n| NewTrace::semantic(serde_json::json!(n))))?;
    /// store.flush()?;
    /// for id in &ids[10..] {
    ///     store.remove(*id)?;
    /// }
    /// let report = store.compact()?;
    /// assert!(report.bytes_after < report.bytes_before);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Why a step or a flush meanwhile failed: then the file may stay longer than it need be, and nothing else has
    /// happened. [`Closed`](ErrorKind::Closed) if the store is closed before it is done, and
    /// [`Forked`](ErrorKind::Forked) in a child process. A store without a file has nothing to do.
    pub fn compact(&self) -> Result<CompactReport> {
        let closed = "not compacted: the store is closed; open it again to go on";
        self.ask(Errand::Compact)?.unwrap_or_else(|| Err(Error::new(ErrorKind::Closed, closed)))
    }
}
