//! Reading a file without owning it.

use super::error::while_doing;
use super::moment::Moment;
use super::{file, file_identity, lock, look, path, schema};
use crate::backend::BackendError;
use crate::error::{ErrorKind, Result};
use rusqlite::types::ValueRef;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Content of a store's file; from [`inspect`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct FileReport {
    /// The version of the schema.
    pub schema_version: i64,
    /// The generation up to which everything is in the file.
    pub watermark: u64,
    /// Whether the last store that wrote to the file has closed; `false` while it is open.
    pub clean: bool,
    /// Id of the process that has the file open as a store.
    pub in_use_by: Option<u32>,
    /// Number of stored traces.
    pub traces: u64,
    /// Number of stored traces of each type.
    pub by_type: BTreeMap<String, u64>,
    /// Number of stored traces of each partition.
    pub by_partition: BTreeMap<String, u64>,
    /// Number of stored traces of each tier.
    pub by_tier: BTreeMap<String, u64>,
    /// Number of stored links.
    pub links: u64,
    /// Number of bytes in the database file.
    pub file_bytes: u64,
    /// Number of bytes in its WAL.
    pub wal_bytes: u64,
}

/// Reads the content of a store's file, as of one moment. Works while a host has the store open, and changes nothing.
/// The cost is one pass over the table.
///
/// # Errors
///
/// [`Unreachable`](crate::ErrorKind::Unreachable), [`NotAStore`](crate::ErrorKind::NotAStore),
/// [`NewerSchema`](crate::ErrorKind::NewerSchema) or [`Corrupt`](crate::ErrorKind::Corrupt), with the path in the
/// message.
pub fn inspect(path: impl AsRef<Path>) -> Result<FileReport> {
    let (path, version) = &of_a_store(path.as_ref())?;
    let file_bytes = fs::metadata(path).map_or(0, |file| file.len());
    report(path, *version, file_bytes).map_err(|error| while_doing("reading", path, error).into())
}

/// Shows the content of a store's file to `work`, as of one moment. Like [`inspect`], it changes nothing.
pub(crate) fn read<T>(path: &Path, work: impl FnOnce(Moment<'_>) -> Result<T>) -> Result<T> {
    let (path, _) = &of_a_store(path)?;
    let reading = |error| while_doing("reading", path, error);
    let mut connection = look::look_at(path).map_err(reading)?;
    connection.execute_batch("BEGIN").map_err(reading)?;
    work(Moment::of(path, file::longest_value(0), &mut connection).map_err(reading)?)
}

/// Returns the resolved path and the version of the schema.
pub(super) fn of_a_store(path: &Path) -> Result<(PathBuf, i64), BackendError> {
    let path = path::resolved(path)?;
    let identity = look::look_before_touching(&path)?;
    if identity.is_new() {
        let message = format!("{} is empty: give the path of a store", path.display());
        Err(BackendError::new(ErrorKind::NotAStore, message))
    } else {
        Ok((path, identity.version))
    }
}

fn report(path: &Path, schema_version: i64, file_bytes: u64) -> rusqlite::Result<FileReport> {
    let mut connection = look::look_at(path)?;
    let snapshot = connection.transaction()?;
    let (watermark, _, clean) = schema::read_store(&snapshot)?;
    let count = |sql| snapshot.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs);
    let counts = |column: &str| {
        let mut statement =
            snapshot.prepare(&format!("SELECT {column}, count(*) FROM traces GROUP BY {column}"))?;
        let mut rows = statement.query([])?;
        let mut counts = BTreeMap::<String, u64>::new();
        while let Some(row) = rows.next()? {
            // A row that a store would quarantine is counted too: its name need not be UTF-8, nor text.
            let name = match row.get_ref(0)? {
                ValueRef::Text(name) | ValueRef::Blob(name) => String::from_utf8_lossy(name).into_owned(),
                other => format!("{}", other.data_type()),
            };
            *counts.entry(name).or_default() += row.get::<_, i64>(1)?.unsigned_abs();
        }
        Ok::<_, rusqlite::Error>(counts)
    };
    Ok(FileReport {
        schema_version,
        watermark,
        clean,
        in_use_by: lock::owner(path),
        traces: count("SELECT count(*) FROM traces")?,
        by_type: counts("type")?,
        by_partition: counts("partition")?,
        by_tier: counts("tier")?,
        links: count("SELECT count(*) FROM links")?,
        file_bytes,
        wal_bytes: file_identity::wal_bytes(path),
    })
}
