//! The SQLite backend: one file, one connection, one transaction a batch.
//!
//! What is relied on: in WAL mode recovery yields a prefix of the commits, so after any crash the file is
//! at some cut; with `synchronous=FULL` a commit makes itself and all before it durable; and after a failed
//! sync nothing of the connection can be trusted, nor the log: the one is dropped, the other written once more, and
//! everything since the last durable watermark is written again.
//!
//! - [`file`]: opening, and what the file must be;
//! - [`place`]: noticing that the file has been moved or replaced, and putting files aside;
//! - [`log`]: making certain what an earlier connection has left in the log;
//! - [`schema`]: the tables, their version, and the steps from one version to the next;
//! - [`rows`]: a trace as a row, and back;
//! - [`links`]: the same of a link;
//! - [`erase`]: deleting so that nothing is left behind;
//! - [`compact`]: giving back the pages that nothing uses;
//! - [`fault`]: SQLite's error codes by class;
//! - [`lock`]: the file's one writing owner;
//! - [`inspect`]: what a reader is told of a file, without owning it;
//! - [`verify`]: whether a file is sound;
//! - [`backup`]: a copy of a file as of one cut.

mod backup;
mod compact;
mod erase;
mod fault;
mod file;
mod inspect;
mod links;
mod lock;
mod log;
mod place;
mod rows;
mod schema;
mod verify;

pub use backup::{BackupReport, backup};
pub(crate) use fault::while_doing;
pub(crate) use file::resolved;
#[cfg(feature = "legion")]
pub(crate) use file::{look_at, make_new};
pub(crate) use inspect::read;
pub use inspect::{FileReport, inspect};
pub(crate) use place::spill;
pub use verify::{FileFinding, FilePart, VerifyReport, verify};

use super::{
    Applied, Backend, BackendError, Batch, ErrorClass, Loaded, Reach, Reopened, RowNumber, Space, Stored,
};
use fault::{class_of, is_about_the_row, is_no_database};
use file::{Attached, Store};
use lock::Lock;
use place::Place;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Above this many pages not yet in the database file, the WAL is checkpointed.
const CHECKPOINT_PAGES: i64 = 1_000;

/// How often a COMMIT that finds a lock is tried again, each time after SQLite's own busy timeout.
const COMMIT_TRIES: u32 = 3;

/// A store's file.
pub(crate) struct Sqlite {
    path: PathBuf,
    /// Names this opening of the store in the file: what else is found there is not ours.
    boot: Uuid,
    /// In bytes: see [`file::longest_value`].
    longest: usize,
    /// The very file and log that this store has last signed.
    place: Place,
    /// Held while the store owns the file; `None` once closed.
    lock: Option<Lock>,
    /// `None` after an error that makes a connection worthless, and once closed.
    attached: Option<Attached>,
    /// The highest watermark known to be durable: a file with less is not what this store wrote.
    durable: u64,
    committed: u64,
    /// Something was erased that the log still holds.
    to_scrub: bool,
}

impl Sqlite {
    /// Opens or makes the file, and owns it from then on. What is not a store is left as it was.
    pub(crate) fn open(path: &Path, max_payload_bytes: usize) -> Result<Self, BackendError> {
        let longest = file::longest_value(max_payload_bytes);
        let path = file::resolved(path)?;
        if path.exists() {
            // First of all, so that no lock file appears beside what is not a store.
            file::look_before_touching(&path)?;
        }
        let lock = Lock::acquire(&path)?;
        let (mut attached, store) = Attached::open(&path, longest)?;
        // A spill belongs to the opening that left it: until it is applied, that one goes on.
        let spilled = place::spill(&path).exists();
        let boot = store.boot.filter(|_| spilled).unwrap_or_else(Uuid::now_v7);
        let place = attached.sign(&path, boot)?;
        let watermark = store.watermark;
        Ok(Self {
            path,
            boot,
            longest,
            place,
            lock: Some(lock),
            attached: Some(attached),
            durable: watermark,
            committed: watermark,
            to_scrub: false,
        })
    }

    /// The file, and the name of this opening.
    pub(crate) fn home(&self) -> (PathBuf, Uuid) {
        (self.path.clone(), self.boot)
    }

    fn attached(&mut self) -> Result<&mut Attached, BackendError> {
        let path = &self.path;
        self.attached.as_mut().ok_or_else(|| {
            BackendError::new(
                ErrorClass::Other,
                format!("there is no connection to {}: reopen it", path.display()),
            )
        })
    }

    /// Applies the batch; any error leaves no transaction open, or no connection.
    fn transact(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        let (path, place) = (self.path.clone(), self.place);
        let attached = self.attached()?;
        place.check(&path)?;
        let doing = |error| while_doing("writing to", &path, error);
        attached.reach(batch.reach).map_err(doing)?;
        let outcome = attached.write(batch).map_err(doing);
        if outcome.is_err() {
            self.roll_back();
        }
        outcome
    }

    /// After an error: leaves no transaction open, or no connection.
    fn roll_back(&mut self) {
        let stays_open = |Attached { connection, .. }: &Attached| {
            !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err()
        };
        if self.attached.as_ref().is_some_and(stays_open) {
            self.detach();
        }
    }

    /// Gives up a connection that can't be trusted, or a file that is not ours, writing nothing more to it.
    fn detach(&mut self) {
        self.attached = None;
    }

    fn attach(&mut self) -> Result<Store, BackendError> {
        if !self.lock.as_ref().is_some_and(|lock| lock.is_beside(&self.path)) {
            self.lock = Some(Lock::acquire(&self.path)?);
        }
        let (attached, store) =
            Attached::open(&self.path, self.longest).map_err(|error| self.damaged(error))?;
        self.attached = Some(attached);
        Ok(store)
    }

    /// The very file that this store has signed is a database, or was one.
    fn damaged(&self, error: BackendError) -> BackendError {
        match is_no_database(&error) && self.place.check(&self.path).is_ok() {
            true => BackendError::new(ErrorClass::Corrupt, format!("{} is damaged", self.path.display()))
                .because(error),
            false => error,
        }
    }

    /// Marks the file as this boot's.
    fn sign(&mut self) -> Result<(), BackendError> {
        let (path, boot) = (self.path.clone(), self.boot);
        self.place = self.attached()?.sign(&path, boot)?;
        Ok(())
    }

    /// Signs a file that was just made, of which nothing is durable.
    fn start_over(&mut self) -> Result<(), BackendError> {
        self.sign()?;
        (self.durable, self.committed) = (0, 0);
        Ok(())
    }
}

/// Every row, and the last one's number.
fn load(connection: &Connection, into: &mut dyn FnMut(Stored)) -> rusqlite::Result<RowNumber> {
    let last_row = rows::load(connection, into)?;
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
        self.committed = batch.watermark;
        if batch.reach == Reach::Durable {
            self.durable = batch.watermark;
        }
        if !batch.erased.is_empty() {
            self.to_scrub = true;
            // At once if it can be: what fails is tried again, and reported, by the housekeeping.
            if let Err(error) = self.tidy(false) {
                tracing::debug!(path = %self.path.display(), %error, "the log still holds what was erased");
            }
        }
        Ok(applied)
    }

    fn reopen(&mut self) -> Result<Reopened, BackendError> {
        self.detach();
        self.place.put_orphan_aside(&self.path)?;
        let store = self.attach()?;
        // Unsigned: made by a reopening that did not get further.
        if store.is_new || (store.boot.is_none() && store.watermark == 0) {
            self.start_over()?;
            return Ok(Reopened::Empty);
        }
        if store.boot != Some(self.boot) {
            self.detach();
            return Err(BackendError::new(
                ErrorClass::Foreign,
                format!(
                    "{} is not the file this store wrote: put that one back, or move this one away and it is written anew",
                    self.path.display()
                ),
            ));
        }
        if store.watermark < self.durable {
            // An older copy of it. Memory is the truth; the copy is kept.
            let (found, durable) = (store.watermark, self.durable);
            self.replace()?;
            tracing::error!(
                path = %self.path.display(),
                found,
                durable,
                "an older copy was in the file's place: it was put aside, and all is written anew from memory",
            );
            return Ok(Reopened::Empty);
        }
        self.sign()?;
        Ok(Reopened::Same)
    }

    fn replace(&mut self) -> Result<(), BackendError> {
        self.detach();
        place::put_aside(&self.path, place::DAMAGED, &["", "-wal", "-shm"])?;
        self.attach()?;
        self.start_over()
    }

    fn tidy(&mut self, idle: bool) -> Result<bool, BackendError> {
        let (path, committed) = (self.path.clone(), self.committed);
        self.place.check(&path)?;
        let thorough = idle || self.to_scrub;
        let complete = self
            .attached()?
            .checkpoint(thorough)
            .map_err(|error| while_doing("checkpointing", &path, error))?;
        if complete {
            self.durable = committed;
            self.to_scrub &= !thorough;
        }
        Ok(complete)
    }

    fn close(&mut self, watermark: u64) -> Result<(), BackendError> {
        let (path, place) = (self.path.clone(), self.place);
        let attached = self.attached()?;
        place.check(&path)?;
        attached.sign_off(watermark).map_err(|error| while_doing("closing", &path, error))?;
        self.attached = None;
        self.lock = None;
        Ok(())
    }

    fn wal_bytes(&self) -> u64 {
        place::wal_bytes(&self.path)
    }

    fn space(&mut self) -> Result<Space, BackendError> {
        self.measure()
    }

    fn compact(&mut self, asked: bool) -> Result<bool, BackendError> {
        self.compact_step(asked)
    }
}

impl Attached {
    /// One transaction, begun and committed by hand; after an error the caller rolls back. Rows that are
    /// refused for their content are left out.
    fn write(&self, batch: &Batch<'_>) -> rusqlite::Result<Applied> {
        let connection = &self.connection;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut applied = Applied::default();
        for scope in batch.erased {
            erase::erase(connection, scope, &mut applied)?;
        }
        let mut statements = rows::Statements::prepare(connection)?;
        applied.refused = each(connection, batch.traces, |change| statements.apply(change, &mut applied))?;
        let mut statements = links::Statements::prepare(connection)?;
        applied.refused_links =
            each(connection, batch.links, |change| statements.apply(change, &mut applied))?;
        schema::set_watermark(connection, batch.watermark, &self.boot)?;
        commit(connection)?;
        Ok(applied)
    }
}

/// Makes each change; answers those that were refused for their content.
fn each<C>(
    connection: &Connection,
    changes: &[C],
    mut apply: impl FnMut(&C) -> rusqlite::Result<()>,
) -> rusqlite::Result<Vec<(usize, String)>> {
    let mut refused = Vec::new();
    for (at, change) in changes.iter().enumerate() {
        match apply(change) {
            Ok(()) => {}
            // SQLite undid the one statement; had it undone the transaction, going on would commit row by row.
            Err(error) if is_about_the_row(&error) && !connection.is_autocommit() => {
                refused.push((at, error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

fn commit(connection: &Connection) -> rusqlite::Result<()> {
    for _ in 1..COMMIT_TRIES {
        match connection.execute_batch("COMMIT") {
            Err(error) if class_of(&error) == ErrorClass::Busy && !connection.is_autocommit() => {}
            outcome => return outcome,
        }
    }
    connection.execute_batch("COMMIT")
}
