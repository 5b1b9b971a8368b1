//! Former contents of a trace.

use super::{Partition, TraceStore};
use crate::backend::sqlite;
use crate::error::{Error, Result};
use crate::trace::{Trace, TraceId};

impl TraceStore {
    /// Returns the former contents of a trace that the file [keeps](crate::StoreBuilder::keep_history), the newest
    /// first: each as the trace was when it was last flushed with that content. Empty if there are none, or the file
    /// has no such trace. Reads the file, as of its last flush: what is not flushed yet is not in it.
    ///
    /// A trace that is removed takes its history with it, also if another one of its id is inserted, and an
    /// [erasure](Self::erase_partition) leaves no bytes of it.
    /// Backups have the history; snapshots, exports and spills have not, nor has a file that was written anew because
    /// the one before was damaged or lost. [Restoring](Self::restore) a trace with the same type, partition, origin and
    /// time of creation counts as a change of it.
    ///
    /// ```
    /// use mnemon::{NewTrace, TraceStore};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("memory.db");
    /// let store = TraceStore::builder().keep_history(10).open(path)?;
    /// let id = store.insert(NewTrace::text("the bar is 4 m deep"))?;
    /// store.flush()?;
    /// store.update(id, |trace| trace.payload(serde_json::json!("the bar is 6 m deep")))?;
    /// store.flush()?;
    /// let before = store.history(id)?;
    /// assert_eq!((before.len(), before[0].payload().as_str()), (1, r#""the bar is 4 m deep""#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a store without a file of this crate,
    /// [`Corrupt`](crate::ErrorKind::Corrupt) if an entry can't be read, and otherwise the errors of
    /// [`inspect`](crate::inspect).
    pub fn history(&self, id: TraceId) -> Result<Vec<Trace>> {
        let Some(path) = self.path() else {
            return Err(Error::invalid("store", "without a file", "ask one that has a file for a history"));
        };
        sqlite::read_history(path, id, self.inner().settings.max_payload_bytes)
    }
}

impl Partition {
    /// See [`TraceStore::history`]. Empty for a trace of another partition.
    pub fn history(&self, id: TraceId) -> Result<Vec<Trace>> {
        let mut history = self.store.history(id)?;
        history.retain(|trace| trace.partition() == &*self.name);
        Ok(history)
    }
}
