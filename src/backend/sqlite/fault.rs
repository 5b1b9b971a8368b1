//! SQLite's error codes, by what can be done about them.

use crate::backend::{BackendError, ErrorClass};
use crate::error::is_no_room;
use rusqlite::{Error, ErrorCode, ffi};
use std::path::Path;

pub(super) fn class_of(error: &Error) -> ErrorClass {
    let failure = match error {
        Error::SqliteFailure(failure, _) => failure,
        // The store's own row is not there, or signed by another owner.
        Error::StatementChangedRows(_) => return ErrorClass::Foreign,
        // A strict table does not hold such a cell: somebody got around that, or the file is damaged.
        Error::InvalidColumnType(..)
        | Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..) => return ErrorClass::Corrupt,
        _ => return ErrorClass::Other,
    };
    if failure.extended_code == ffi::SQLITE_IOERR_NOMEM {
        return ErrorClass::Memory;
    }
    // The log ends before a page that its index says is there: somebody has cut it.
    if failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ {
        return ErrorClass::Corrupt;
    }
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            ErrorClass::Busy
        }
        ErrorCode::DiskFull => ErrorClass::Full,
        ErrorCode::SystemIoFailure if found_no_room(failure.extended_code) => ErrorClass::Full,
        ErrorCode::SystemIoFailure => ErrorClass::Io,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => ErrorClass::Corrupt,
        ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => ErrorClass::Unreachable,
        ErrorCode::OutOfMemory => ErrorClass::Memory,
        _ => ErrorClass::Other,
    }
}

/// Whether a write failed for a quota, or for a limit of how long a file may be. SQLite calls only a full device a full
/// disk, and keeps the system's answer to itself: it is that of this thread's last call that failed. After a sync that
/// failed it does not matter why: the connection is worthless.
fn found_no_room(code: std::ffi::c_int) -> bool {
    matches!(code, ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE)
        && is_no_room(&std::io::Error::last_os_error())
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
    let class = class_of(&error);
    let remedy = match class {
        ErrorClass::Busy => "another connection holds its lock: end it, or wait",
        ErrorClass::Full => "the disk is full: make room, and flushing goes on",
        ErrorClass::Io => "the disk failed: look at the system's log",
        ErrorClass::Corrupt => "it is damaged, or no SQLite database: restore a copy, or move it away",
        ErrorClass::Unreachable => {
            "it can't be opened or written: check that it and its folder exist and may be written"
        }
        ErrorClass::Memory => "memory ran out",
        ErrorClass::Foreign => "another store has written to it since: make sure that it has one owner",
        _ => "SQLite refuses",
    };
    BackendError::new(class, format!("{doing} {} failed: {remedy}", path.display())).because(error)
}
