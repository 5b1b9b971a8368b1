//! Compacting, a step at a time between flushes.

use super::Flusher;
use super::guarded_backend::guarded_call;
use crate::error::Error;
use crate::state::{CompactAnswer, CompactReport, FailedStep};
use std::time::Instant;

/// Whether a compaction is under way, and who waits for it.
#[derive(Default)]
pub(super) struct Compaction {
    under_way: bool,
    waiting: Vec<Waiting>,
}

struct Waiting {
    since: Instant,
    /// Known when its first step begins.
    bytes_before: Option<u64>,
    answer: CompactAnswer,
}

impl Compaction {
    pub(super) fn ask(&mut self, answer: CompactAnswer) {
        self.under_way = true;
        self.waiting.push(Waiting { since: Instant::now(), bytes_before: None, answer });
    }

    /// The backend failed: those who wait are told, and what is under way goes on when it works again.
    pub(super) fn failed(&mut self, error: &Error) {
        self.waiting.drain(..).for_each(|waiting| (waiting.answer)(Err(error.clone())));
    }

    fn end(&mut self, bytes_after: u64) {
        self.under_way = false;
        for Waiting { since, bytes_before, answer } in self.waiting.drain(..) {
            let bytes_before = bytes_before.unwrap_or(bytes_after);
            answer(Ok(CompactReport { bytes_before, bytes_after, elapsed: since.elapsed() }));
        }
    }
}

impl Flusher {
    /// Whether a step of a compaction is to be done when no flush is due; not while the backend fails.
    pub(crate) fn compacts(&self) -> bool {
        self.compaction.under_way && self.is_well()
    }

    fn is_well(&self) -> bool {
        !self.is_behind() && !self.needs_reopen && !self.needs_replace
    }

    /// An erasure gives back what it has freed if that is more than a quarter of what the store takes on disk.
    pub(super) fn compact_if_worthwhile(&mut self) {
        self.compaction.under_way |= self.space.free_bytes > self.space.bytes / 4;
    }

    /// One step, and the housekeeping after it.
    pub(crate) fn compact(&mut self) {
        let asked = !self.compaction.waiting.is_empty();
        let step = guarded_call(|| Ok((self.backend.space()?, self.backend.compact(asked)?)));
        match step {
            Ok((before, more)) => {
                for waiting in &mut self.compaction.waiting {
                    waiting.bytes_before.get_or_insert(before.bytes);
                }
                // At the end thoroughly: the file shrinks when the log is moved into it.
                self.maintain(!more);
                if !more && self.is_well() {
                    self.compaction.end(self.space.bytes);
                }
            }
            Err(failure) => {
                // It would fail again and again, and nothing is lost by leaving the file as long as it is.
                self.compaction.under_way = false;
                self.failed(failure, FailedStep::Tidy);
            }
        }
    }
}
