//! Moving the WAL into the database file, beside the flusher.
//!
//! SQLite lets one connection move the WAL, passively, while another one writes. So the flusher has it done by a
//! thread with a connection of its own, for one [`Round`]: started after a commit that leaves more than
//! [`MOVE_FROM`] pages to be moved, and ended when they are moved. An idle store has no such thread. The flusher
//! takes up the outcome with its next call: what a failed sync means, and what is durable, it alone decides.
//!
//! - A round syncs the WAL before it moves anything, as SQLite does. A [`Gate`](gate::Gate) keeps that sync apart from
//!   the flusher's transactions, so that each knows what its own sync has proved.
//! - A round that fails fails the flusher's next call. Its connection is gone by then, and the flusher's goes too: the
//!   WAL is written once more and its index made anew, so that all of it is moved again.
//! - SQLite begins the WAL anew with the first commit that finds all of it moved and no reader in it. Where flushes
//!   follow each other so closely that a round never finds such a moment, the flusher makes one: beyond
//!   [`RESTART_FROM`] pages it moves the rest itself, which is little. Should flushes be faster than the round, the
//!   flusher waits for it as soon as the WAL has grown by [`WAIT_FROM`] pages meanwhile. So the WAL has at most so many
//!   pages, beside those of a few cuts, unless a reader stays in it.
//! - The flusher empties the WAL itself when idle, after an erasure or compaction and at the close, once the round is
//!   over. Where no thread can be started, or no connection opened, it moves everything itself.
//!
//! While a round is under way the WAL alone is watched for writes by others, as the database file changes all the
//! time; the round notes how it leaves that, and looks at it before each of its passes.

mod gate;
mod round;
#[cfg(test)]
mod tests;

use super::Sqlite;
use super::changes::{LastWrite, Written};
use super::engine::changed_by_another;
use super::error::while_doing;
use super::file::Attached;
use super::look;
use crate::backend::{Backend, BackendError};
use crate::error::ErrorKind;
use crate::guarded;
pub(super) use gate::Writing;
pub(super) use round::Round;
use round::{Ended, Outcome, Task};
use std::panic::resume_unwind;

/// Above this number of pages that are not in the database file yet, they are moved there: 4 MB.
pub(super) const MOVE_FROM: i64 = 1_000;

/// Above this number of pages in the WAL the flusher moves the last of them itself, so that it is begun anew: 64 MiB.
const RESTART_FROM: i64 = if cfg!(test) { 2_000 } else { 16_384 };

/// Number of pages by which the WAL may grow during a round before the flusher waits for the round: 256 MiB.
const WAIT_FROM: i64 = if cfg!(test) { 2_000 } else { 65_536 };

/// How SQLite is to move the WAL.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// As much as can be moved without waiting for anybody.
    Passive,
    /// All of it, and empty it.
    Truncate,
}

/// Length of the WAL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pages {
    logged: i64,
    /// Number of pages that are in the database file already.
    moved: i64,
}

impl Pages {
    fn left(self) -> i64 {
        self.logged - self.moved
    }

    fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { logged: row.get(1)?, moved: row.get(2)? })
    }
}

impl Attached {
    pub(super) fn pages(&self) -> rusqlite::Result<Pages> {
        self.connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], Pages::read)
    }

    /// Moves the WAL into the database file. Returns whether all of it is there now, and synced; and its length.
    pub(super) fn checkpoint(&self, mode: Mode) -> rusqlite::Result<(bool, Pages)> {
        let waiting = self.pages()?.left();
        let span = guarded::span(|| {
            tracing::debug_span!(
                "mnemon.checkpoint",
                path = self.connection.path(),
                pages = waiting,
                complete = tracing::field::Empty,
            )
        });
        let _inside = span.enter();
        let sql = match mode {
            Mode::Passive => "PRAGMA wal_checkpoint(PASSIVE)",
            Mode::Truncate => "PRAGMA wal_checkpoint(TRUNCATE)",
        };
        let (busy, pages) = self.with_short_timeout(|connection| {
            connection.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, Pages::read(row)?)))
        })?;
        let complete = busy == 0 && pages.left() == 0;
        span.record("complete", complete);
        Ok((complete, pages))
    }
}

/// Whether the connections are as good as before, and so is what they have synced.
pub(super) fn is_harmless(error: &BackendError) -> bool {
    matches!(error.kind(), ErrorKind::Busy | ErrorKind::DiskFull | ErrorKind::OutOfMemory)
}

impl Sqlite {
    /// As [`Backend::tidy`].
    pub(super) fn maintain(&mut self, idle: bool) -> Result<bool, BackendError> {
        self.check()?;
        if let Some(error) = self.unreported.take() {
            return Err(error);
        }
        let empty = self.to_scrub || (idle && std::mem::take(&mut self.compacted));
        let mut durable = false;
        if let Some(round) = &self.round {
            let (is_over, logged) = (round.is_over(), round.logged);
            if !empty && !is_over && self.pages()?.logged - logged <= WAIT_FROM {
                return Ok(false);
            }
            durable = self.end_round()?;
        }
        if !self.is_untouched()? {
            // Moving the log would hide what somebody else has written.
            return Err(changed_by_another(&self.path));
        }
        let pages = self.pages()?;
        let is_much = pages.left() > if idle { MOVE_FROM } else { self.due };
        if !empty && is_much && self.start_round(pages) {
            return Ok(durable);
        }
        let is_long = pages.logged > RESTART_FROM && (1..=2 * MOVE_FROM).contains(&pages.left());
        if (empty || idle) && pages.logged > 0 {
            self.checkpoint(Mode::Truncate)
        } else if !idle && (is_much || is_long) {
            self.checkpoint(Mode::Passive)
        } else {
            Ok(durable)
        }
    }

    fn pages(&mut self) -> Result<Pages, BackendError> {
        let pages = self.attached()?.pages();
        pages.map_err(|error| while_doing("checkpointing", &self.path, error))
    }

    /// Moves the WAL on this thread, while no round is under way. Returns whether everything is durable.
    fn checkpoint(&mut self, mode: Mode) -> Result<bool, BackendError> {
        let (path, committed) = (self.path.clone(), self.committed);
        let moved = self.attached()?.checkpoint(mode);
        self.last_write = LastWrite::of(&path);
        let (complete, pages) = moved.map_err(|error| {
            let error = while_doing("checkpointing", &path, error);
            self.give_up_after(&error);
            error
        })?;
        self.due = pages.left() + MOVE_FROM;
        if complete {
            look::confirm(&path, self.boot, committed..=committed)?;
            self.durable = committed;
            self.to_scrub &= mode != Mode::Truncate;
            self.beside = true;
        }
        Ok(complete)
    }

    /// Returns whether a round could be started.
    fn start_round(&mut self, pages: Pages) -> bool {
        let Some(lock) = self.lock.clone().filter(|_| self.beside) else { return false };
        let task = Task {
            path: self.path.clone(),
            longest: self.longest,
            boot: self.boot,
            place: self.place,
            committed: self.committed,
            pages,
            file: self.last_write.file(),
            lock,
        };
        match Round::start(task) {
            Ok(round) => self.round = Some(round),
            Err(error) => self.not_beside(&error),
        }
        self.round.is_some()
    }

    /// Until the flusher has moved all of the WAL itself, no round is started.
    fn not_beside(&mut self, why: &dyn std::error::Error) {
        self.beside = false;
        let (path, error) = (self.path.display(), why.to_string());
        guarded::run(|| {
            tracing::debug!(%path, error, "the flusher moves the log itself: a thread beside it can't");
        });
    }

    /// It may have been a sync: whoever does not act on the error finds no connection.
    pub(super) fn give_up_after(&mut self, error: &BackendError) {
        if !is_harmless(error) {
            self.detach();
        }
    }

    /// Waits until the round is over, and takes up its outcome. Returns whether everything applied is durable.
    pub(super) fn end_round(&mut self) -> Result<bool, BackendError> {
        let Some(round) = self.round.take() else { return Ok(false) };
        let committed = round.committed;
        match self.left_by(round.join()) {
            Err(panic) => {
                self.beside = false;
                self.detach();
                resume_unwind(panic)
            }
            Ok(Ended::NotBegun(error)) => {
                self.not_beside(&error);
                Ok(false)
            }
            Ok(Ended::Failed(error)) => {
                self.give_up_after(&error);
                Err(error)
            }
            Ok(Ended::Moved { complete, left }) => {
                self.due = left.saturating_add(MOVE_FROM);
                if complete {
                    self.durable = self.durable.max(committed);
                }
                Ok(complete && committed == self.committed)
            }
        }
    }

    /// Ends the round soon, whatever comes of it: the connection is given up.
    pub(super) fn stop_round(&mut self) {
        if let Some(round) = self.round.take() {
            let ended = self.left_by(round.stop());
            guarded::run(|| drop(ended));
            self.due = MOVE_FROM;
        }
        self.unreported = None;
    }

    /// Takes up the outcome of a round that is over, or has failed. A failure that says nothing of what is committed is
    /// reported by the housekeeping.
    pub(super) fn take_up_round(&mut self) -> Result<(), BackendError> {
        match self.end_round() {
            Err(error) if is_harmless(&error) => self.unreported = Some(error),
            outcome => drop(outcome?),
        }
        Ok(())
    }

    /// Notes how a round has left the database file.
    fn left_by(&mut self, outcome: std::thread::Result<Outcome>) -> std::thread::Result<Ended> {
        let file = match &outcome {
            Ok(outcome) => outcome.file,
            Err(_) => Written::of(&self.path),
        };
        self.last_write.note_file(file);
        outcome.map(|outcome| outcome.ended)
    }

    /// Before a transaction; held until its end.
    ///
    /// # Errors
    ///
    /// The round has failed.
    pub(super) fn begin_writing(&mut self) -> Result<Option<Writing>, BackendError> {
        let Some(round) = &self.round else { return Ok(None) };
        let writing = round.write(&self.path);
        if writing.is_none() {
            self.take_up_round()?;
        }
        Ok(writing)
    }
}
