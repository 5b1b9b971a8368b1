//! Looking at a file before anything is written: whether it is a store.

use super::error::{Said, kind_of, while_doing};
use super::file::{BUSY_TIMEOUT, harden, longest_value};
use super::file_identity::{self, FileId, sibling, unreachable_file};
use super::files::{self, InUse};
use super::history;
use super::schema::{self, APPLICATION_ID, Identity, VERSION};
use crate::backend::{BackendError, MAX_WATERMARK};
use crate::error::ErrorKind;
use crate::guarded;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use std::fs::File;
use std::io::{self, Read};
use std::ops::{Deref, DerefMut, RangeBounds};
use std::path::Path;
use uuid::Uuid;

/// Refuses what is not a store, before anything is written.
///
/// Only through SQLite: closing a descriptor of its own would make a process give up every lock that its
/// connections hold on the file.
pub(super) fn look_before_touching(path: &Path) -> Result<Identity, BackendError> {
    let (connection, identity) = identify(path)?;
    if identity.is_new() {
        return Ok(identity);
    }
    let failed = |error| while_looking(path, error);
    if let Some(table) = schema::strange_tables(&connection, identity.version).map_err(failed)?.first() {
        let hint = if table == history::NAME { ": if it is one of your own, rename it" } else { "" };
        let reason = format_args!("does not have the table {table:?} as mnemon makes it{hint}");
        return Err(not_a_store(path, reason));
    }
    let (watermark, ..) = schema::read_store(&connection).map_err(failed)?;
    if watermark > MAX_WATERMARK {
        let message =
            format!("{} says that it is at cut {watermark}, which no store reaches", path.display());
        return Err(BackendError::new(ErrorKind::Corrupt, message));
    }
    Ok(identity)
}

/// Whether a reader who comes now finds what this store has committed, one of these watermarks: after the log was moved
/// into the file, and before memory is given up. Costs a connection, the schema and one row.
///
/// That nobody can look now, as where no more files can be opened, is told and says nothing of the file.
pub(super) fn confirm(
    path: &Path,
    boot: Uuid,
    watermarks: impl RangeBounds<u64>,
) -> Result<(), BackendError> {
    let look = || {
        look_before_touching(path)?;
        let connection = look_at(path).map_err(|error| while_looking(path, error))?;
        schema::read_store(&connection).map_err(|error| while_looking(path, error))
    };
    let damaged = |what: &str| BackendError::new(ErrorKind::Corrupt, format!("{} {what}", path.display()));
    match look() {
        Ok((found, Some(signed), _)) if signed == boot && watermarks.contains(&found) => Ok(()),
        Ok(_) => Err(damaged("does not hold what was just written to it")),
        Err(error)
            if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotAStore | ErrorKind::NewerSchema) =>
        {
            Err(damaged("can't be read any more").because(error))
        }
        Err(error) => {
            guarded::run(
                || tracing::warn!(path = %path.display(), %error, "what was written could not be looked at"),
            );
            Ok(())
        }
    }
}

/// What the file says it is, and the connection that was asked: nothing yet, or a store of a version that is known,
/// in whatever state.
pub(super) fn identify(path: &Path) -> Result<(Looking, Identity), BackendError> {
    files::check(path)?;
    files::check_name(path)?;
    match path.metadata() {
        Ok(file) if file.is_file() => {}
        Ok(_) => {
            let error = io::Error::new(io::ErrorKind::IsADirectory, "it is no file");
            return Err(unreachable_file(path, error));
        }
        Err(error) => return Err(unreachable_file(path, error)),
    }
    let failed = |error| while_looking(path, error);
    let connection = look_at(path).map_err(failed)?;
    let identity = match Identity::read(&connection) {
        Err(error) if is_half_made(path, &error) => Ok(Identity::NEW),
        identity => identity.map_err(failed),
    }?;
    let Identity { application_id, version, .. } = identity;
    if identity.is_new() {
        return Ok((connection, identity));
    }
    if application_id != APPLICATION_ID {
        return Err(not_a_store(
            path,
            format_args!(
                "is an SQLite database of another application (id {application_id}, ours is {APPLICATION_ID})"
            ),
        ));
    }
    if !(1..=VERSION).contains(&version) {
        let message = format!(
            "{} has schema version {version}, and this version of mnemon knows up to {VERSION}: use a newer one",
            path.display()
        );
        return Err(BackendError::new(ErrorKind::NewerSchema, message));
    }
    Ok((connection, identity))
}

pub(super) fn not_a_store(path: &Path, what: impl std::fmt::Display) -> BackendError {
    BackendError::new(ErrorKind::NotAStore, format!("{} {what}: give the path of a store", path.display()))
}

fn while_looking(path: &Path, error: rusqlite::Error) -> BackendError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => not_a_store(path, "is no SQLite database").because(Said::by(error)),
        // The statements are fixed and sound: it is the file that does not fit them.
        _ if error.sqlite_error().is_some_and(|failure| failure.extended_code == ffi::SQLITE_ERROR) => {
            let failure = BackendError::new(ErrorKind::Corrupt, format!("{} is damaged", path.display()));
            failure.with_hint("restore a copy, or move it away").because(Said::by(error))
        }
        _ => {
            let failure = while_doing("opening", path, error);
            if failure.kind() == ErrorKind::Unreachable && file_identity::wal_bytes(path) > 0 {
                failure.with_hint("copy it and its log (-wal) to a folder that may be written")
            } else {
                failure
            }
        }
    }
}

/// A connection that reads a file; from [`look_at`].
pub(crate) struct Looking {
    connection: Connection,
    /// `None` if there is no file.
    _in_use: Option<InUse>,
}

impl Deref for Looking {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Looking {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// A connection that reads, and runs nothing that stands in the file. SQLite is not shown an empty one: it would delete
/// a log or journal beside it, though it may only read.
pub(crate) fn look_at(path: &Path) -> rusqlite::Result<Looking> {
    let _in_use = FileId::of(path).ok().map(|file| InUse::connection(path, file));
    let connection = match path.metadata() {
        Ok(file) if file.len() == 0 => Connection::open_in_memory()?,
        _ => open_to_look(path)?,
    };
    connection.busy_timeout(BUSY_TIMEOUT)?;
    harden(&connection, longest_value(0))?;
    Ok(Looking { connection, _in_use })
}

/// SQLite makes a log and its index beside a file that it reads. Where it can't, as in an archive, and there is
/// neither, all is in the file and nobody has it open: then it is read as one that does not change.
fn open_to_look(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    let look = connection.query_row("PRAGMA schema_version", [], |_| Ok(()));
    let needs_others = look.is_err_and(|error| kind_of(&error) == ErrorKind::Unreachable);
    let is_there = |suffix| sibling(path, suffix).symlink_metadata().is_ok();
    if !needs_others || !cfg!(unix) || ["-wal", "-shm", "-journal"].into_iter().any(is_there) {
        return Ok(connection);
    }
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                uri.push(char::from(*byte))
            }
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
}

/// Whether a process ended while it made the file, so that SQLite, when it may write, takes back all there is.
///
/// Until a new file has its write-ahead log it has a rollback journal, which a reader can't play back, and which
/// says how many pages there were before.
fn is_half_made(path: &Path, error: &rusqlite::Error) -> bool {
    const MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
    let must_roll_back =
        error.sqlite_error().is_some_and(|failure| failure.extended_code == ffi::SQLITE_READONLY_ROLLBACK);
    let mut header = [0; 20];
    let journal = File::open(sibling(path, "-journal"));
    // <https://www.sqlite.org/fileformat2.html#the_rollback_journal>
    must_roll_back
        && journal.and_then(|mut journal| journal.read_exact(&mut header)).is_ok()
        && header[..8] == MAGIC
        && header[16..] == [0; 4]
}
