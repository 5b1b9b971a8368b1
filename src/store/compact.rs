//! Compacting: shrinking the file to the size of its content.

use super::TraceStore;
use crate::error::{Error, ErrorKind, Result};
use crate::flusher::{CompactReport, Errand};

impl TraceStore {
    /// Gives the unused space of the store's file back to the file system; returns once that is done. Deleted rows
    /// leave free pages, which later rows fill; without compaction the file never shrinks. An
    /// [erasure](Self::erase_type) that leaves more than a quarter of the file free starts a compaction in the
    /// background.
    ///
    /// The flusher compacts in steps of a few milliseconds between flushes: a flush waits for at most one step, reads
    /// and writes for none. The content of the store does not change, and a power loss during compaction undoes some
    /// of its steps and nothing else. Moved pages pass through the WAL, and the file shrinks when the WAL is emptied:
    /// a reader that holds the WAL, such as a backup, delays that until it ends. The cost is
    /// proportional to the free space, and the cost for each page grows slightly with the number of free pages.
    ///
    /// A file made by a version before 0.1.0 is rewritten once, in one step: flushes wait for that, and it takes
    /// memory and WAL space for everything in the file. Such a file never shrinks by itself.
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
    /// The error of a step or of a flush during the compaction: the file may then stay longer than necessary; nothing
    /// else has happened. [`Closed`](ErrorKind::Closed) if the store is closed before the compaction is done, and
    /// [`Forked`](ErrorKind::Forked) in a child process. For a store without a file this does nothing.
    pub fn compact(&self) -> Result<CompactReport> {
        let closed = "not compacted: the store is closed; open it again to go on";
        self.ask(Errand::Compact)?.unwrap_or_else(|| Err(Error::new(ErrorKind::Closed, closed)))
    }
}
