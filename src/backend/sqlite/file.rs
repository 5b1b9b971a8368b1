//! The file: what it must be to be opened, and how its connection is set up.

use super::checkpoint::Mode;
use super::compact;
use super::current;
use super::error::{Said, kind_of, while_doing};
use super::file_identity::{self, FileId, FileIdentity, sibling, unreachable_file};
use super::files::{self, InUse};
use super::history;
use super::schema::{self, APPLICATION_ID, Identity, VERSION};
use super::wal;
use crate::Durability;
use crate::backend::{BackendError, MAX_WATERMARK};
use crate::error::ErrorKind;
use crate::guarded;
use crate::memory::DecayCurve;
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig, ffi, limits::Limit};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::ops::{Deref, DerefMut, RangeBounds};
use std::path::{Path, PathBuf};
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
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

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

/// The longest path, in bytes: SQLite has 512 for that of a journal, which is 8 longer.
const LONGEST_PATH: usize = 504;

/// The longest name that file systems take, in bytes.
const LONGEST_NAME: usize = 255;

/// So much longer is the longest name of a file beside the store's own, that of a log which is put aside:
/// `.damaged-`, 16 digits, `-wal`.
const BESIDE_NAME: usize = 29;

/// The file's one true path: no link, no later change of directory and no special name of SQLite's gives it
/// another lock file or log.
pub(crate) fn resolved(path: &Path) -> Result<PathBuf, BackendError> {
    let failed = |error| unreachable_file(path, error);
    let true_path = match path.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Ok(to) = path.read_link() {
                let cause = format!("it is a link to {}, which is not there", to.display());
                return Err(missing(path, cause).with_hint("make that file, or remove the link"));
            }
            let absolute = std::path::absolute(path).map_err(failed)?;
            let (Some(folder), Some(name)) = (absolute.parent(), absolute.file_name()) else {
                return Err(failed(error));
            };
            match folder.canonicalize() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let cause = format!("its folder {} is not there", folder.display());
                    return Err(missing(path, cause).with_hint("make the folder, or give another path"));
                }
                folder => folder.map_err(failed)?.join(name),
            }
        }
        resolved => resolved.map_err(failed)?,
    };
    let bytes = true_path.as_os_str().len();
    if bytes <= LONGEST_PATH {
        Ok(true_path)
    } else {
        let cause = format!("its path has {bytes} bytes, and SQLite takes {LONGEST_PATH} at most");
        Err(failed(io::Error::new(io::ErrorKind::InvalidFilename, cause)))
    }
}

fn missing(path: &Path, cause: String) -> BackendError {
    unreachable_file(path, io::Error::new(io::ErrorKind::NotFound, cause))
}

/// Refuses a name that leaves no room for those of the files beside it.
pub(super) fn check_name(path: &Path) -> Result<(), BackendError> {
    let bytes = path.file_name().map_or(0, |name| name.len());
    if bytes + BESIDE_NAME <= LONGEST_NAME {
        return Ok(());
    }
    let cause = format!(
        "its name has {bytes} bytes, which leaves less than {BESIDE_NAME} of {LONGEST_NAME} for the names of the files beside it"
    );
    Err(unreachable_file(path, io::Error::new(io::ErrorKind::InvalidFilename, cause)))
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

pub(super) fn make_if_missing(path: &Path) -> Result<(), BackendError> {
    match make(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(unreachable_file(path, error)),
        _ => Ok(()),
    }
}

/// A new file belongs to its owner alone; SQLite gives its log the same rights.
pub(super) fn make(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Returns the true path of one where nothing is, which SQLite takes for no URI and no other database.
#[cfg(feature = "legion")]
pub(crate) fn free_path(path: &Path) -> crate::error::Result<PathBuf> {
    use crate::error::Error;
    let true_path = resolved(path)?;
    // SQLite would take what an earlier database has left for the new one's own, and delete it.
    let is_empty = |file: std::fs::Metadata| file.is_file() && file.len() == 0;
    let is_taken = |suffix: &str| match sibling(&true_path, suffix).metadata() {
        Ok(file) => suffix.is_empty() || !is_empty(file),
        Err(_) => false,
    };
    match ["", "-journal", "-wal"].into_iter().find(|suffix| is_taken(suffix)) {
        Some(suffix) => {
            let message = format!("{} exists: give a path where nothing is", sibling(path, suffix).display());
            Err(Error::new(ErrorKind::AlreadyExists, message))
        }
        None => Ok(true_path),
    }
}

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

fn not_a_store(path: &Path, what: impl std::fmt::Display) -> BackendError {
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
