//! Erasing: removal that leaves no bytes behind.

use super::TraceStore;
use super::inner::Inner;
use crate::backend::Scope;
use crate::error::{Error, Result};
use crate::memory;
use crate::protocol::{Change, CutBlock};
use crate::state::{CutTask, Erasure};
use crate::trace::TraceType;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Result of an erasure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ErasureReport {
    /// Number of traces removed from memory.
    pub traces: usize,
    /// Number of links removed with those traces.
    pub links: usize,
    /// Number of stored trace rows deleted: rows of traces in memory, and unreadable rows.
    pub rows: u64,
}

impl TraceStore {
    /// Removes every trace of a type, with its links and its row, together with the rows that were
    /// [quarantined](crate::Stats::quarantined), all in one cut, and returns once that is durable. The erased data is
    /// overwritten in the file, and the WAL is emptied as soon as no reader holds it. Deleting snapshots, copies and a
    /// damaged file that was quarantined is left to you. If more than a quarter of the file is then free, the flusher
    /// [compacts](Self::compact) it in the background.
    ///
    /// A trace of the type that another thread inserts during the call may stay. The cost is proportional to the
    /// number of erased traces; in the file, to the size of its content.
    ///
    /// ```
    /// # use mnemon::{NewTrace, TraceStore};
    /// # use serde_json::json;
    /// # let store = TraceStore::in_memory();
    /// # use mnemon::TraceType;
    /// store.insert(NewTrace::sensory(json!("a face at the window")))?;
    /// store.insert(NewTrace::semantic(json!("the window faces north")))?;
    /// let report = store.erase_type(TraceType::Sensory)?;
    /// assert_eq!((report.traces, store.len()), (1, 1));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) and [`Lagging`](crate::ErrorKind::Lagging), under the conditions of
    /// [`insert`](Self::insert), and [`WouldDeadlock`](crate::ErrorKind::WouldDeadlock), under those of
    /// [`flush`](Self::flush): nothing is erased. Otherwise the error of the flush: the traces are then gone from
    /// memory, and the next flush that succeeds erases them from the file.
    pub fn erase_type(&self, kind: TraceType) -> Result<ErasureReport> {
        self.erase(Scope::Type(kind))
    }

    /// Removes every trace of a partition, in the way that [`erase_type`](Self::erase_type) removes every trace of a
    /// type.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`erase_type`](Self::erase_type).
    pub fn erase_partition(&self, partition: &str) -> Result<ErasureReport> {
        self.erase(Scope::Partition(partition.into()))
    }

    fn erase(&self, scope: Scope) -> Result<ErasureReport> {
        let (report, generation, rows) = self.inner().erase(scope)?;
        self.flush_up_to(generation).map_err(|error| {
            let message = "erased in memory, and not yet in the file: the next flush that succeeds does it";
            Error::new(error.kind(), message).because(error)
        })?;
        Ok(ErasureReport { rows: rows.load(Ordering::Relaxed), ..report })
    }
}

impl Inner {
    /// Erases in memory. Returns the report so far, the generation, and the place where the number of rows is stored
    /// once that generation is committed.
    fn erase(&self, scope: Scope) -> Result<(ErasureReport, u64, Arc<AtomicU64>)> {
        self.state.check_may_wait()?;
        // All changes go into one cut: no cut is made before this function returns.
        let block = self.state.generations.block_cuts();
        self.check_writable()?;
        self.erase_while_blocked(scope, &block)
    }

    pub(super) fn erase_while_blocked(
        &self,
        scope: Scope,
        _: &CutBlock<'_>,
    ) -> Result<(ErasureReport, u64, Arc<AtomicU64>)> {
        let term = match &scope {
            Scope::Type(kind) => memory::of_type(*kind),
            Scope::Partition(partition) => memory::of_partition(partition),
        };
        let mut report = ErasureReport::default();
        for id in self.traces().index().find(&[term]) {
            let gone = self.traces().update(&self.state.generations, &id, |trace| {
                Ok::<_, Error>(if scope.contains(trace) { Change::Remove } else { Change::Keep })
            });
            let gone = gone.map_err(super::inner::reason)?;
            if let Some(old) = gone.filter(|done| done.new.is_none()).and_then(|done| done.old) {
                report.traces += 1;
                report.links += self.drop_links(&old);
            }
        }
        let rows = Arc::new(AtomicU64::new(0));
        self.state.send(CutTask::Erase(Erasure { scope, rows: rows.clone() }));
        Ok((report, self.state.generations.enter().number(), rows))
    }
}
