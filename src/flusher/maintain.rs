//! Maintenance between flushes.

use super::Flusher;
use super::guarded_backend::guarded_call;
use crate::state::FailedStep;
use std::time::Instant;

impl Flusher {
    /// Lets the backend do its housekeeping, after the waiters have been woken. `false` if a log is left that
    /// somebody holds: worth another try, without new work.
    pub(super) fn maintain(&mut self, idle: bool) -> bool {
        self.last_flush = Instant::now();
        if self.needs_reopen || self.needs_replace {
            return true;
        }
        match guarded_call(|| Ok((self.backend.tidy(idle)?, self.backend.wal_bytes(), self.backend.space()?)))
        {
            Ok((durable, wal_bytes, space)) => {
                self.space = space;
                let mut counters = self.state.counters.lock();
                (counters.wal_bytes, counters.free_bytes) = (wal_bytes, space.free_bytes);
                drop(counters);
                self.recovered(FailedStep::Tidy);
                if durable {
                    self.forget_unsynced();
                    self.state.progress.durable();
                }
                durable || wal_bytes == 0
            }
            Err(failure) => {
                self.failed(failure, FailedStep::Tidy);
                true
            }
        }
    }

    /// Frees what writers have replaced, and what settling has taken out.
    pub(super) fn collect(&self) {
        if self.state.indexing.is_left_to_the_flusher() {
            while self.state.guarded_index(|| self.state.index()) == Some(true) {}
        }
        self.state.traces.collect();
        self.state.links.collect();
    }
}
