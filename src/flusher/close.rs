//! Closing.

use super::guarded_backend::guarded_call;
use super::{Flusher, events};
use crate::Durability;
use crate::error::{Error, ErrorKind};
use crate::protocol::Opening;
use crate::state::FailedStep;
use std::path::PathBuf;

impl Flusher {
    /// Drains: once with writes going on, and once more after they are refused. `true` if the store has
    /// closed; otherwise it takes writes again.
    pub(crate) fn close(&mut self) -> bool {
        if self.is_lost || !self.flush_once(Durability::Durable, Opening::Open) {
            return self.is_lost && self.close_lost();
        }
        let drained = self.flush_once(Durability::Durable, Opening::Sealed);
        let closed = drained && self.close_backend() && self.state.progress.finish_closing();
        if closed {
            self.state.feed.close();
            self.state.indexing.finish();
            self.settle_all();
        } else {
            // Of the sealed generation it captures what followed from writes before it, and nothing else is in it.
            self.cut(Opening::Open);
        }
        closed
    }

    /// Spills what another owner of the data keeps from being written, as of a cut after which writes are refused, and
    /// closes. `true` if the store has closed; otherwise it takes writes again.
    fn close_lost(&mut self) -> bool {
        self.cut(Opening::Sealed);
        let closed = self.leave() && self.state.progress.finish_closing();
        if closed {
            self.state.feed.close();
            self.state.indexing.finish();
        } else {
            self.cut(Opening::Open);
        }
        closed
    }

    /// Whether what could not be written is in a spill, or there is nothing.
    fn leave(&mut self) -> bool {
        let lost = self.state.counters.present_error();
        let spilled = match self.spill_for_good() {
            Ok(spilled) => spilled,
            Err(error) => {
                let outage = self.state.counters.failed(&error, FailedStep::Close);
                events::failed(&self.state.name, &outage, &error, self.pending_count());
                self.state.progress.fail(self.cut, error);
                return false;
            }
        };
        let what = match &spilled {
            Some(path) => format!(
                "another owner has its data: the store is closed, and what was not flushed is in {}",
                path.display()
            ),
            None => {
                "another owner has its data: the store is closed, and everything had been flushed".to_owned()
            }
        };
        let error = Error::new(ErrorKind::InUse, what);
        let error = lost.into_iter().fold(error, Error::because);
        events::left(&self.state.name, &error);
        self.state.counters.lock().left = Some(error);
        true
    }

    #[cfg(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom)))]
    fn spill_for_good(&mut self) -> crate::Result<Option<PathBuf>> {
        let spill = self.spill();
        match &self.spills {
            _ if spill.is_empty() => Ok(None),
            Some(write) => write(spill).map(Some),
            None => Err(Error::new(
                ErrorKind::InUse,
                "another owner has the data, and there is no place for a spill",
            )),
        }
    }

    #[cfg(not(all(feature = "snapshot", any(feature = "sqlite", feature = "postgres"), not(loom))))]
    fn spill_for_good(&mut self) -> crate::Result<Option<PathBuf>> {
        match self.pending_count() + self.unsynced_count() {
            0 => Ok(None),
            _ => Err(Error::new(
                ErrorKind::InUse,
                "another owner has the data, and spills need the feature snapshot",
            )),
        }
    }

    fn close_backend(&mut self) -> bool {
        // Housekeeping after the last commit may have made the connection doubtful: then the next try reopens it.
        if self.needs_reopen || self.needs_replace {
            return false;
        }
        match guarded_call(|| self.backend.close(self.committed.stored)) {
            Ok(()) => {
                // Should all who waited have given up, the backend is opened again.
                self.needs_reopen = true;
                self.state.counters.lock().wal_bytes = 0;
                self.recovered(FailedStep::Close);
                true
            }
            Err(failure) => {
                self.failed(failure, FailedStep::Close);
                false
            }
        }
    }
}
