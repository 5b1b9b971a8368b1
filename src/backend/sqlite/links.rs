//! A link as a row, and back.

use super::rows_read::{Columns, Wrong, id_of};
use crate::backend::{Applied, LinkChange, Stored, Unreadable};
use crate::trace::{Link, TraceId};
use rusqlite::{CachedStatement, Connection, params};

/// Only between traces that have rows: what comes to no row is refused.
const UPSERT: &str = "
INSERT INTO links (a, b, count, first_at, last_at)
SELECT ?1, ?2, ?3, ?4, ?5
WHERE EXISTS (SELECT 1 FROM traces WHERE id = ?1) AND EXISTS (SELECT 1 FROM traces WHERE id = ?2)
ON CONFLICT (a, b) DO UPDATE SET count = ?3, first_at = ?4, last_at = ?5";

const DELETE: &str = "DELETE FROM links WHERE a = ?1 AND b = ?2";

const SELECT: &str = "SELECT a, b, count, first_at, last_at FROM links ORDER BY a, b";

/// The statements of a batch, prepared once for the connection.
pub(super) struct Statements<'c> {
    upsert: CachedStatement<'c>,
    delete: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self { upsert: connection.prepare_cached(UPSERT)?, delete: connection.prepare_cached(DELETE)? })
    }

    /// Makes one change, and counts it.
    pub(super) fn apply(&mut self, change: &LinkChange, applied: &mut Applied) -> rusqlite::Result<()> {
        match change {
            LinkChange::Delete(a, b) => {
                applied.links_deleted += self.delete.execute(params![a.as_bytes(), b.as_bytes()])? as u64;
            }
            LinkChange::Upsert(link) => {
                let [a, b] = link.ends.ids();
                let (count, first, last) = (link.count, link.first_at.get(), link.last_at.get());
                let written = self.upsert.execute(params![a.as_bytes(), b.as_bytes(), count, first, last])?;
                if written == 0 {
                    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CONSTRAINT);
                    let why = "one of its traces has no row".to_owned();
                    return Err(rusqlite::Error::SqliteFailure(code, Some(why)));
                }
                applied.links_upserted += 1;
            }
        }
        Ok(())
    }
}

/// Streams every row.
pub(super) fn load(connection: &Connection, into: &mut dyn FnMut(Stored)) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(SELECT)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let columns = Columns(row);
        let end = |at, name| columns.value(at, name).and_then(id_of);
        let link = end(0, "a").and_then(|a| Ok((a, end(1, "b")?))).and_then(|ends| read(&columns, ends));
        into(Stored::Link(link.map_err(|Wrong(reason)| Unreadable { id: end(0, "a").ok(), reason })));
    }
    Ok(())
}

fn read(columns: &Columns<'_>, ends: (TraceId, TraceId)) -> Result<Link, Wrong> {
    let (first, last) = (columns.time(3, "first_at")?, columns.time(4, "last_at")?);
    Ok(Link::new(ends, columns.count(2, "count")?, first, last)?)
}
