//! Copying a store's file, as of one cut, while a host continues to write.
//!
//! SQLite's online backup copies the file page by page within one read transaction. The copy is then detached from the
//! original and verified. Only then does it get its name, and it never replaces another file.

use super::error::{kind_of, while_doing};
use super::file_identity::{sibling, unreachable_file};
use super::inspect::of_a_store;
use super::verify::{FILE, SCHEMA, VerifyReport, verify_watched};
use super::{file, look, path, schema};
use crate::backend::BackendError;
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

/// Number of pages copied in one step.
const PAGES: std::ffi::c_int = 1_024;

/// Copies a store's file, as of one cut: everything that was flushed when the copying begins. Works while a host has
/// the store open and continues to write: the store is neither locked nor changed, and only the emptying of its WAL
/// waits.
///
/// The copy is one file without a WAL, accessible only to its owner, and synced when this returns. It can be opened as
/// a store, kept on a read-only medium, or put in the store's place while that is closed. It contains the same
/// watermark and session id as the store's file, so that a spill by that session (see
/// [`spill`](crate::TraceStore::spill)) can be applied to the copy too. Unlike the store's file it is marked as
/// cleanly closed, since it is complete and no process has it open.
///
/// The copy is [verified](crate::verify) first; no copy is made if its pages or tables are damaged. Returns the report:
/// rows that are unsound in the store are unsound in the copy too. The cost is one pass over the store's file, and
/// several over the copy.
///
/// Reports its progress at intervals from the first page on, and ends when the callback returns
/// [`Break`](ControlFlow::Break): no part of the copy is left then. [`Progress::ignore`] is a callback that does
/// nothing.
///
/// ```
/// use mnemon::{NewTrace, TraceStore};
/// use std::ops::ControlFlow;
///
/// # let folder = tempfile::tempdir()?;
/// # let (path, to) = (folder.path().join("memory.db"), folder.path().join("monday.db"));
/// let store = TraceStore::open(&path)?;
/// store.insert(NewTrace::semantic(serde_json::json!("the north basin silts up")))?;
/// store.flush()?;
///
/// let copy = mnemon::backup(&path, &to, |progress| {
///     println!("{}: {} of {}", progress.step, progress.done, progress.total);
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!((copy.traces, copy.watermark), (1, store.watermark().committed));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`AlreadyExists`](ErrorKind::AlreadyExists) if `to`, or a file that belongs to a database of that name, exists;
/// [`Corrupt`](ErrorKind::Corrupt) if the store's file is damaged; [`Interrupted`](ErrorKind::Interrupted) if the
/// callback ended it; for the store's file also the errors of
/// [`inspect`](crate::inspect), and for the copy [`DiskFull`](ErrorKind::DiskFull),
/// [`Unreachable`](ErrorKind::Unreachable) or [`Io`](ErrorKind::Io). After an error there is no copy, unless the error
/// says that only its folder could not be synced.
pub fn backup(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    on_progress: impl Fn(Progress) -> ControlFlow<()> + Send + Sync + 'static,
) -> Result<VerifyReport> {
    copy_to(from.as_ref(), to.as_ref(), &Watch::new(on_progress))
}

fn copy_to(from: &Path, to: &Path, watch: &Watch) -> Result<VerifyReport> {
    let to = &path::resolved(to)?;
    refuse_taken(to)?;
    let (from, _) = &of_a_store(from)?;
    let partial = Partial::make(to)?;
    copy(from, &partial.0, watch)?;
    detach(&partial.0).map_err(|error| match kind_of(&error) {
        ErrorKind::Corrupt => damaged(from, &error),
        _ => while_doing("writing", &partial.0, error).into(),
    })?;
    let copy = verify_watched(&partial.0, watch)?;
    if let Some(finding) = copy.findings.iter().find(|finding| [FILE, SCHEMA].contains(&finding.part)) {
        return Err(damaged(from, finding));
    }
    partial.put(to)?;
    Ok(copy)
}

fn damaged(from: &Path, what: &dyn Display) -> Error {
    let remedy = "verify it, and go on with an earlier backup, or with an export of what can be read";
    let message = format!("{} is damaged, and was not copied ({what}): {remedy}", from.display());
    Error::new(ErrorKind::Corrupt, message)
}

/// An existing WAL or spill would be taken for that of the copy.
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

/// An incomplete file beside its destination; removed when dropped.
pub(crate) struct Partial(PathBuf);

impl Partial {
    pub(crate) fn make(to: &Path) -> Result<Self, BackendError> {
        let path = sibling(to, &format!(".{}.partial", new_uuid().simple()));
        path::make(&path).map_err(|error| unreachable_file(to, error))?;
        Ok(Self(path))
    }

    #[cfg(feature = "legion")]
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Gives the file the name `to`, unless another file has it by now, and syncs it.
    pub(crate) fn put(self, to: &Path) -> Result<()> {
        let put = || {
            File::open(&self.0)?.sync_all()?;
            give_name(&self.0, to)
        };
        put().map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => already_there(to),
            _ => unreachable_file(to, error).into(),
        })?;
        sync_folder(to).map_err(|error| {
            let message = format!("{} is written, and its folder could not be synced", to.display());
            let hint = "it can be used, but a power loss may take its name: sync the folder, or make another";
            Error::new(ErrorKind::Io, message).with_hint(hint).because(error)
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            let left = sibling(&self.0, suffix);
            match fs::remove_file(&left) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    guarded::run(|| {
                        tracing::warn!(path = %left.display(), %error, "an incomplete copy could not be removed");
                    });
                }
                _ => {}
            }
        }
    }
}

/// A hard link never replaces another file, which a rename would. The first name is removed with the partial file.
fn give_name(partial: &Path, to: &Path) -> io::Result<()> {
    named(fs::hard_link(partial, to), partial, to)
}

/// Takes the outcome of the hard link; where the file system has none, renames the file instead.
fn named(linked: io::Result<()>, partial: &Path, to: &Path) -> io::Result<()> {
    match linked {
        // A file system without hard links.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) =>
        {
            match to.symlink_metadata() {
                Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
                Err(_) => fs::rename(partial, to),
            }
        }
        linked => linked,
    }
}

/// On systems other than Unix a folder can't be opened, and the system syncs its entries.
pub(super) fn sync_folder(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) if cfg!(unix) => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}

/// Copies all pages, as of one moment.
fn copy(from: &Path, to: &Path, watch: &Watch) -> Result<()> {
    let reading = |error| while_doing("copying", from, error);
    let mut source = look::look_at(from).map_err(reading)?;
    let moment = source.transaction().map_err(reading)?;
    // The first read begins the read transaction: every step below sees the same state.
    schema::read_store(&moment).map_err(reading)?;
    let mut target = open(to).map_err(|error| while_doing("writing", to, error))?;
    let steps = Backup::new(&moment, &mut target).map_err(reading)?;
    loop {
        // SQLite does not say which of the two files an error is about.
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
    match kind_of(&error) {
        ErrorKind::DiskFull => while_doing("writing", to, error),
        _ => while_doing("copying", from, error),
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // An interrupted copy is deleted; a complete one is synced at the end.
    connection.execute_batch("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF;")?;
    Ok(connection)
}

/// Makes the copy a single file, which has no WAL and which no process has open.
fn detach(path: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    file::harden(&connection, file::longest_value(0))?;
    // The header refers to the WAL of the original: SQLite sees this only now, and can undo it.
    schema::read_store(&connection)?;
    connection.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get::<_, String>(0))?;
    connection.execute("UPDATE store SET clean = 1", [])?;
    connection.close().map_err(|(_, error)| error)
}

#[cfg(test)]
mod tests {
    use super::{Partial, failed, named};
    use crate::{Error as StoreError, ErrorKind, Result};
    use rusqlite::{Error, ffi};
    use std::io;
    use std::path::Path;

    /// Whatever took the name after the copy was begun.
    #[test]
    fn a_name_taken_meanwhile_is_left() -> Result<()> {
        let folder =
            tempfile::tempdir().map_err(|error| StoreError::new(ErrorKind::Io, error.to_string()))?;
        let to = folder.path().join("copy.db");
        let partial = Partial::make(&to)?;
        std::fs::write(&to, "of another").ok();
        let error = partial.put(&to).err();
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
        assert_eq!(std::fs::read(&to).ok().as_deref(), Some(&b"of another"[..]));
        assert_eq!(folder.path().read_dir().map(Iterator::count).ok(), Some(1));
        Ok(())
    }

    #[test]
    fn without_hard_links_a_copy_is_renamed() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let (partial, to) = (folder.path().join("partial"), folder.path().join("copy.db"));
        for kind in [io::ErrorKind::Unsupported, io::ErrorKind::PermissionDenied] {
            std::fs::write(&partial, "whole")?;
            named(Err(kind.into()), &partial, &to)?;
            assert_eq!((std::fs::read(&to)?, partial.exists()), (b"whole".to_vec(), false));
            std::fs::write(&partial, "later")?;
            let taken = named(Err(kind.into()), &partial, &to);
            assert_eq!(taken.err().map(|error| error.kind()), Some(io::ErrorKind::AlreadyExists));
            assert_eq!(std::fs::read(&to)?, b"whole");
            std::fs::remove_file(&to)?;
        }
        let failed = named(Err(io::ErrorKind::StorageFull.into()), &partial, &to);
        assert!(failed.is_err() && !to.exists());
        Ok(())
    }

    #[test]
    fn a_full_disk_is_that_of_the_copy() {
        for (code, doing) in [(ffi::SQLITE_FULL, "writing to"), (ffi::SQLITE_IOERR_READ, "copying from")] {
            let failure = Error::SqliteFailure(ffi::Error::new(code), None);
            let failure = failed(Path::new("from"), Path::new("to"), failure);
            assert!(failure.to_string().starts_with(doing), "{failure}");
        }
    }
}
