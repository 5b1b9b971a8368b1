//! The SQLite backend: one file, one connection that writes, one transaction a batch.
//!
//! What is relied on: in WAL mode recovery yields a prefix of the commits, so after any crash the file is
//! at some cut; with `synchronous=FULL` a commit makes itself and all before it durable; and after a failed
//! sync nothing of the connection can be trusted, nor the log: the one is dropped, the other written once more, and
//! everything since the last durable watermark is written again.
//!
//! - [`file`]: opening, and what the file must be;
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

mod backup;
mod changes;
mod checkpoint;
mod compact;
mod current;
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
mod moment;
mod rows_read;
mod rows_write;
mod schema;
mod verify;
mod wal;

#[cfg(feature = "legion")]
pub(crate) use backup::Partial;
pub use backup::backup;
pub(crate) use error::while_doing;
pub(crate) use file::{Claim, MAX_PAYLOAD, longest_payload, resolved};
#[cfg(feature = "legion")]
pub(crate) use file::{free_path, look_at};
pub(crate) use file_identity::spill;
pub(crate) use files::give_up_inherited_locks;
pub use finding::Finding;
pub(crate) use history::read_history;
pub(crate) use inspect::read;
pub use inspect::{FileReport, inspect};
pub(crate) use moment::Moment;
pub use verify::{VerifyReport, verify};

use super::{Applied, Backend, BackendError, Batch, Loaded, Reopened, RowNumber, Space, Stored};
use crate::Durability;
use crate::clock::new_uuid;
use crate::error::ErrorKind;
use crate::guarded;
use changes::LastWrite;
use checkpoint::{MOVE_FROM, Round, is_harmless};
use error::{is_about_the_row, kind_of};
use file::{Attached, Store};
use file_identity::FileIdentity;
use lock::Lock;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// How often a COMMIT that finds a lock is tried again, each time after SQLite's own busy timeout.
const COMMIT_TRIES: u32 = 3;

/// A store's file.
pub(crate) struct Sqlite {
    path: PathBuf,
    /// Names this opening of the store in the file: what else is found there is not ours.
    boot: Uuid,
    /// In bytes: see [`file::longest_value`].
    longest: usize,
    claim: Claim,
    /// The very file and log that this store has last signed.
    place: FileIdentity,
    last_write: LastWrite,
    /// Somebody else has written to it, and the flusher has not yet compared it with memory.
    changed: bool,
    /// Held while the store owns the file, until this is dropped: one that was closed may go on yet.
    lock: Option<Arc<Lock>>,
    /// It has been held ever since the file was signed. If not, another owner may have written to it.
    held_since: bool,
    /// `None` after an error that makes a connection worthless, and once closed.
    attached: Option<Attached>,
    /// Closed: what SQLite did last to the file and its log was not noted.
    released: bool,
    /// The highest watermark known to be durable: a file with less is not what this store wrote.
    durable: u64,
    committed: u64,
    /// The file was made anew, and nothing has been written to it since: whoever reopens it is told so each time.
    unfilled: bool,
    /// Something was erased that the log still holds.
    to_scrub: bool,
    /// A compaction is at its end: the file shrinks when the log is moved into it.
    compacted: bool,
    /// What moves the log into the file at present.
    round: Option<Round>,
    /// Why moving the log has failed, until the housekeeping reports it.
    unreported: Option<BackendError>,
    /// Above this number of pages to be moved, the next round is due.
    due: i64,
    /// Whether rounds may be started.
    beside: bool,
}

impl Sqlite {
    /// Opens or makes the file, and owns it from then on. What is not a store is left as it was.
    ///
    /// `whole` is the opening that left a spill here which holds everything.
    pub(crate) fn open(
        path: &Path,
        max_payload_bytes: usize,
        whole: Option<Uuid>,
        claim: Claim,
    ) -> Result<Self, BackendError> {
        let longest = file::longest_value(max_payload_bytes);
        let path = file::resolved(path)?;
        file::check_name(&path)?;
        // Before SQLite sees the file: in one process it takes two names of a file for one.
        let lock = Lock::acquire(&path)?;
        file::look_before_touching(&path)?;
        let (mut attached, store) = Attached::open(&path, longest)?;
        // A spill belongs to the opening that left it: until it is applied, that one goes on, also in a new file if all
        // is in the spill.
        let boot = if !file_identity::spill(&path).exists() {
            None
        } else if store.watermark == 0 {
            whole.or(store.boot)
        } else {
            store.boot
        };
        let boot = boot.unwrap_or_else(new_uuid);
        let place = attached.claim(&path, boot, claim)?;
        let watermark = store.watermark;
        Ok(Self {
            last_write: LastWrite::of(&path),
            changed: false,
            path,
            boot,
            longest,
            claim,
            place,
            lock: Some(Arc::new(lock)),
            held_since: true,
            attached: Some(attached),
            released: false,
            durable: watermark,
            committed: watermark,
            unfilled: false,
            to_scrub: false,
            compacted: false,
            round: None,
            unreported: None,
            due: MOVE_FROM,
            beside: true,
        })
    }

    /// The file, and the name of this opening.
    pub(crate) fn home(&self) -> (PathBuf, Uuid) {
        (self.path.clone(), self.boot)
    }

    /// The content of the file that was just opened.
    pub(crate) fn moment(&mut self) -> Result<Moment<'_>, BackendError> {
        let (path, longest) = (self.path.clone(), self.longest);
        let moment = Moment::of(&path, longest, &mut self.attached()?.connection);
        moment.map_err(|error| while_doing("reading", &path, error))
    }

    fn attached(&mut self) -> Result<&mut Attached, BackendError> {
        let path = &self.path;
        self.attached.as_mut().ok_or_else(|| {
            BackendError::new(
                ErrorKind::Backend,
                format!("there is no connection to {}: reopen it", path.display()),
            )
        })
    }

    /// Checks that the path names the file that this store has signed, and that its descriptors are open.
    fn check(&mut self) -> Result<(), BackendError> {
        self.check_descriptors()?;
        self.place.check(&self.path)
    }

    /// Refuses to go on where the lock's descriptor is closed, or another file's: so are SQLite's.
    fn check_descriptors(&mut self) -> Result<(), BackendError> {
        if !self.is_held() {
            self.detach();
            files::check(&self.path)?;
        }
        Ok(())
    }

    fn is_held(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.is_held())
    }

    /// Applies the batch; any error leaves no transaction open, or no connection.
    fn transact(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
        self.check()?;
        let _writing = self.begin_writing()?;
        let path = self.path.clone();
        let attached = self.attached()?;
        let doing = |error| while_doing("writing to", &path, error);
        attached.set_durability(batch.durability).map_err(doing)?;
        let outcome = attached.write(batch).map_err(doing);
        if outcome.is_err() {
            self.roll_back();
        }
        self.last_write.note_log(&path);
        if outcome.is_ok() {
            // Had they been closed meanwhile, the batch may be in another file.
            self.check_descriptors()?;
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

    /// Whether every page is sound: who compares the rows does not come to those of the index of ids.
    fn check_pages(&mut self) -> Result<(), BackendError> {
        let path = self.path.clone();
        let connection = &self.attached()?.connection;
        let found = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0));
        match found.map_err(|error| while_doing("checking", &path, error))?.as_str() {
            "ok" => Ok(()),
            damage => Err(BackendError::new(
                ErrorKind::Corrupt,
                format!("{} was changed by another program, and is damaged: {damage}", path.display()),
            )),
        }
    }

    /// Gives up a connection that can't be trusted, or a file that is not ours, writing nothing more to it.
    fn detach(&mut self) {
        self.stop_round();
        if self.is_held() {
            self.attached = None;
        } else {
            if let Some(attached) = self.attached.take() {
                attached.forget();
            }
            self.lock = None;
        }
    }

    fn attach(&mut self) -> Result<Store, BackendError> {
        if !self.lock.as_ref().is_some_and(|lock| lock.is_of(&self.path)) {
            self.lock = Some(Arc::new(Lock::acquire(&self.path)?));
            self.held_since = false;
        }
        let (attached, store) =
            Attached::open(&self.path, self.longest).map_err(|error| self.damaged(error))?;
        self.attached = Some(attached);
        Ok(store)
    }

    /// The very file that this store has signed was its own: what is in it now was written over that.
    fn damaged(&self, error: BackendError) -> BackendError {
        let is_no_store = matches!(error.kind(), ErrorKind::NotAStore | ErrorKind::NewerSchema);
        if is_no_store && self.place.is_file_at(&self.path) {
            BackendError::new(ErrorKind::Corrupt, format!("{} is damaged", self.path.display()))
                .because(error)
        } else {
            error
        }
    }

    /// Marks the file as this boot's.
    fn claim(&mut self) -> Result<(), BackendError> {
        let (path, boot, claim) = (self.path.clone(), self.boot, self.claim);
        self.place = self.attached()?.claim(&path, boot, claim)?;
        (self.held_since, self.released) = (true, false);
        self.last_write = LastWrite::of(&path);
        Ok(())
    }

    /// Quarantines what somebody else has put in the file's place, or written over it, and starts anew.
    fn put_right(&mut self, found: u64) -> Result<Reopened, BackendError> {
        let durable = self.durable;
        self.replace()?;
        guarded::run(|| {
            tracing::error!(
                path = %self.path.display(),
                found,
                durable,
                "an older copy was in the file's place: it was quarantined, and everything is written anew from memory",
            );
        });
        Ok(Reopened::Empty)
    }

    /// Signs a file that was just made, of which nothing is durable.
    fn start_over(&mut self) -> Result<(), BackendError> {
        self.claim()?;
        (self.durable, self.committed, self.unfilled) = (0, 0, true);
        Ok(())
    }
}

fn changed_by_another(path: &Path) -> BackendError {
    let message =
        format!("{} or its WAL was written to by another program: keep that away from it", path.display());
    BackendError::new(ErrorKind::Unreachable, message)
}

/// Every row, and the last one's number.
fn load(connection: &Connection, into: &mut dyn FnMut(Stored)) -> rusqlite::Result<RowNumber> {
    let last_row = rows_read::load(connection, RowNumber::MIN..=RowNumber::MAX, into)?;
    links::load(connection, into)?;
    Ok(last_row)
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.detach();
    }
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
        file::confirm(&path, self.boot, watermark..=watermark)?;
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

impl Attached {
    /// One transaction, begun and committed by hand; after an error the caller rolls back. Rows that are
    /// refused for their content are left out.
    fn write(&self, batch: &Batch<'_>) -> rusqlite::Result<Applied> {
        let connection = &self.connection;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut applied = Applied::default();
        for scope in batch.erased {
            erase::erase(connection, self.has_history, scope, &mut applied)?;
        }
        let mut statements = rows_write::Statements::prepare(self, batch.replaced)?;
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
            Err(error) if kind_of(&error) == ErrorKind::Busy && !connection.is_autocommit() => {}
            outcome => return outcome,
        }
    }
    connection.execute_batch("COMMIT")
}

#[cfg(test)]
mod tests;
