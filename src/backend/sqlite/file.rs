//! The connection to a file, and how it is set up.

use super::checkpoint::Mode;
use super::compact;
use super::current;
use super::error::while_doing;
use super::file_identity::{self, FileId, FileIdentity, unreachable_file};
use super::files::InUse;
use super::history;
use super::look::{look_before_touching, not_a_store};
use super::path::make_if_missing;
use super::schema;
use super::wal;
use crate::Durability;
use crate::backend::BackendError;
use crate::guarded;
use crate::memory::DecayCurve;
use rusqlite::{Connection, OpenFlags, config::DbConfig, ffi, limits::Limit};
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

/// A connection to a file that is a store of this crate's.
pub(super) struct Attached {
    pub(super) connection: Connection,
    durability: Option<Durability>,
    in_use: InUse,
    /// Whose the file is: each batch makes sure that it still is.
    pub(super) boot: Uuid,
    /// Number of former contents kept of each trace. `None` adds none, and leaves the history of the file as it is.
    pub(super) keep_history: Option<u32>,
    /// Whether the file has a history, or gets one.
    pub(super) has_history: bool,
}

/// What a store makes of its file when it claims it.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Claim {
    /// By which the file shows strengths.
    pub(crate) curve: DecayCurve,
    /// See [`Attached::keep_history`].
    pub(crate) keep_history: Option<u32>,
}

/// What the file says of the store in it.
pub(super) struct Store {
    pub(super) is_new: bool,
    pub(super) watermark: u64,
    pub(super) boot: Option<Uuid>,
    pub(super) clean: bool,
}

/// How long SQLite waits for another connection's lock.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long it waits where somebody waits for us: at the end, while writes are refused, and for readers of a log
/// that could be emptied.
const SHORT_BUSY_TIMEOUT: Duration = Duration::from_millis(100);

/// How much a stored value may have, in bytes, whatever payloads the store takes: one that was written under a larger
/// limit is still read.
const LONGEST_VALUE: usize = if cfg!(test) { 64 << 10 } else { 64 << 20 };

/// More than all of a row that is not its payload.
const BESIDE_PAYLOAD: usize = 16 << 20;

/// The longest payload, in bytes: SQLite's rows have at most 1,000,000,000.
pub(crate) const MAX_PAYLOAD: usize = 1_000_000_000 - BESIDE_PAYLOAD;

/// The longest payload, in bytes, that a store reads and writes which takes payloads of so many bytes.
pub(crate) fn longest_payload(max_payload_bytes: usize) -> usize {
    max_payload_bytes.max(LONGEST_VALUE)
}

/// The longest value, and row, that a store reads and writes which takes payloads of so many bytes.
pub(super) fn longest_value(max_payload_bytes: usize) -> usize {
    longest_payload(max_payload_bytes).saturating_add(BESIDE_PAYLOAD)
}

impl Attached {
    /// No value longer than `longest` bytes is read into memory.
    pub(super) fn open(path: &Path, longest: usize) -> Result<(Self, Store), BackendError> {
        make_if_missing(path)?;
        file_identity::put_stray_log_aside(path)?;
        file_identity::give_rights_of(path).map_err(|error| unreachable_file(path, error))?;
        let identity = look_before_touching(path)?;
        let doing = |error| while_doing("opening", path, error);
        let mut attached = Self::connect(path, longest)?;
        let connection = &mut attached.connection;
        wal::make_certain(connection, path)?;
        if identity.is_new() {
            compact::make_compactable(connection).map_err(doing)?;
        }
        schema::migrate(connection, identity.version).map_err(doing)?;
        let (watermark, boot, clean) = schema::read_store(connection).map_err(doing)?;
        Ok((attached, Store { is_new: identity.is_new(), watermark, boot, clean }))
    }

    /// Connects to a store's file, and changes nothing in it.
    pub(super) fn connect(path: &Path, longest: usize) -> Result<Self, BackendError> {
        let doing = |error| while_doing("opening", path, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let in_use =
            InUse::connection(path, FileId::of(path).map_err(|error| unreachable_file(path, error))?);
        let connection = Connection::open_with_flags(path, flags).map_err(doing)?;
        set_up(&connection, longest).map_err(doing)?;
        let (boot, keep_history, has_history) = (Uuid::nil(), None, false);
        Ok(Self { connection, durability: None, in_use, boot, keep_history, has_history })
    }

    /// Marks the file as this boot's, and not cleanly ended. Answers which file and log that was.
    pub(super) fn claim(
        &mut self,
        path: &Path,
        boot: Uuid,
        claim: Claim,
    ) -> Result<FileIdentity, BackendError> {
        let keep = claim.keep_history;
        let taken =
            history::taken_name(&self.connection).map_err(|error| while_doing("opening", path, error))?;
        if let Some(name) = taken.filter(|_| keep.is_some_and(|keep| keep > 0)) {
            return Err(not_a_store(
                path,
                format_args!("has a {name:?} that mnemon did not make: rename it"),
            ));
        }
        let has_history = current::show(&mut self.connection, claim.curve)
            .and_then(|()| schema::set_boot(&self.connection, &boot))
            .and_then(|()| history::begin(&self.connection, keep))
            .map_err(|error| while_doing("opening", path, error))?;
        (self.boot, self.keep_history, self.has_history) = (boot, keep, has_history);
        FileIdentity::of(path).map_err(|error| unreachable_file(path, error))
    }

    /// The last write: a clean end. Then everything goes into the one file, if no reader holds that up.
    ///
    /// Returns `false` if that failed, perhaps at a sync, so that it must not be finished with this connection: the log
    /// stays, and whoever opens the file next moves all of it once more.
    pub(super) fn mark_clean(&self, watermark: u64) -> rusqlite::Result<bool> {
        self.connection.pragma_update(None, "synchronous", "FULL")?;
        self.with_short_timeout(|connection| schema::set_clean(connection, watermark, &self.boot))?;
        let emptied = self.checkpoint(Mode::Truncate);
        if let Err(error) = &emptied {
            let path = self.connection.path();
            guarded::run(|| {
                tracing::warn!(path, %error, "everything is durable, but the log could not be emptied at close");
            });
        }
        Ok(emptied.is_ok())
    }

    /// Sound to the last: SQLite may finish what is left to do when the connection is dropped, and remove the log.
    pub(super) fn let_finish(&self) -> rusqlite::Result<()> {
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map(drop)
    }

    /// Leaks a connection whose descriptors were closed by other code: closing it would close the files that have
    /// their numbers now.
    pub(super) fn forget(self) {
        let Self { connection, in_use, .. } = self;
        std::mem::forget(connection);
        in_use.refuse();
    }

    /// How far the next commits go; SQLite can't be told inside a transaction.
    pub(super) fn set_durability(&mut self, durability: Durability) -> rusqlite::Result<()> {
        if self.durability != Some(durability) {
            let synchronous = match durability {
                Durability::Durable => "FULL",
                Durability::Committed => "NORMAL",
            };
            self.connection.pragma_update(None, "synchronous", synchronous)?;
            self.durability = Some(durability);
        }
        Ok(())
    }

    pub(super) fn with_short_timeout<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.connection.busy_timeout(SHORT_BUSY_TIMEOUT)?;
        let done = work(&self.connection);
        self.connection.busy_timeout(BUSY_TIMEOUT)?;
        done
    }
}

fn set_up(connection: &Connection, longest: usize) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    harden(connection, longest)?;
    // A connection that is given up moves no log into a file that may be damaged, moved or no longer ours.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch(
        "PRAGMA page_size = 4096;
         PRAGMA secure_delete = ON;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -65536;
         PRAGMA mmap_size = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;",
    )?;
    let mode = into_log_mode(connection)?;
    if mode == "wal" {
        Ok(())
    } else {
        Err(rusqlite::Error::SqliteFailure(
            ffi::Error::new(ffi::SQLITE_CANTOPEN),
            Some(format!("the file system allows no write-ahead log (journal mode {mode})")),
        ))
    }
}

/// Answers the mode that the file is in then.
fn into_log_mode(connection: &Connection) -> rusqlite::Result<String> {
    let mut statement = connection.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = statement.query([])?;
    let mode = rows.next()?.map(|row| row.get(0)).transpose()?.unwrap_or_default();
    // To its end: what it answers comes before it commits the change, which may fail.
    while rows.next()?.is_some() {}
    Ok(mode)
}

/// What stands in the file is data: no trigger, no view and no unsafe function of its schema runs, and nothing of it
/// makes SQLite take more memory for one value than the longest that a store has.
pub(super) fn harden(connection: &Connection, longest: usize) -> rusqlite::Result<()> {
    // SQLite has a limit of its own, which a higher one comes to.
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(longest).unwrap_or(i32::MAX))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.pragma_update(None, "trusted_schema", "OFF")
}
