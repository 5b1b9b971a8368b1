//! Erasing: removal that leaves nothing behind.

use super::TraceStore;
use super::engine::Engine;
use crate::backend::Scope;
use crate::core::{Change, CutBlock};
use crate::error::{Error, Result};
use crate::flusher::{Erasure, Errand};
use crate::memory;
use crate::trace::TraceType;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What an erasure did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ErasureReport {
    /// Traces removed from memory.
    pub traces: usize,
    /// Links that went with them.
    pub links: usize,
    /// Rows of traces that were stored, and are no more: those of traces in memory, and unreadable ones.
    pub rows: u64,
}

impl TraceStore {
    /// Removes every trace of a type, with its links and its row, and with them the rows that were
    /// [quarantined](crate::Stats::quarantined), all in one cut, and returns when that is durable. What they held
    /// is overwritten in the file, and the file's log emptied as soon as no reader holds it. Snapshots, copies, and a
    /// damaged file that was put aside are yours to delete.
    ///
    /// A trace of the type that another thread inserts meanwhile may stay. Costs in proportion to what is erased;
    /// in the file, to what it holds.
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
    /// [`Closed`](crate::ErrorKind::Closed) and [`Lagging`](crate::ErrorKind::Lagging), as for [`insert`](Self::insert): nothing
    /// is erased. Otherwise why the flush failed: then the traces are gone from memory, and the file is erased by
    /// the next flush that succeeds.
    pub fn erase_type(&self, kind: TraceType) -> Result<ErasureReport> {
        self.erase(Scope::Type(kind))
    }

    /// The same for every trace of a partition.
    ///
    /// # Errors
    ///
    /// As for [`erase_type`](Self::erase_type).
    pub fn erase_partition(&self, partition: &str) -> Result<ErasureReport> {
        self.erase(Scope::Partition(partition.into()))
    }

    fn erase(&self, scope: Scope) -> Result<ErasureReport> {
        let (report, generation, rows) = self.engine().erase(scope)?;
        self.flush_up_to(generation).map_err(|error| {
            let message = "erased in memory, and not yet in the file: the next flush that succeeds does it";
            Error::new(error.kind(), message).because(error)
        })?;
        Ok(ErasureReport { rows: rows.load(Ordering::Relaxed), ..report })
    }
}

impl Engine {
    /// What it did in memory, in which generation, and where the number of rows will stand when that is committed.
    fn erase(&self, scope: Scope) -> Result<(ErasureReport, u64, Arc<AtomicU64>)> {
        self.shared.has_flusher()?;
        // One cut for all of it: there is none before this function returns.
        let block = self.shared.clock.block_cuts();
        self.admit()?;
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
            let gone = self.traces().alter(&self.shared.clock, &id, |trace| {
                Ok::<_, Error>(if scope.contains(trace) { Change::Remove } else { Change::Keep })
            });
            let gone = gone.map_err(super::engine::reason)?;
            if let Some(old) = gone.filter(|done| done.new.is_none()).and_then(|done| done.old) {
                report.traces += 1;
                report.links += self.drop_links(&old);
            }
        }
        let rows = Arc::new(AtomicU64::new(0));
        self.shared.send(Errand::Erase(Erasure { scope, rows: rows.clone() }));
        Ok((report, self.shared.clock.enter().number(), rows))
    }
}
