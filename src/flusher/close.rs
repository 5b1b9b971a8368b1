//! Closing.

use super::Flusher;
use super::guarded_backend::guarded_call;
use crate::Durability;
use crate::protocol::Opening;
use crate::state::FailedStep;

impl Flusher {
    /// Drains: once with writes going on, and once more after they are refused. `true` if the store has
    /// closed; otherwise it takes writes again.
    pub(crate) fn close(&mut self) -> bool {
        if !self.flush_once(Durability::Durable, Opening::Open) {
            return false;
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
