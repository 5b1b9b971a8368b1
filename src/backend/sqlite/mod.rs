//! The SQLite backend: one file, one connection that writes, one transaction a batch.
//!
//! What is relied on: in WAL mode recovery yields a prefix of the commits, so after any crash the file is
//! at some cut; with `synchronous=FULL` a commit makes itself and all before it durable; and after a failed
//! sync nothing of the connection can be trusted, nor the log: the one is dropped, the other written once more, and
//! everything since the last durable watermark is written again.
//!
//! - [`engine`]: a store's file and its connection, and in this module the backend over them;
//! - [`apply`]: writing a batch;
//! - [`path`], [`look`], [`file`]: where the file is, whether it is a store, and its connection;
//! - [`files`]: the files that this process has open through SQLite, and those that it must not open;
//! - [`file_identity`]: noticing that the file has been moved or replaced, and quarantining files;
//! - [`changes`]: noticing that somebody else has written to it;
//! - [`checkpoint`]: moving the WAL into the file, beside the flusher;
//! - [`wal`]: making certain what an earlier connection has left in the WAL;
//! - [`schema`]: the tables, their version, and the steps from one version to the next;
//! - [`current`]: the view of the strengths as of now;
//! - [`rows_read`] and [`rows_write`]: a trace as a row, and back;
//! - [`links`]: the same of a link;
//! - [`moment`]: reading all of them, with several connections;
//! - [`history`]: former contents of traces;
//! - [`erase`]: deleting so that nothing is left behind;
//! - [`compact`]: giving back the pages that nothing uses;
//! - [`error`]: SQLite's error codes by kind;
//! - [`lock`]: the file's one writing owner;
//! - [`inspect`]: what a reader is told of a file, without owning it;
//! - [`verify`]: whether a file is sound;
//! - [`backup`]: a copy of a file as of one cut.

mod apply;
mod backup;
mod changes;
mod checkpoint;
mod compact;
mod current;
mod engine;
mod erase;
mod error;
mod file;
mod file_identity;
#[cfg_attr(
    not(all(target_os = "linux", target_pointer_width = "64")),
    allow(dead_code, reason = "a lock beside the file opens no descriptor of the file itself")
)]
mod files;
mod finding;
mod history;
mod inspect;
mod links;
mod lock;
mod look;
mod moment;
mod path;
mod rows_read;
mod rows_write;
mod schema;
mod verify;
mod wal;

#[cfg(feature = "legion")]
pub(crate) use backup::Partial;
pub use backup::backup;
pub(crate) use engine::Sqlite;
pub(crate) use error::while_doing;
pub(crate) use file::{Claim, MAX_PAYLOAD, longest_payload};
pub(crate) use file_identity::spill;
pub(crate) use files::give_up_inherited_locks;
pub use finding::Finding;
pub(crate) use history::read_history;
pub(crate) use inspect::read;
pub use inspect::{FileReport, inspect};
#[cfg(feature = "legion")]
pub(crate) use look::look_at;
pub(crate) use moment::Moment;
#[cfg(feature = "legion")]
pub(crate) use path::free_path;
pub(crate) use path::resolved;
pub use verify::{VerifyReport, verify};

use super::{Applied, Backend, BackendError, Batch, Loaded, Reopened, RowNumber, Space, Stored};
use crate::Durability;
use crate::error::ErrorKind;
use crate::guarded;
use changes::LastWrite;
use checkpoint::{Round, is_harmless};
use rusqlite::Connection;

/// Every row, and the last one's number.
fn load(connection: &Connection, into: &mut dyn FnMut(Stored)) -> rusqlite::Result<RowNumber> {
    let last_row = rows_read::load(connection, RowNumber::MIN..=RowNumber::MAX, into)?;
    links::load(connection, into)?;
    Ok(last_row)
}

impl Backend for Sqlite {
    fn load(&mut self, into: &mut dyn FnMut(Stored)) -> Result<Loaded, BackendError> {
        let (path, watermark) = (self.path.clone(), self.committed);
        let last_row = load(&self.attached()?.connection, into);
        last_row
            .map(|last_row| Loaded { watermark, last_row })
            .map_err(|error| while_doing("reading", &path, error))
    }

    fn apply(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        let applied = self.transact(batch)?;
        // It was compared with memory before, if it had to be.
        (self.changed, self.unfilled) = (false, false);
        self.committed = batch.watermark;
        if batch.durability == Durability::Durable {
            self.durable = batch.watermark;
        }
        if !batch.erased.is_empty() {
            self.to_scrub = true;
            // At once if it can be: what fails is tried again, and reported, by the housekeeping.
            match self.tidy(false) {
                Ok(_) => {}
                // Nothing later would look again.
                Err(error) if error.kind() == ErrorKind::Corrupt => return Err(error),
                Err(error) => {
                    guarded::run(|| {
                        tracing::debug!(path = %self.path.display(), %error, "the WAL still contains erased data");
                    });
                    self.unreported = Some(error).filter(|error| !is_harmless(error));
                }
            }
        }
        Ok(applied)
    }

    fn is_untouched(&mut self) -> Result<bool, BackendError> {
        self.place.check(&self.path)?;
        if self.round.as_ref().is_some_and(Round::is_over) {
            self.take_up_round()?;
        }
        Ok(self.released
            || match self.round {
                Some(_) => self.last_write.is_last_in_log(&self.path),
                None => self.last_write.is_last(&self.path),
            })
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        self.stop_round();
        self.changed |= !self.released && !self.is_untouched().unwrap_or(false);
        self.detach();
        self.place.quarantine_orphan(&self.path)?;
        let store = self.attach()?;
        // Unsigned: made by a reopening that did not get further.
        if store.is_new || (store.boot.is_none() && store.watermark == 0) {
            self.start_over()?;
            return Ok(Reopened::Empty);
        }
        if store.boot != Some(self.boot) {
            // Written over ours; or it is another owner's by now, who came while it was not locked, or is at it.
            let is_at_it = !store.clean && store.watermark >= self.durable;
            if self.place.is_file_at(&self.path) && self.held_since && !is_at_it {
                return self.put_right(store.watermark);
            }
            self.detach();
            return Err(BackendError::new(
                ErrorKind::NotAStore,
                format!(
                    "{} is not the file this store wrote: put that one back, or move this one away and it is written anew",
                    self.path.display()
                ),
            ));
        }
        if store.watermark < self.durable {
            // An older copy of it. Memory is the truth; the copy is kept.
            return self.put_right(store.watermark);
        }
        self.claim()?;
        if self.changed {
            self.check_pages()?;
        }
        Ok(if self.unfilled && store.watermark == 0 {
            // Whoever was told so may not have come to act on it.
            Reopened::Empty
        } else if self.changed {
            Reopened::Changed
        } else {
            Reopened::Same
        })
    }

    fn replace(&mut self) -> Result<(), BackendError> {
        self.detach();
        file_identity::quarantine_file(&self.path, file_identity::DAMAGED, &["", "-wal", "-shm"])?;
        self.attach()?;
        self.changed = false;
        self.start_over()
    }

    fn tidy(&mut self, idle: bool) -> Result<bool, BackendError> {
        self.maintain(idle)
    }

    fn close(&mut self, watermark: u64) -> Result<(), BackendError> {
        self.check()?;
        // What it moves has to be moved for the end in any case.
        self.end_round()?;
        let path = self.path.clone();
        let signed_off = self.attached()?.mark_clean(watermark);
        self.last_write = LastWrite::of(&path);
        let is_sound = signed_off.map_err(|error| while_doing("closing", &path, error))?;
        self.check_descriptors()?;
        look::confirm(&path, self.boot, watermark..=watermark)?;
        if is_sound {
            self.attached()?.let_finish().map_err(|error| while_doing("closing", &path, error))?;
        }
        self.attached = None;
        self.released = true;
        Ok(())
    }

    fn wal_bytes(&self) -> u64 {
        file_identity::wal_bytes(&self.path)
    }

    fn space(&mut self) -> Result<Space, BackendError> {
        self.measure()
    }

    fn compact(&mut self, asked: bool) -> Result<bool, BackendError> {
        self.compact_step(asked)
    }
}

#[cfg(test)]
mod tests;
