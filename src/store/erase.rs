//! Erasing: removal that leaves no bytes behind.

use super::inner::Inner;
use super::{Removed, TraceStore};
use crate::backend::Scope;
use crate::error::{Error, Result};
use crate::protocol::{Change, CutBlock};
use crate::state::{CutTask, Dirty, Erasure};
use crate::trace::{TraceId, TraceType};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

impl TraceStore {
    /// Removes every trace of a type, with its links and its row, together with the rows that were
    /// [quarantined](crate::Stats::quarantined), all in one cut, and returns once that is durable. The erased data is
    /// overwritten in the file, it leaves the views, and the WAL is emptied as soon as no reader holds it. Deleting
    /// snapshots, copies and a damaged file that was quarantined is left to you. If more than a quarter of the file is
    /// then free, the flusher [compacts](Self::compact) it in the background.
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
    /// let removed = store.erase_type(TraceType::Sensory)?;
    /// assert_eq!((removed.traces, store.len()), (1, 1));
    /// # Ok::<(), mnemon::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) and [`Lagging`](crate::ErrorKind::Lagging), under the conditions of
    /// [`insert`](Self::insert), and [`WouldDeadlock`](crate::ErrorKind::WouldDeadlock), under those of
    /// [`flush`](Self::flush): nothing is erased. Otherwise the error of the flush: the traces are then gone from
    /// memory, and the next flush that succeeds erases them from the file.
    pub fn erase_type(&self, kind: TraceType) -> Result<Removed> {
        self.erase(Scope::Type(kind))
    }

    /// Removes every trace of a partition, in the way that [`erase_type`](Self::erase_type) removes every trace of a
    /// type.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`erase_type`](Self::erase_type).
    pub fn erase_partition(&self, partition: &str) -> Result<Removed> {
        self.erase(Scope::Partition(partition.into()))
    }

    fn erase(&self, scope: Scope) -> Result<Removed> {
        let (removed, generation, rows) = self.inner().erase(scope)?;
        self.flush_up_to(generation).map_err(|error| {
            let message = "erased in memory, and not yet in the file: the next flush that succeeds does it";
            Error::new(error.kind(), message).because(error)
        })?;
        self.state().forget_removed();
        Ok(Removed { rows: rows.load(Ordering::Relaxed), ..removed })
    }
}

impl Inner {
    /// Returns the ids of the traces that are in a scope, and perhaps of some that no longer are.
    fn ids_in(&self, scope: &Scope) -> Vec<TraceId> {
        let found = self.state.ask(|unsettled, views| {
            let changed = unsettled.iter().map(|(id, _)| *id);
            match scope {
                Scope::Type(kind) => changed.chain(views.of_type(*kind)).collect(),
                Scope::Partition(partition) => changed.chain(views.of_partition(partition)).collect(),
            }
        });
        found.unwrap_or_else(|| self.traces().keys())
    }

    /// Erases in memory. Returns the result so far, the generation, and the place where the number of rows is stored
    /// once that generation is committed.
    fn erase(&self, scope: Scope) -> Result<(Removed, u64, Arc<AtomicU64>)> {
        self.state.check_may_wait()?;
        // All changes go into one cut: no cut is made before this function returns.
        let block = self.state.generations.block_cuts();
        self.check_writable()?;
        self.erase_while_blocked(scope, &block)
    }

    pub(super) fn erase_while_blocked(
        &self,
        scope: Scope,
        _: &CutBlock<'_, Dirty>,
    ) -> Result<(Removed, u64, Arc<AtomicU64>)> {
        let mut removed = Removed::default();
        for id in self.ids_in(&scope) {
            self.update_counted(id, &mut removed, |trace| {
                Ok(if scope.contains(trace) { Change::Remove } else { Change::Keep })
            })?;
        }
        let rows = Arc::new(AtomicU64::new(0));
        self.state.send(CutTask::Erase(Erasure { scope, rows: rows.clone() }));
        Ok((removed, self.state.generations.enter().number(), rows))
    }
}
