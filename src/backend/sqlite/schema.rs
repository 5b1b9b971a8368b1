//! The tables, their version, and the steps from one version to the next.

use super::history;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use uuid::Uuid;

/// `mnem`: whose file it is.
pub(super) const APPLICATION_ID: i64 = 0x6d6e_656d;

/// What this version of the crate writes. A file with a lower one is brought forward, one with a higher
/// one is refused.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Brings a file to the next version.
type Migration = fn(&Connection) -> rusqlite::Result<()>;

/// Each brings it there from the version that is its index. Takes the same time whatever the file holds.
const MIGRATIONS: &[Migration] = &[|connection| connection.execute_batch(FIRST), second];

/// Numbers stand before content, so that reading them does not reach into overflow pages. Memory answers
/// queries, so there is no index but the ones that hold identity.
const FIRST: &str = "
CREATE TABLE traces (
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE CHECK (length(id) = 16),
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
    payload TEXT NOT NULL
) STRICT;

CREATE TABLE links (
    a BLOB NOT NULL CHECK (length(a) = 16),
    b BLOB NOT NULL CHECK (length(b) = 16),
    count INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (a, b),
    CHECK (a < b)
) STRICT, WITHOUT ROWID;

CREATE TABLE store (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    watermark INTEGER NOT NULL,
    boot BLOB,
    clean INTEGER NOT NULL
) STRICT;

INSERT INTO store (one, watermark, boot, clean) VALUES (1, 0, NULL, 1);

CREATE VIEW readable AS
SELECT
    lower(substr(hex(id), 1, 8) || '-' || substr(hex(id), 9, 4) || '-' || substr(hex(id), 13, 4) || '-'
        || substr(hex(id), 17, 4) || '-' || substr(hex(id), 21)) AS id,
    type, partition, tags, payload, strength, confidence, tier, revision,
    strftime('%Y-%m-%dT%H:%M:%fZ', created_at / 1000000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', last_reinforced / 1000000.0, 'unixepoch') AS last_reinforced
FROM traces;
";

/// The first version in which traces have an end of their validity.
pub(super) const SECOND_VERSION: i64 = 2;

fn second(connection: &Connection) -> rusqlite::Result<()> {
    let is_defensive = connection.db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    let added = add_columns(connection);
    connection.execute_batch("PRAGMA writable_schema = RESET")?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, is_defensive)?;
    added
}

/// Adds the columns of the validity as `ALTER TABLE` does, which would also look at each row of a STRICT table, and
/// fail at one that a store quarantines: <https://www.sqlite.org/lang_altertable.html#otheralter>.
fn add_columns(connection: &Connection) -> rusqlite::Result<()> {
    const END: &str = "\n) STRICT";
    const COLUMNS: &str = ",\n    valid_until INTEGER,\n    superseded_by BLOB";
    let cookie: i64 = connection.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
    connection.execute_batch("PRAGMA writable_schema = ON")?;
    let sql = "UPDATE sqlite_schema SET sql = replace(sql, ?1, ?2) WHERE type = 'table' AND name = 'traces'";
    ours(connection.execute(sql, [END, &format!("{COLUMNS}{END}")])?)?;
    connection.execute_batch(&format!("PRAGMA schema_version = {}", cookie + 1))
}

/// What a connection's file says it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) application_id: i64,
    pub(super) version: i64,
    pub(super) is_empty: bool,
}

impl Identity {
    /// A file with nothing in it.
    pub(super) const NEW: Self = Self { application_id: 0, version: 0, is_empty: true };

    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let number = |sql| connection.query_row(sql, [], |row| row.get(0));
        Ok(Self {
            application_id: number("PRAGMA application_id")?,
            version: number("PRAGMA user_version")?,
            is_empty: number("SELECT count(*) FROM sqlite_schema")? == 0,
        })
    }

    /// No database yet: nobody has put anything there.
    pub(super) fn is_new(&self) -> bool {
        self.is_empty && self.application_id == 0 && self.version == 0
    }
}

/// Which of the tables are not as this crate makes them in that version. What else a person has put into the file is
/// theirs, and not used.
pub(super) fn strange_tables(connection: &Connection, version: i64) -> rusqlite::Result<Vec<String>> {
    let ours = Connection::open_in_memory()?;
    MIGRATIONS.iter().take(version.max(0) as usize).try_for_each(|step| step(&ours))?;
    ours.execute_batch(history::TABLE)?;
    let sql_of = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    let mut tables =
        ours.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table' ORDER BY name")?;
    let mut tables = tables.query([])?;
    let mut strange = Vec::new();
    while let Some(table) = tables.next()? {
        let (name, expected): (String, Option<String>) = (table.get(0)?, table.get(1)?);
        let found = connection.query_row(sql_of, [&name], |row| row.get(0)).optional()?;
        // Few files have a history.
        let is_missing_rightly = found.is_none() && name == history::NAME;
        if found != Some(expected) && !is_missing_rightly {
            strange.push(name);
        }
    }
    Ok(strange)
}

/// Brings a new or older file to [`VERSION`], in one transaction.
pub(super) fn migrate(connection: &mut Connection, from: i64) -> rusqlite::Result<()> {
    let steps = usize::try_from(from).ok().and_then(|from| MIGRATIONS.get(from..)).unwrap_or_default();
    if steps.is_empty() {
        return Ok(());
    }
    let transaction = Transaction::new(connection, rusqlite::TransactionBehavior::Immediate)?;
    for step in steps {
        step(&transaction)?;
    }
    transaction.execute_batch(&format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};"
    ))?;
    transaction.commit()
}

/// The version of a file that is known to be a store.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// The store's row: watermark, the boot that wrote last, and whether it ended cleanly.
pub(super) fn read_store(connection: &Connection) -> rusqlite::Result<(u64, Option<Uuid>, bool)> {
    let row = connection.query_row("SELECT watermark, boot, clean FROM store WHERE one = 1", [], |row| {
        let boot: Option<Vec<u8>> = row.get(1)?;
        let boot = boot.and_then(|bytes| Uuid::from_slice(&bytes).ok());
        Ok((row.get::<_, i64>(0)?.max(0).unsigned_abs(), boot, row.get(2)?))
    });
    Ok(row.optional()?.unwrap_or((0, None, false)))
}

/// In the batch's transaction.
pub(super) fn set_watermark(connection: &Connection, watermark: u64, boot: &Uuid) -> rusqlite::Result<()> {
    let sql = "UPDATE store SET watermark = ?1, clean = 0 WHERE one = 1 AND boot = ?2";
    ours(connection.prepare_cached(sql)?.execute(params![sql_integer(watermark), boot.as_bytes()])?)
}

/// One row was changed; if not, another owner has signed the file since.
fn ours(changed: usize) -> rusqlite::Result<()> {
    match changed {
        1 => Ok(()),
        other => Err(rusqlite::Error::StatementChangedRows(other)),
    }
}

/// A generation counts cuts: it does not reach 2^63.
fn sql_integer(watermark: u64) -> i64 {
    i64::try_from(watermark).unwrap_or(i64::MAX)
}

pub(super) fn set_boot(connection: &Connection, boot: &Uuid) -> rusqlite::Result<()> {
    let sql = "INSERT INTO store (one, watermark, boot, clean) VALUES (1, 0, ?1, 0)
               ON CONFLICT (one) DO UPDATE SET boot = excluded.boot, clean = 0";
    connection.execute(sql, params![boot.as_bytes()]).map(drop)
}

pub(super) fn set_clean(connection: &Connection, watermark: u64, boot: &Uuid) -> rusqlite::Result<()> {
    let sql = "UPDATE store SET watermark = ?1, clean = 1 WHERE one = 1 AND boot = ?2";
    ours(connection.execute(sql, params![sql_integer(watermark), boot.as_bytes()])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_signed_the_file_moves_its_watermark() -> rusqlite::Result<()> {
        let mut connection = Connection::open_in_memory()?;
        migrate(&mut connection, 0)?;
        let (ours, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        set_boot(&connection, &ours)?;
        set_watermark(&connection, 7, &ours)?;
        assert!(set_watermark(&connection, 8, &other).is_err() && set_clean(&connection, 8, &other).is_err());
        assert_eq!(read_store(&connection)?, (7, Some(ours), false));
        set_clean(&connection, 9, &ours)?;
        assert_eq!(read_store(&connection)?, (9, Some(ours), true));
        Ok(())
    }
}
