//! Deleting a part of the store so that nothing of it is left behind.
//!
//! `secure_delete` is on for the connection, so that what is deleted is overwritten with zeros, in the pages that
//! stay in use and in those that become free. The WAL keeps the pages as they were until it is emptied, which the
//! next housekeeping does, unless a reader holds it up: then it is tried again.

use super::rows_read::id_of;
use crate::backend::{Applied, Scope};
use rusqlite::Connection;

/// In the batch's transaction.
pub(super) fn erase(
    connection: &Connection,
    has_history: bool,
    scope: &Scope,
    applied: &mut Applied,
) -> rusqlite::Result<()> {
    let (column, value) = match scope {
        Scope::Type(kind) => ("type", kind.as_str()),
        Scope::Partition(partition) => ("partition", &**partition),
    };
    let these = format!("SELECT id FROM traces WHERE {column} = ?1");
    let links = format!("DELETE FROM links WHERE a IN ({these}) OR b IN ({these}) RETURNING a");
    applied.links_deleted += delete(connection, &links, value, &mut applied.erased_links)?;
    if has_history {
        let history = format!("DELETE FROM trace_history WHERE {column} = ?1");
        connection.execute(&history, [value])?;
    }
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

#[cfg(test)]
#[allow(clippy::expect_used, reason = "what can't be made fails its test")]
mod tests {
    use super::erase;
    use crate::backend::sqlite::{history, schema};
    use crate::backend::{Applied, Scope};
    use crate::trace::TraceType;
    use rusqlite::Connection;

    /// Several erasures may wait for one batch.
    #[test]
    fn erasures_of_one_batch_add_up() {
        let mut connection = Connection::open_in_memory().expect("a database");
        schema::migrate(&mut connection, 0).expect("the tables");
        connection.execute_batch(history::TABLE).expect("the table of the history");
        // 1 and 2 are of one partition, 3 of another and of another type; each is linked to 4, which stays.
        let fill = "
            INSERT INTO traces SELECT value, unhex(printf('%032x', value)), 1, 1, 1, 0, 0, 1, 0, 0, 1, 0, 'hot', 0, 0, 0,
                iif(value = 3, 'sensory', 'semantic'), 'inferred', 0, iif(value < 3, 'a', 'b'),
                NULL, NULL, NULL, NULL, NULL, NULL, '1', NULL, NULL FROM json_each('[1,2,3,4]');
            INSERT INTO links SELECT a.id, b.id, 1, 0, 0 FROM traces a, traces b WHERE a.row < 4 AND b.row = 4;";
        connection.execute_batch(fill).expect("rows");
        let mut applied = Applied::default();
        for scope in [Scope::Partition("a".into()), Scope::Type(TraceType::Sensory)] {
            erase(&connection, true, &scope, &mut applied).expect("an erasure");
        }
        assert_eq!((applied.erased, applied.links_deleted), (vec![2, 1], 3));
        assert_eq!((applied.erased_ids.len(), applied.erased_links.len()), (3, 3));
    }
}
