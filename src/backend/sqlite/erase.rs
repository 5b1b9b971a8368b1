//! Deleting a part of the store so that nothing of it is left behind.
//!
//! `secure_delete` is on for the connection, so that what is deleted is overwritten with zeros, in the pages that
//! stay in use and in those that become free. The log keeps the pages as they were until it is emptied, which the
//! next housekeeping does, unless a reader holds it up: then it is tried again.

use super::rows::id_of;
use crate::backend::{Applied, Scope};
use rusqlite::Connection;

/// In the batch's transaction.
pub(super) fn erase(connection: &Connection, scope: &Scope, applied: &mut Applied) -> rusqlite::Result<()> {
    let (column, value) = match scope {
        Scope::Type(kind) => ("type", kind.as_str()),
        Scope::Partition(partition) => ("partition", &**partition),
    };
    let these = format!("SELECT id FROM traces WHERE {column} = ?1");
    let links = format!("DELETE FROM links WHERE a IN ({these}) OR b IN ({these}) RETURNING a");
    applied.links_deleted += delete(connection, &links, value, &mut applied.erased_links)?;
    let traces = format!("DELETE FROM traces WHERE {column} = ?1 RETURNING id");
    let deleted = delete(connection, &traces, value, &mut applied.erased_ids)?;
    applied.erased.push(deleted);
    Ok(())
}

/// Answers how many rows there were.
fn delete(
    connection: &Connection,
    sql: &str,
    value: &str,
    ids: &mut Vec<crate::trace::TraceId>,
) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([value])?;
    let mut deleted = 0;
    while let Some(row) = rows.next()? {
        deleted += 1;
        ids.extend(id_of(row.get_ref(0)?));
    }
    Ok(deleted)
}
