//! SQLite's error codes, by what can be done about them.

use super::file_identity::unreachable_file;
use crate::backend::BackendError;
use crate::error::{ErrorKind, is_no_room};
use rusqlite::{Error, ErrorCode, ffi};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

pub(super) fn kind_of(error: &Error) -> ErrorKind {
    let failure = match error {
        Error::SqliteFailure(failure, _) => failure,
        // The store's own row is not there, or signed by another owner.
        Error::StatementChangedRows(_) => return ErrorKind::NotAStore,
        // A strict table does not hold such a cell: somebody got around that, or the file is damaged.
        Error::InvalidColumnType(..)
        | Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..) => return ErrorKind::Corrupt,
        _ => return ErrorKind::Backend,
    };
    if failure.extended_code == ffi::SQLITE_IOERR_NOMEM {
        return ErrorKind::OutOfMemory;
    }
    // The WAL ends before a page that its index says is there: somebody has cut it.
    if failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ {
        return ErrorKind::Corrupt;
    }
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            ErrorKind::Busy
        }
        ErrorCode::DiskFull => ErrorKind::DiskFull,
        ErrorCode::SystemIoFailure if found_no_room(failure.extended_code) => ErrorKind::DiskFull,
        ErrorCode::SystemIoFailure => ErrorKind::Io,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => ErrorKind::Corrupt,
        ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => ErrorKind::Unreachable,
        ErrorCode::OutOfMemory => ErrorKind::OutOfMemory,
        _ => ErrorKind::Backend,
    }
}

/// Whether a write failed for a quota, or for a limit of how long a file may be. SQLite calls only a full device a full
/// disk, and keeps the system's answer to itself: it is that of this thread's last call that failed. After a sync that
/// failed it does not matter why: the connection is worthless.
fn found_no_room(code: std::ffi::c_int) -> bool {
    matches!(code, ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE)
        && is_no_room(&io::Error::last_os_error())
}

/// Whether the row itself is at fault, and another one may pass.
pub(super) fn is_about_the_row(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(failure, _) => {
            matches!(
                failure.code,
                ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch
            )
        }
        Error::ToSqlConversionFailure(_) => true,
        _ => false,
    }
}

/// The failure as the flusher sees it, with what a person can do.
pub(crate) fn while_doing(doing: &str, path: &Path, error: Error) -> BackendError {
    let kind = kind_of(&error);
    if error.sqlite_error_code() == Some(ErrorCode::CannotOpen)
        && let Err(why) = can_be_opened(path)
    {
        return unreachable_file(path, why);
    }
    let hint = match kind {
        ErrorKind::Busy => "another connection holds its lock: end it, or wait",
        ErrorKind::DiskFull => "make room, and flushing goes on",
        ErrorKind::Io => "look at the system's log",
        ErrorKind::Corrupt => "restore a copy, or move it away",
        ErrorKind::Unreachable => "check the rights of it and of its folder",
        ErrorKind::OutOfMemory => "free memory",
        ErrorKind::NotAStore => "another store has written to it since: make sure that it has one owner",
        _ => "this should not happen: report it",
    };
    let failure = BackendError::new(kind, format!("{doing} {} failed", path.display()));
    failure.with_hint(hint).because(Said::by(error))
}

/// What SQLite does not say when it can't open a file. The folder stands for it: opening and closing the file would
/// give up the locks that this process has on it.
fn can_be_opened(path: &Path) -> io::Result<()> {
    /// The file, its WAL, the index of that, and a journal.
    const AT_ONCE: usize = 4;
    path.metadata()?;
    let Some(folder) = path.parent().filter(|_| cfg!(unix)) else { return Ok(()) };
    (0..AT_ONCE).map(|_| File::open(folder)).collect::<io::Result<Vec<_>>>().map(drop)
}

/// What SQLite says, once: its errors repeat it in what they give as their cause.
#[derive(Debug)]
pub(super) struct Said(String);

impl Said {
    pub(super) fn by(error: Error) -> Self {
        match error {
            Error::SqliteFailure(failure, message) => {
                // Of a file that can't be opened it names the path too.
                let text = message.filter(|_| failure.code != ErrorCode::CannotOpen);
                let text = text.unwrap_or_else(|| ffi::code_to_str(failure.extended_code).to_owned());
                Self(format!("{text} (SQLite's code {})", failure.extended_code))
            }
            other => Self(other.to_string()),
        }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Said {}

#[cfg(test)]
mod tests {
    use super::{is_about_the_row, kind_of, while_doing};
    use crate::error::ErrorKind;
    use rusqlite::{Error, ffi};
    use std::error::Error as _;
    use std::path::Path;

    fn of(code: i32) -> Error {
        Error::SqliteFailure(ffi::Error::new(code), None)
    }

    #[test]
    fn each_code_has_its_kind_and_hint() {
        for (error, kind, hint) in [
            (of(ffi::SQLITE_BUSY), ErrorKind::Busy, "end it, or wait"),
            (of(ffi::SQLITE_LOCKED), ErrorKind::Busy, "end it, or wait"),
            (of(ffi::SQLITE_PROTOCOL), ErrorKind::Busy, "end it, or wait"),
            (of(ffi::SQLITE_FULL), ErrorKind::DiskFull, "make room"),
            (of(ffi::SQLITE_IOERR_FSYNC), ErrorKind::Io, "the system's log"),
            (of(ffi::SQLITE_IOERR_NOMEM), ErrorKind::OutOfMemory, "free memory"),
            (of(ffi::SQLITE_NOMEM), ErrorKind::OutOfMemory, "free memory"),
            (of(ffi::SQLITE_IOERR_SHORT_READ), ErrorKind::Corrupt, "restore a copy"),
            (of(ffi::SQLITE_CORRUPT), ErrorKind::Corrupt, "restore a copy"),
            (of(ffi::SQLITE_NOTADB), ErrorKind::Corrupt, "restore a copy"),
            (Error::IntegralValueOutOfRange(0, 1), ErrorKind::Corrupt, "restore a copy"),
            (of(ffi::SQLITE_READONLY), ErrorKind::Unreachable, "the rights"),
            (of(ffi::SQLITE_PERM), ErrorKind::Unreachable, "the rights"),
            (Error::StatementChangedRows(0), ErrorKind::NotAStore, "one owner"),
            (of(ffi::SQLITE_CONSTRAINT), ErrorKind::Backend, "report it"),
            (Error::QueryReturnedNoRows, ErrorKind::Backend, "report it"),
        ] {
            let name = format!("{error:?}");
            let failure = while_doing("flushing", Path::new("memory.db"), error);
            assert_eq!(failure.kind(), kind, "{name}");
            let failure = crate::Error::from(failure);
            assert!(failure.hint().is_some_and(|said| said.contains(hint)), "{name}: {failure}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn write_that_found_no_room_is_a_full_disk() {
        use std::{fs, io};

        let full = || fs::write("/dev/full", "no room").map_err(|error| error.kind());
        let (found, kind) = (full(), kind_of(&of(ffi::SQLITE_IOERR_WRITE)));
        assert_eq!((found, kind), (Err(io::ErrorKind::StorageFull), ErrorKind::DiskFull));
        let (found, kind) = (full(), kind_of(&of(ffi::SQLITE_IOERR_FSYNC)));
        assert_eq!((found, kind), (Err(io::ErrorKind::StorageFull), ErrorKind::Io));
        let missing = fs::metadata("/no such file").map_err(|error| error.kind()).map(drop);
        let kind = kind_of(&of(ffi::SQLITE_IOERR_WRITE));
        assert_eq!((missing, kind), (Err(io::ErrorKind::NotFound), ErrorKind::Io));
    }

    #[test]
    fn only_constraints_and_lengths_are_about_the_row() {
        let too_long = Error::ToSqlConversionFailure("too long".into());
        let about = [of(ffi::SQLITE_CONSTRAINT), of(ffi::SQLITE_TOOBIG), of(ffi::SQLITE_MISMATCH), too_long];
        assert!(about.iter().all(is_about_the_row));
        let others = [of(ffi::SQLITE_BUSY), of(ffi::SQLITE_IOERR_WRITE), Error::QueryReturnedNoRows];
        assert!(!others.iter().any(is_about_the_row));
    }

    #[test]
    fn cause_is_what_sqlite_said_and_its_code() {
        let said = |error| while_doing("flushing", Path::new("/"), error).source().map(ToString::to_string);
        let spoken = |code| Error::SqliteFailure(ffi::Error::new(code), Some("its words".to_owned()));
        assert_eq!(said(spoken(ffi::SQLITE_BUSY)).as_deref(), Some("its words (SQLite's code 5)"));
        assert_eq!(said(of(ffi::SQLITE_BUSY)).as_deref(), Some("database is locked (SQLite's code 5)"));
        // Which would be the path once more.
        let found = said(spoken(ffi::SQLITE_CANTOPEN));
        assert_eq!(found.as_deref(), Some("unable to open database file (SQLite's code 14)"));
        assert_eq!(said(Error::QueryReturnedNoRows).as_deref(), Some("Query returned no rows"));
    }

    #[test]
    fn file_that_cannot_be_opened_is_said_why() {
        let path = Path::new("/no such folder/memory.db");
        let failure = while_doing("opening", path, of(ffi::SQLITE_CANTOPEN));
        let cause = failure.source().map(ToString::to_string).unwrap_or_default();
        assert!(cause.contains("No such file"), "{cause}");
    }
}
