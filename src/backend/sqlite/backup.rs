//! A copy of a store's file, as of one cut, while a host goes on writing.
//!
//! SQLite's online backup copies page by page within one read transaction. The copy is then made a file of its own,
//! checked, and only then given its name, which is never taken from another file.

use super::fault::{class_of, while_doing};
use super::inspect::of_a_store;
use super::place::{sibling, unreachable_file};
use super::verify::{FilePart, VerifyReport, verify_watched};
use super::{file, schema};
use crate::backend::{BackendError, ErrorClass};
use crate::clock::new_uuid;
use crate::error::{Error, ErrorKind, Result};
use crate::guarded;
use crate::progress::{Progress, Watch};
use rusqlite::backup::{Backup, Progress as Copied, StepResult};
use rusqlite::{Connection, OpenFlags, ffi};
use std::fmt::Display;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// A copy of a store's file; from [`backup`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// Where it is.
    pub path: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// What [`verify`](crate::verify) says of it. Rows that are unsound in the store are so in the copy.
    pub copy: VerifyReport,
}

/// Pages that are copied at once.
const PAGES: std::ffi::c_int = 1_024;

/// Copies a store's file, as of one cut: all that was flushed when it begins. Works while a host has the store open,
/// which goes on writing: nothing of the store is locked or changed, and only the emptying of its log waits.
///
/// The copy is one file without a log, owner-only, and synced when this returns. It can be opened as a store, kept on a
/// read-only medium, or put in the store's place while that is closed. It says what the store's file says (its
/// watermark, and which opening of the store wrote it, so that what that one has [spilled](crate::TraceStore::spill)
/// can be applied to it too), but that it ended cleanly, since it is whole and nobody has it open.
///
/// It is [verified](crate::verify) first, and there is none if its pages or tables are damaged. Costs a pass over the
/// store's file, and several over the copy.
///
/// ```
/// use mnemon::{NewTrace, TraceStore};
///
/// # let folder = tempfile::tempdir()?;
/// # let (path, to) = (folder.path().join("memory.db"), folder.path().join("monday.db"));
/// let store = TraceStore::open(&path)?;
/// store.insert(NewTrace::semantic(serde_json::json!("the north basin silts up")))?;
/// store.flush()?;
///
/// let backup = mnemon::backup(&path, &to)?;
/// assert_eq!(backup.copy.traces, 1);
/// assert_eq!(backup.copy.watermark, store.watermark().committed);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`AlreadyExists`](ErrorKind::AlreadyExists) if `to`, or what belongs to a database of that name, is there;
/// [`Corrupt`](ErrorKind::Corrupt) if the store's file is damaged; for the store's file as
/// [`inspect`](crate::inspect), and [`DiskFull`](ErrorKind::DiskFull), [`Unreachable`](ErrorKind::Unreachable) or
/// [`Io`](ErrorKind::Io) for the copy. There is no copy then, unless the error says that only its folder could not be
/// synced.
pub fn backup(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<BackupReport> {
    backup_watched(from.as_ref(), to.as_ref(), &Watch::nobody())
}

/// A [`backup`] that tells how far it has come, now and then from its first page on, and ends when it is answered
/// [`Break`](ControlFlow::Break): nothing of it is left then.
///
/// ```
/// use std::ops::ControlFlow;
///
/// # let folder = tempfile::tempdir()?;
/// # let (path, to) = (folder.path().join("memory.db"), folder.path().join("monday.db"));
/// # mnemon::TraceStore::open(&path)?.close()?;
/// mnemon::backup_with(&path, &to, |progress| {
///     println!("{}: {} of {}", progress.step, progress.done, progress.total);
///     ControlFlow::Continue(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Interrupted`](ErrorKind::Interrupted) if it was broken off; otherwise as for [`backup`].
pub fn backup_with(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    on_progress: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static,
) -> Result<BackupReport> {
    backup_watched(from.as_ref(), to.as_ref(), &Watch::new(on_progress))
}

fn backup_watched(from: &Path, to: &Path, watch: &Watch) -> Result<BackupReport> {
    let to = &file::resolved(to)?;
    refuse_taken(to)?;
    let (from, _) = &of_a_store(from)?;
    let partial = Partial::make(to)?;
    copy(from, &partial.0, watch)?;
    detach(&partial.0).map_err(|error| match class_of(&error) {
        ErrorClass::Corrupt => damaged(from, &error),
        _ => while_doing("writing", &partial.0, error).into(),
    })?;
    let copy = verify_watched(&partial.0, watch)?;
    let damage =
        copy.findings.iter().find(|finding| matches!(finding.part, FilePart::File | FilePart::Schema));
    if let Some(finding) = damage {
        return Err(damaged(from, finding));
    }
    let bytes = partial.put(to)?;
    Ok(BackupReport { path: to.clone(), bytes, copy })
}

fn damaged(from: &Path, what: &dyn Display) -> Error {
    let remedy = "verify it, and go on with an earlier backup, or with an export of what can be read";
    let message = format!("{} is damaged, and was not copied ({what}): {remedy}", from.display());
    Error::new(ErrorKind::Corrupt, message)
}

/// A log or a spill that is there would be taken for the copy's own.
fn refuse_taken(to: &Path) -> Result<()> {
    let taken = ["", "-wal", "-journal", ".spill"].map(|suffix| sibling(to, suffix));
    match taken.iter().find(|file| file.symlink_metadata().is_ok()) {
        Some(taken) => Err(already_there(taken)),
        None => Ok(()),
    }
}

fn already_there(file: &Path) -> Error {
    let message = format!("{} is there already: move it away, or give another name", file.display());
    Error::new(ErrorKind::AlreadyExists, message)
}

/// A file not yet whole, beside the one that it is to be; removed when dropped.
struct Partial(PathBuf);

impl Partial {
    fn make(to: &Path) -> Result<Self, BackendError> {
        let path = sibling(to, &format!(".{}.partial", new_uuid().simple()));
        file::make(&path).map_err(|error| unreachable_file(to, error))?;
        Ok(Self(path))
    }

    /// Under the name `to`, if no file has got it meanwhile; on disk when this returns. Answers how long it is.
    fn put(self, to: &Path) -> Result<u64> {
        let put = || {
            let file = File::open(&self.0)?;
            file.sync_all()?;
            give_name(&self.0, to)?;
            Ok(file.metadata()?.len())
        };
        let bytes = put().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => already_there(to),
            _ => unreachable_file(to, error).into(),
        })?;
        sync_folder(to).map_err(|error| {
            let message = format!("{} is written, and its folder could not be synced", to.display());
            let hint = "it can be used, but a power loss may take its name: sync the folder, or make another";
            Error::new(ErrorKind::Io, message).with_hint(hint).because(error)
        })?;
        Ok(bytes)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let left = sibling(&self.0, suffix);
            match fs::remove_file(&left) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    guarded::run(|| {
                        tracing::warn!(path = %left.display(), %error, "what a backup was written to could not be removed");
                    });
                }
                _ => {}
            }
        }
    }
}

/// A second name takes no other file's, which a renaming would. The first one goes with the partial file.
fn give_name(partial: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(partial, to) {
        // A file system without second names.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) =>
        {
            match to.symlink_metadata() {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => fs::rename(partial, to),
            }
        }
        named => named,
    }
}

/// Elsewhere a folder can't be opened, and the system sees to its entries.
fn sync_folder(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// All pages, as of one moment.
fn copy(from: &Path, to: &Path, watch: &Watch) -> Result<()> {
    let reading = |error| while_doing("copying", from, error);
    let mut source = file::look_at(from).map_err(reading)?;
    let moment = source.transaction().map_err(reading)?;
    // The first read begins it: every step below reads the same.
    schema::read_store(&moment).map_err(reading)?;
    let mut target = open(to).map_err(|error| while_doing("writing", to, error))?;
    let steps = Backup::new(&moment, &mut target).map_err(reading)?;
    loop {
        // Which of the two files an error is about, SQLite does not say.
        let step = steps.step(PAGES).map_err(|error| failed(from, to, error))?;
        let Copied { remaining, pagecount } = steps.progress();
        let [done, total] =
            [pagecount - remaining, pagecount].map(|pages| pages.max(0).unsigned_abs().into());
        watch.tell("copying pages", done, total)?;
        match step {
            StepResult::More => {}
            StepResult::Done => return Ok(()),
            _ => {
                let busy = rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None);
                return Err(reading(busy).into());
            }
        }
    }
}

fn failed(from: &Path, to: &Path, error: rusqlite::Error) -> BackendError {
    match class_of(&error) {
        ErrorClass::Full => while_doing("writing", to, error),
        _ => while_doing("copying", from, error),
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // What is interrupted is thrown away; what is not is synced at the end.
    connection.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;")?;
    Ok(connection)
}

/// Makes the copy one file, with no log to belong to it, that nobody has open.
fn detach(path: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    file::distrust(&connection, file::longest_value(0))?;
    // The header names the log of the original: only now SQLite sees it, and can take it back.
    schema::read_store(&connection)?;
    connection.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get::<_, String>(0))?;
    connection.execute("UPDATE store SET clean = 1", [])?;
    connection.close().map_err(|(_, error)| error)
}
