//! The file: what it must be to be opened, and how its connection is set up.

use super::fault::while_doing;
use super::place::{Place, unreachable_file};
use super::schema::{self, APPLICATION_ID, Identity, VERSION};
use crate::backend::{BackendError, ErrorClass, Reach};
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// A connection to a file that is a store of this crate's.
pub(super) struct Attached {
    pub(super) connection: Connection,
    reach: Option<Reach>,
}

/// What the file says of the store in it.
pub(super) struct Store {
    pub(super) is_new: bool,
    pub(super) watermark: u64,
    pub(super) boot: Option<Uuid>,
}

/// Makes the path absolute, so that no later change of directory, and no special name of SQLite's, means
/// another file.
pub(super) fn resolved(path: &Path) -> Result<PathBuf, BackendError> {
    std::path::absolute(path).map_err(|error| {
        let message = format!("{path:?} is no path of a file: give one");
        BackendError::new(ErrorClass::Unreachable, message).because(error)
    })
}

impl Attached {
    pub(super) fn open(path: &Path) -> Result<(Self, Store), BackendError> {
        make_if_missing(path)?;
        let identity = look_before_touching(path)?;
        let doing = |error| while_doing("opening", path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags).map_err(doing)?;
        set_up(&connection).map_err(doing)?;
        schema::migrate(&mut connection, identity.version).map_err(doing)?;
        let (watermark, boot, _) = schema::read_store(&connection).map_err(doing)?;
        Ok((Self { connection, reach: None }, Store { is_new: identity.is_new(), watermark, boot }))
    }

    /// Marks the file as this boot's, and not cleanly ended. Answers which file and log that was.
    pub(super) fn sign(&self, path: &Path, boot: &Uuid) -> Result<Place, BackendError> {
        schema::set_boot(&self.connection, boot).map_err(|error| while_doing("opening", path, error))?;
        Place::of(path).map_err(|error| unreachable_file(path, error))
    }

    /// The last write: a clean end, and everything in the one file.
    pub(super) fn sign_off(&self, watermark: u64) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        schema::set_clean(&self.connection, watermark)?;
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// How far the next commits go; SQLite can't be told inside a transaction.
    pub(super) fn reach(&mut self, reach: Reach) -> rusqlite::Result<()> {
        if self.reach != Some(reach) {
            let synchronous = match reach {
                Reach::Durable => "FULL",
                Reach::Committed => "NORMAL",
            };
            self.connection.pragma_update(None, "synchronous", synchronous)?;
            self.reach = Some(reach);
        }
        Ok(())
    }

    /// Moves the log into the database file: when idle whatever is there, else when it has grown large.
    /// `true` if all of it is there now, and synced.
    pub(super) fn checkpoint(&self, idle: bool) -> rusqlite::Result<bool> {
        let pages = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let (logged, moved) = self.connection.query_row("PRAGMA wal_checkpoint(NOOP)", [], pages)?;
        let (waiting, mode) = match idle {
            true => (logged > 0, "PRAGMA wal_checkpoint(TRUNCATE)"),
            false => (logged - moved > super::CHECKPOINT_PAGES, "PRAGMA wal_checkpoint(PASSIVE)"),
        };
        if !waiting {
            return Ok(false);
        }
        let (busy, logged, moved) = self.connection.query_row(mode, [], |row| {
            let (logged, moved) = pages(row)?;
            Ok((row.get::<_, i64>(0)?, logged, moved))
        })?;
        Ok(busy == 0 && logged == moved)
    }

    /// Closes without moving the log into a file that may be damaged, moved or no longer ours.
    pub(super) fn drop_without_checkpoint(self) {
        if let Err(error) = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true) {
            tracing::warn!(%error, "closing a doubtful connection may checkpoint its log");
        }
    }
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.execute_batch(
        "PRAGMA page_size = 4096;
         PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -65536;
         PRAGMA mmap_size = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;",
    )?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    match mode == "wal" {
        true => Ok(()),
        false => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN),
            Some(format!("the file system allows no write-ahead log (journal mode {mode})")),
        )),
    }
}

/// A new file belongs to its owner alone; SQLite gives its log the same rights.
fn make_if_missing(path: &Path) -> Result<(), BackendError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(unreachable_file(path, error)),
        _ => Ok(()),
    }
}

/// Refuses what is not a store, before anything is written.
pub(super) fn look_before_touching(path: &Path) -> Result<Identity, BackendError> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut start));
    read.map_err(|error| unreachable_file(path, error))?;
    let not_a_store = |what: String| {
        let remedy = "give the path of a store";
        BackendError::new(ErrorClass::Foreign, format!("{} {what}: {remedy}", path.display()))
    };
    if !start.is_empty() && start != b"SQLite format 3\0" {
        return Err(not_a_store("is no SQLite database".to_owned()));
    }
    let doing = |error| while_doing("opening", path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(doing)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(doing)?;
    let identity = Identity::read(&connection).map_err(doing)?;
    let Identity { application_id, version, .. } = identity;
    if identity.is_new() {
        return Ok(identity);
    }
    if application_id != APPLICATION_ID {
        return Err(not_a_store(format!(
            "is an SQLite database of another application (id {application_id}, ours is {APPLICATION_ID})"
        )));
    }
    if !(1..=VERSION).contains(&version) {
        let message = format!(
            "{} has schema version {version}, and this version of mnemon knows up to {VERSION}: use a newer one",
            path.display()
        );
        return Err(BackendError::new(ErrorClass::Newer, message));
    }
    Ok(identity)
}
