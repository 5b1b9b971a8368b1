//! Writing a batch.

use super::error::{is_about_the_row, kind_of};
use super::file::Attached;
use super::{erase, links, rows_write, schema};
use crate::backend::{Applied, Batch, TraceChange};
use crate::error::ErrorKind;
use crate::protocol::fetching;
use rusqlite::Connection;

/// How often a COMMIT that finds a lock is tried again, each time after SQLite's own busy timeout.
const COMMIT_TRIES: u32 = 3;

impl Attached {
    /// One transaction, begun and committed by hand; after an error the caller rolls back. Rows that are
    /// refused for their content are left out.
    pub(super) fn write(&self, batch: &Batch<'_>) -> rusqlite::Result<Applied> {
        let connection = &self.connection;
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut applied = Applied::default();
        for scope in batch.erased {
            erase::erase(connection, self.has_history, scope, &mut applied)?;
        }
        let mut statements = rows_write::Statements::prepare(self, batch.replaced)?;
        let changes = fetching(batch.traces, TraceChange::touch);
        applied.refused = each(connection, changes, |change| statements.apply(change, &mut applied))?;
        let mut statements = links::Statements::prepare(connection)?;
        applied.refused_links =
            each(connection, batch.links.iter(), |change| statements.apply(change, &mut applied))?;
        schema::set_watermark(connection, batch.watermark, &self.boot)?;
        commit(connection)?;
        Ok(applied)
    }
}

/// Makes each change; answers those that were refused for their content.
pub(super) fn each<'a, C: 'a>(
    connection: &Connection,
    changes: impl Iterator<Item = &'a C>,
    mut apply: impl FnMut(&C) -> rusqlite::Result<()>,
) -> rusqlite::Result<Vec<(usize, String)>> {
    let mut refused = Vec::new();
    for (at, change) in changes.enumerate() {
        match apply(change) {
            Ok(()) => {}
            // SQLite undid the one statement; had it undone the transaction, going on would commit row by row.
            Err(error) if is_about_the_row(&error) && !connection.is_autocommit() => {
                refused.push((at, error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(refused)
}

pub(super) fn commit(connection: &Connection) -> rusqlite::Result<()> {
    for _ in 1..COMMIT_TRIES {
        match connection.execute_batch("COMMIT") {
            Err(error) if kind_of(&error) == ErrorKind::Busy && !connection.is_autocommit() => {}
            outcome => return outcome,
        }
    }
    connection.execute_batch("COMMIT")
}
