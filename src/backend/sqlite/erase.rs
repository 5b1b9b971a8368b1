//! Deleting a part of the store so that nothing of it is left behind.
//!
//! `secure_delete` is on for the connection, so that what is deleted is overwritten with zeros, in the pages that
//! stay in use and in those that become free. The log keeps the pages as they were until it is emptied, which the
//! next housekeeping does, unless a reader holds it up: then it is tried again.

use crate::backend::Scope;
use rusqlite::Connection;

/// In the batch's transaction; answers how many rows of traces were deleted.
pub(super) fn erase(connection: &Connection, scope: &Scope) -> rusqlite::Result<u64> {
    let (column, value) = match scope {
        Scope::Type(kind) => ("type", kind.as_str()),
        Scope::Partition(partition) => ("partition", &**partition),
    };
    let these = format!("SELECT id FROM traces WHERE {column} = ?1");
    connection.execute(&format!("DELETE FROM links WHERE a IN ({these}) OR b IN ({these})"), [value])?;
    let deleted = connection.execute(&format!("DELETE FROM traces WHERE {column} = ?1"), [value])?;
    Ok(deleted as u64)
}
