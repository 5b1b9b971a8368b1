//! One flush, from the cut to the watermark, and closing.

use super::owed::{Owed, TraceEntry, changes, merge};
use super::retry::{Cause, Step, Trouble};
use super::shared::Shared;
use super::telemetry::FlushReport;
use crate::backend::{
    Applied, Backend, BackendError, Batch, ErrorClass, Reach, Reopened, RowNumber, TraceChange,
};
use crate::core::planted::{Mistake, planted};
use crate::core::{Cutter, Opening};
use crate::error::{Error, ErrorKind};
use crate::trace::TraceId;
use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// The flusher's own state. Nothing here is dropped before it is committed: a batch that fails stays in
/// `owed`, and what is committed but not known to be durable stays in `undurable`.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    backend: Box<dyn Backend>,
    cutter: Cutter<Arc<TraceEntry>>,
    /// Captured and not committed, in the order of rows.
    owed: Vec<Owed>,
    /// When the oldest change in `owed` was made.
    owed_since: Option<Instant>,
    undurable: BTreeMap<RowNumber, Arc<TraceEntry>>,
    /// The newest cut, and the newest that is committed.
    cut: u64,
    committed: u64,
    last_row: RowNumber,
    /// The backend must be reopened before it is used again.
    doubtful: bool,
    /// What the backend holds is damaged and must be replaced.
    damaged: bool,
    last_turn: Instant,
}

impl Driver {
    pub(crate) fn new(
        shared: Arc<Shared>,
        backend: Box<dyn Backend>,
        cutter: Cutter<Arc<TraceEntry>>,
        watermark: u64,
        last_row: RowNumber,
    ) -> Self {
        Self {
            shared,
            backend,
            cutter,
            owed: Vec::new(),
            owed_since: None,
            undurable: BTreeMap::new(),
            cut: watermark,
            committed: watermark,
            last_row,
            doubtful: false,
            damaged: false,
            last_turn: Instant::now(),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// When the next try is due, after a failure.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.shared.telemetry.trouble().map(|trouble| trouble.retry_at)
    }

    /// Whether the last try failed for more than contention.
    pub(super) fn is_failing(&self) -> bool {
        self.shared.telemetry.trouble().is_some_and(|trouble| trouble.counts())
    }

    /// Whether there is work that no writer will announce.
    pub(super) fn is_behind(&self) -> bool {
        !self.owed.is_empty() || self.shared.telemetry.trouble().is_some()
    }

    pub(super) fn last_turn(&self) -> Instant {
        self.last_turn
    }

    /// One flush; its outcome is published. `true` if it was committed.
    pub(crate) fn turn(&mut self, reach: Reach, opening: Opening) -> bool {
        let started = Instant::now();
        self.shared.telemetry.step();
        self.cut(opening);
        let outcome = supervised(|| self.commit(reach, started));
        self.shared.telemetry.step();
        self.last_turn = Instant::now();
        match outcome {
            Ok(()) => {
                self.tidy(false);
                true
            }
            Err(failure) => {
                self.failed(failure, Step::Commit);
                false
            }
        }
    }

    /// Cut, grace, capture, merge.
    fn cut(&mut self, opening: Opening) {
        // Told before the cut, so that no moment shows neither the open generation's age nor ours.
        self.owed_since = self.owed_since.or_else(|| self.shared.clock.enter().first_write());
        self.shared.progress.owes(self.owed.len(), self.owed_since);
        let cut = self.cutter.cut(opening);
        if !cut.entries.is_empty() {
            self.owed_since.get_or_insert_with(Instant::now);
        }
        let captured =
            cut.entries.into_iter().map(|entry| Owed::capture(entry, cut.number, &mut self.last_row));
        self.owed = merge(std::mem::take(&mut self.owed), captured.collect());
        self.cut = cut.number;
        self.shared.telemetry.lock().cuts += 1;
        self.shared.progress.owes(self.owed.len(), self.owed_since);
    }

    fn commit(&mut self, reach: Reach, started: Instant) -> Result<(), BackendError> {
        self.recover()?;
        let changes = changes(&self.owed);
        if planted(Mistake::EarlyWatermark) {
            self.shared.progress.publish(self.cut, true, FlushReport::default());
        }
        let untouched = changes.is_empty() && (reach == Reach::Committed || self.undurable.is_empty());
        let applied = match untouched {
            true => Applied::default(),
            false => self.backend.apply(&Batch::new(self.cut, &changes, reach))?,
        };
        let report = FlushReport {
            watermark: self.cut,
            rows_upserted: applied.upserted,
            rows_updated: applied.updated,
            rows_deleted: applied.deleted,
            rows_refused: applied.refused.len() as u64,
            payload_bytes_serialized: applied.payload_bytes,
            elapsed: started.elapsed(),
        };
        let refused = self.set_aside(&changes, &applied);
        self.committed(reach, untouched, &refused, report);
        Ok(())
    }

    /// Before a try: what the last failure made necessary.
    fn recover(&mut self) -> Result<(), BackendError> {
        if self.damaged {
            tracing::error!("what is stored is damaged: it is put aside, and written anew from memory");
            self.backend.replace()?;
            self.damaged = false;
            self.doubtful = false;
            self.owe_everything();
        }
        if self.doubtful {
            match self.backend.reopen()? {
                Reopened::Same => self.owe_the_undurable(),
                Reopened::Empty => self.owe_everything(),
            }
            self.doubtful = false;
        }
        Ok(())
    }

    /// Of what was committed but not synced, nothing can be counted on any more.
    fn owe_the_undurable(&mut self) {
        let entries: Vec<_> = std::mem::take(&mut self.undurable).into_values().collect();
        self.owe_again(entries);
    }

    /// The backend holds nothing any more, and memory holds everything.
    fn owe_everything(&mut self) {
        self.undurable.clear();
        let entries = self.shared.traces.entries();
        self.owe_again(entries);
    }

    fn owe_again(&mut self, entries: Vec<Arc<TraceEntry>>) {
        let (cut, last_row) = (self.cut, &mut self.last_row);
        let again = entries.into_iter().map(|entry| Owed::recapture(entry, cut, last_row)).collect();
        self.owed = merge(std::mem::take(&mut self.owed), again);
        self.owed_since.get_or_insert_with(Instant::now);
        self.shared.progress.owes(self.owed.len(), self.owed_since);
    }

    /// Reports the rows that the backend left out.
    fn set_aside(&self, changes: &[TraceChange], applied: &Applied) -> HashSet<TraceId> {
        let refused: HashSet<_> =
            applied.refused.iter().filter_map(|(at, _)| changes.get(*at)).map(TraceChange::id).collect();
        let telemetry = &self.shared.telemetry;
        telemetry.accept(changes.iter().map(TraceChange::id).filter(|id| !refused.contains(id)));
        for (at, reason) in &applied.refused {
            if let Some(change) = changes.get(*at) {
                let id = change.id();
                tracing::error!(%id, reason, "the backend refuses this trace's row; it is quarantined");
                telemetry.refuse(id, reason);
            }
        }
        refused
    }

    /// Publishes the watermark, then settles what the capture needed.
    fn committed(&mut self, reach: Reach, untouched: bool, refused: &HashSet<TraceId>, report: FlushReport) {
        let done = std::mem::take(&mut self.owed);
        for owed in &done {
            owed.end(refused.contains(owed.entry.key()));
        }
        let synced = reach == Reach::Durable && !untouched;
        if synced {
            self.undurable.clear();
        } else if !untouched {
            self.undurable.extend(done.iter().map(|owed| (owed.row(), owed.entry.clone())));
        }
        self.committed = self.cut;
        self.owed_since = None;
        self.shared.telemetry.committed(&report);
        self.recovered(Step::Commit);
        self.shared.progress.publish(self.cut, self.undurable.is_empty(), report);
        for owed in &done {
            self.shared.traces.settle(&owed.entry, self.cut);
        }
    }

    pub(super) fn recovered(&self, step: Step) {
        if let Some(trouble) = self.shared.telemetry.recovered(step).filter(Trouble::counts) {
            tracing::warn!(?trouble, watermark = self.cut, "the backend succeeds again");
        }
    }

    /// What is owed stays owed; decides when it is tried again, and tells those who wait.
    fn failed(&mut self, failure: Failure, step: Step) {
        if planted(Mistake::FailedBatchDropped) {
            self.owed.clear();
        }
        let (cause, error) = match failure {
            Failure::Backend(error) => (Cause::Class(error.class()), Error::from(error)),
            Failure::Panic(message) => (
                Cause::Panic,
                Error::new(
                    ErrorKind::Panicked,
                    format!("the backend panicked: {message}; its batch is kept and tried again"),
                ),
            ),
        };
        self.doubtful |= cause.makes_doubtful();
        self.damaged |= cause == Cause::Class(ErrorClass::Corrupt);
        if self.shared.telemetry.failed(cause, &error, step).counts() {
            tracing::warn!(error = ?error, owed = self.owed.len(), "a flush failed; the changes are kept and tried again");
            self.shared.progress.fail(self.cut, error);
        }
    }

    /// Lets the backend do its housekeeping, after the waiters have been woken.
    pub(super) fn tidy(&mut self, idle: bool) {
        if self.doubtful || self.damaged {
            return;
        }
        match supervised(|| Ok((self.backend.tidy(idle)?, self.backend.wal_bytes()))) {
            Ok((durable, wal_bytes)) => {
                self.shared.telemetry.lock().wal_bytes = wal_bytes;
                self.recovered(Step::Tidy);
                if durable {
                    self.undurable.clear();
                    self.shared.progress.durable(self.committed);
                }
            }
            Err(failure) => self.failed(failure, Step::Tidy),
        }
    }

    /// Drains: once with writes going on, and once more after they are refused. `true` if the store has
    /// closed; otherwise it takes writes again.
    pub(crate) fn close(&mut self) -> bool {
        if !self.turn(Reach::Durable, Opening::Open) {
            return false;
        }
        let drained = self.turn(Reach::Durable, Opening::Sealed);
        let closed = drained && self.end() && self.shared.progress.finish_closing();
        if !closed {
            // The sealed generation is empty, so this cut captures nothing.
            self.cut(Opening::Open);
        }
        closed
    }

    fn end(&mut self) -> bool {
        // Housekeeping after the last commit may have made the connection doubtful: then the next try reopens it.
        if self.doubtful || self.damaged {
            return false;
        }
        match supervised(|| self.backend.close(self.committed)) {
            Ok(()) => {
                // Should all who waited have given up, the backend is opened again.
                self.doubtful = true;
                self.shared.telemetry.lock().wal_bytes = 0;
                self.recovered(Step::Close);
                true
            }
            Err(failure) => {
                self.failed(failure, Step::Close);
                false
            }
        }
    }
}

enum Failure {
    Backend(BackendError),
    Panic(String),
}

/// Turns a backend's panic into a failure. What it may have left half done is the backend's alone, and
/// is reopened; the flusher's state is changed before or after the backend is called, never during.
fn supervised<T>(work: impl FnOnce() -> Result<T, BackendError>) -> Result<T, Failure> {
    if cfg!(loom) {
        // A model that fails does so by panicking, and must be seen to.
        return work().map_err(Failure::Backend);
    }
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(outcome) => outcome.map_err(Failure::Backend),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Failure::Panic(text.unwrap_or_else(|| "with no message".to_owned())))
        }
    }
}
