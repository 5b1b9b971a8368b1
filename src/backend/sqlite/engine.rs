//! A store's file, and its connection.

use super::changes::LastWrite;
use super::checkpoint::{MOVE_FROM, Round};
use super::error::while_doing;
use super::file::{self, Attached, Claim, Store};
use super::file_identity::{self, FileIdentity};
use super::files;
use super::lock::Lock;
use super::look;
use super::moment::Moment;
use super::path;
use crate::backend::{Applied, Backend, BackendError, Batch, Reopened};
use crate::clock::new_uuid;
use crate::error::ErrorKind;
use crate::guarded;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// A store's file.
pub(crate) struct Sqlite {
    pub(super) path: PathBuf,
    /// Names this opening of the store in the file: what else is found there is not ours.
    pub(super) boot: Uuid,
    /// In bytes: see [`file::longest_value`].
    pub(super) longest: usize,
    pub(super) claim: Claim,
    /// The very file and log that this store has last signed.
    pub(super) place: FileIdentity,
    pub(super) last_write: LastWrite,
    /// Somebody else has written to it, and the flusher has not yet compared it with memory.
    pub(super) changed: bool,
    /// Held while the store owns the file, until this is dropped: one that was closed may go on yet.
    pub(super) lock: Option<Arc<Lock>>,
    /// It has been held ever since the file was signed. If not, another owner may have written to it.
    pub(super) held_since: bool,
    /// `None` after an error that makes a connection worthless, and once closed.
    pub(super) attached: Option<Attached>,
    /// Closed: what SQLite did last to the file and its log was not noted.
    pub(super) released: bool,
    /// The highest watermark known to be durable: a file with less is not what this store wrote.
    pub(super) durable: u64,
    pub(super) committed: u64,
    /// The file was made anew, and nothing has been written to it since: whoever reopens it is told so each time.
    pub(super) unfilled: bool,
    /// Something was erased that the log still holds.
    pub(super) to_scrub: bool,
    /// A compaction is at its end: the file shrinks when the log is moved into it.
    pub(super) compacted: bool,
    /// What moves the log into the file at present.
    pub(super) round: Option<Round>,
    /// Why moving the log has failed, until the housekeeping reports it.
    pub(super) unreported: Option<BackendError>,
    /// Above this number of pages to be moved, the next round is due.
    pub(super) due: i64,
    /// Whether rounds may be started.
    pub(super) beside: bool,
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
        let path = path::resolved(path)?;
        path::check_name(&path)?;
        // Before SQLite sees the file: in one process it takes two names of a file for one.
        let lock = Lock::acquire(&path)?;
        look::look_before_touching(&path)?;
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

    pub(super) fn attached(&mut self) -> Result<&mut Attached, BackendError> {
        let path = &self.path;
        self.attached.as_mut().ok_or_else(|| {
            BackendError::new(
                ErrorKind::Backend,
                format!("there is no connection to {}: reopen it", path.display()),
            )
        })
    }

    /// Checks that the path names the file that this store has signed, and that its descriptors are open.
    pub(super) fn check(&mut self) -> Result<(), BackendError> {
        self.check_descriptors()?;
        self.place.check(&self.path)
    }

    /// Refuses to go on where the lock's descriptor is closed, or another file's: so are SQLite's.
    pub(super) fn check_descriptors(&mut self) -> Result<(), BackendError> {
        if !self.is_held() {
            self.detach();
            files::check(&self.path)?;
        }
        Ok(())
    }

    pub(super) fn is_held(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.is_held())
    }

    /// Applies the batch; any error leaves no transaction open, or no connection.
    pub(super) fn transact(&mut self, batch: &Batch<'_>) -> Result<Applied, BackendError> {
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
    pub(super) fn roll_back(&mut self) {
        let stays_open = |Attached { connection, .. }: &Attached| {
            !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err()
        };
        if self.attached.as_ref().is_some_and(stays_open) {
            self.detach();
        }
    }

    /// Whether every page is sound: who compares the rows does not come to those of the index of ids.
    pub(super) fn check_pages(&mut self) -> Result<(), BackendError> {
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
    pub(super) fn detach(&mut self) {
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

    pub(super) fn attach(&mut self) -> Result<Store, BackendError> {
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
    pub(super) fn damaged(&self, error: BackendError) -> BackendError {
        let is_no_store = matches!(error.kind(), ErrorKind::NotAStore | ErrorKind::NewerSchema);
        if is_no_store && self.place.is_file_at(&self.path) {
            BackendError::new(ErrorKind::Corrupt, format!("{} is damaged", self.path.display()))
                .because(error)
        } else {
            error
        }
    }

    /// Marks the file as this boot's.
    pub(super) fn claim(&mut self) -> Result<(), BackendError> {
        let (path, boot, claim) = (self.path.clone(), self.boot, self.claim);
        self.place = self.attached()?.claim(&path, boot, claim)?;
        (self.held_since, self.released) = (true, false);
        self.last_write = LastWrite::of(&path);
        Ok(())
    }

    /// Quarantines what somebody else has put in the file's place, or written over it, and starts anew.
    pub(super) fn put_right(&mut self, found: u64) -> Result<Reopened, BackendError> {
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
    pub(super) fn start_over(&mut self) -> Result<(), BackendError> {
        self.claim()?;
        (self.durable, self.committed, self.unfilled) = (0, 0, true);
        Ok(())
    }
}

pub(super) fn changed_by_another(path: &Path) -> BackendError {
    let message =
        format!("{} or its WAL was written to by another program: keep that away from it", path.display());
    BackendError::new(ErrorKind::Unreachable, message)
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.detach();
    }
}
