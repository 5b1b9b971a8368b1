//! Former contents of traces: what a batch overwrites is copied first, in its transaction.
//!
//! An entry is the whole row as it was. It belongs to the number of that row, and so to the trace that has it. A file
//! has the table only from the first opening on that keeps a history; without it no statement of these runs.

use super::error::{is_about_the_row, while_doing};
use super::rows_read::{self, COLUMNS, Wrong};
use super::{file, inspect, look};
use crate::backend::{BackendError, RowNumber};
use crate::error::{ErrorKind, Result};
use crate::trace::{Trace, TraceId};
use rusqlite::{CachedStatement, Connection, OptionalExtension, ToSql};
use std::path::Path;

pub(super) const NAME: &str = "trace_history";

/// Made in a file that is to keep a history, so that others have no page of it.
pub(super) const TABLE: &str = "
CREATE TABLE trace_history (
    entry INTEGER PRIMARY KEY,
    row INTEGER NOT NULL,
    id BLOB NOT NULL CHECK (length(id) = 16),
    strength REAL NOT NULL,
    peak_strength REAL NOT NULL,
    base_decay_rate REAL NOT NULL,
    emotional_valence REAL NOT NULL,
    emotional_intensity REAL NOT NULL,
    confidence REAL NOT NULL,
    last_reinforced INTEGER NOT NULL,
    last_decayed INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    reinforcement_count INTEGER NOT NULL,
    tier TEXT NOT NULL,
    unresolved INTEGER NOT NULL,
    consolidation_candidate INTEGER NOT NULL,
    pinned INTEGER NOT NULL,
    type TEXT NOT NULL,
    origin TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    partition TEXT NOT NULL,
    source_agent TEXT,
    encryption_key_id TEXT,
    parent BLOB,
    children BLOB,
    tags TEXT,
    embedding BLOB,
    payload TEXT NOT NULL,
    valid_until INTEGER,
    superseded_by BLOB
) STRICT;

CREATE INDEX trace_history_of_row ON trace_history (row);
";

/// Fields that no change of a trace changes, with the numbers of its parameters when it is written whole.
const FIXED: &str = "id = ?2 AND type = ?17 AND origin = ?18 AND created_at = ?19 AND partition = ?20";

const CONTENT: &str = "source_agent IS ?21 AND encryption_key_id IS ?22 AND parent IS ?23 AND children IS ?24
    AND tags IS ?25 AND embedding IS ?26 AND payload IS ?27 AND valid_until IS ?28 AND superseded_by IS ?29";

const PRUNE: &str = "
DELETE FROM trace_history WHERE row = ?1 AND entry <= (
    SELECT entry FROM trace_history WHERE row = ?1 ORDER BY entry DESC LIMIT 1 OFFSET ?2)";

const PRUNE_ALL: &str = "
DELETE FROM trace_history WHERE entry IN (
    SELECT entry FROM (
        SELECT entry, row_number() OVER (PARTITION BY row ORDER BY entry DESC) AS nth FROM trace_history)
    WHERE nth > ?1)";

/// Prunes the history to `keep` entries of each trace, if that is given. Returns whether the file has a history:
/// only then batches have to see to it.
pub(super) fn begin(connection: &Connection, keep: Option<u32>) -> rusqlite::Result<bool> {
    match (keep, is_there(connection)?) {
        (Some(0), true) => connection.execute_batch("DROP TABLE trace_history")?,
        (Some(1..), false) => connection.execute_batch(&format!("BEGIN; {TABLE} COMMIT"))?,
        (Some(keep), true) => drop(connection.execute(PRUNE_ALL, [keep])?),
        (None | Some(0), _) => {}
    }
    is_there(connection)
}

/// Whether the file has a history.
pub(super) fn is_there(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
    connection.query_row(sql, [NAME], |row| row.get(0))
}

/// A name of the history that something else in the file has.
pub(super) fn taken_name(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE lower(name) IN ('trace_history', 'trace_history_of_row')
        AND NOT (type IN ('table', 'index') AND tbl_name = 'trace_history')";
    connection.query_row(sql, [], |row| row.get(0)).optional()
}

/// The statements of a batch.
pub(super) struct Statements<'c> {
    keep: u32,
    forget: CachedStatement<'c>,
    forget_others: CachedStatement<'c>,
    copy: CachedStatement<'c>,
    prune: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    /// `keep` is the number of entries of each trace. `None` adds none, and leaves the history of the file as it is.
    pub(super) fn prepare(connection: &'c Connection, keep: Option<u32>) -> rusqlite::Result<Self> {
        let copy = format!(
            "INSERT INTO trace_history SELECT NULL, * FROM traces WHERE row = ?1 AND {FIXED} AND NOT ({CONTENT})"
        );
        Ok(Self {
            keep: keep.unwrap_or(0),
            forget: connection.prepare_cached("DELETE FROM trace_history WHERE row = ?1")?,
            forget_others: connection
                .prepare_cached(&format!("DELETE FROM trace_history WHERE row = ?1 AND NOT ({FIXED})"))?,
            copy: connection.prepare_cached(&copy)?,
            prune: connection.prepare_cached(PRUNE)?,
        })
    }

    /// Removes the history of a row that is deleted, or that another trace gets.
    pub(super) fn forget(&mut self, row: RowNumber) -> rusqlite::Result<()> {
        self.forget.execute([row]).map(drop)
    }

    /// Called before a row that may be there is written with these values: keeps its content if that changes. Such a
    /// row is written in place, which is not refused: it has the id, and all values are within what a row takes.
    pub(super) fn keep(&mut self, row: RowNumber, values: &[&dyn ToSql]) -> rusqlite::Result<()> {
        // Of another trace that had this row.
        self.forget_others.execute(&values[..FIXED_VALUES])?;
        if self.keep == 0 {
            return Ok(());
        }
        match self.copy.execute(values) {
            Ok(0) => Ok(()),
            Ok(_) => self.prune.execute([row, self.keep.into()]).map(drop),
            // A row that is longer than any is now can't be kept.
            Err(error) if is_about_the_row(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Number of values up to the last one of [`FIXED`].
const FIXED_VALUES: usize = 20;

/// Reads the former contents of a trace that a file holds, the newest first. Changes nothing.
pub(crate) fn read_history(path: &Path, id: TraceId, max_payload_bytes: usize) -> Result<Vec<Trace>> {
    let reading = |error| while_doing("reading", path, error);
    let read = || {
        let connection = look::look_at(path)?;
        file::harden(&connection, file::longest_value(max_payload_bytes))?;
        if !is_there(&connection)? {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT {COLUMNS} FROM trace_history WHERE row = (SELECT row FROM traces WHERE id = ?1)
             ORDER BY entry DESC"
        );
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([id.as_bytes()])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(rows_read::read(row));
        }
        Ok::<_, rusqlite::Error>(found)
    };
    inspect::of_a_store(path)?;
    let unreadable = |Wrong(reason)| {
        let message = format!("the history of trace {id} in {} can't be read: {reason}", path.display());
        BackendError::new(ErrorKind::Corrupt, message).into()
    };
    read().map_err(reading)?.into_iter().map(|read| read.map_err(unreadable)).collect()
}
