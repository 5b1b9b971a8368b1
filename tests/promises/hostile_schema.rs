//! A schema that an enemy has written: an error, or left alone.
#![cfg(feature = "sqlite")]

use super::hostile::{prepared, used};
use harness::Outcome;
use mnemon::{ErrorKind, TraceStore};
use rusqlite::Connection;
use std::time::Duration;

#[test]
fn duplicate_id_loads_at_most_once() -> Outcome {
    // The index that would not have it is left as it was.
    let scratch = prepared(
        "PRAGMA writable_schema = ON;
         CREATE TABLE plain (row INTEGER PRIMARY KEY, id);
         UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'links') WHERE name = 'plain';
         UPDATE sqlite_schema SET sql = replace(sql, 'BLOB NOT NULL UNIQUE', 'BLOB NOT NULL') WHERE name = 'traces';
         DELETE FROM sqlite_schema WHERE name = 'plain' OR name = 'sqlite_autoindex_traces_1';",
    )?;
    let enemy = Connection::open(scratch.path())?;
    enemy.execute_batch("UPDATE traces SET id = (SELECT id FROM traces WHERE row = 2) WHERE row = 1")?;
    let outcome = enemy.execute_batch(
        "PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'BLOB NOT NULL', 'BLOB NOT NULL UNIQUE') WHERE name = 'traces';",
    );
    drop(enemy);
    outcome?;
    // Refused, as its index is missing, or opened with one of them: never both.
    match TraceStore::open(scratch.path()) {
        Ok(store) => assert!(store.len() < 3 && !store.stats().quarantined.is_empty()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
    }
    Ok(())
}

#[test]
fn hostile_schema_is_refused_or_ignored() -> Outcome {
    let schema = |sql: &str| format!("PRAGMA writable_schema = ON; {sql}");
    let many: String = (0..5_000).map(|n| format!("CREATE TABLE t{n} (x);")).collect();
    let cases = [
        schema("UPDATE sqlite_schema SET sql = 'garbage' WHERE name = 'traces'"),
        schema("UPDATE sqlite_schema SET sql = NULL WHERE name = 'traces'"),
        schema("UPDATE sqlite_schema SET sql = x'ff' WHERE name = 'traces'"),
        schema("UPDATE sqlite_schema SET sql = 'CREATE TABLE traces AS SELECT 1' WHERE name = 'traces'"),
        schema(
            "UPDATE sqlite_schema SET sql = 'CREATE VIRTUAL TABLE traces USING fts5(x)' WHERE name = 'traces'",
        ),
        schema("UPDATE sqlite_schema SET rootpage = 0 WHERE name = 'traces'"),
        schema("UPDATE sqlite_schema SET rootpage = 1 WHERE name = 'traces'"),
        schema("UPDATE sqlite_schema SET rootpage = 2147483647 WHERE name = 'traces'"),
        schema("UPDATE sqlite_schema SET rootpage = -1 WHERE name = 'traces'"),
        schema(
            "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'links') WHERE name = 'traces'",
        ),
        schema(
            "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'traces') WHERE name = 'sqlite_autoindex_traces_1'",
        ),
        schema("DELETE FROM sqlite_schema WHERE name = 'sqlite_autoindex_traces_1'"),
        schema("UPDATE sqlite_schema SET type = 'view' WHERE name = 'traces'"),
        schema("UPDATE sqlite_schema SET name = 'TRACES' WHERE name = 'traces'"),
        schema("INSERT INTO sqlite_schema SELECT * FROM sqlite_schema WHERE name = 'traces'"),
        schema("INSERT INTO sqlite_schema VALUES ('trigger', 'x', 'traces', 0, 'CREATE TRIGGER x garbage')"),
        schema("INSERT INTO sqlite_schema VALUES ('table', zeroblob(5000000), 'x', 0, NULL)"),
        "CREATE VIRTUAL TABLE other USING fts5(x)".to_owned(),
        "CREATE VIRTUAL TABLE other USING rtree(id, a, b)".to_owned(),
        "CREATE INDEX evil ON traces (abs(revision - 9223372036854775807 - 2))".to_owned(),
        "CREATE UNIQUE INDEX evil ON links (count)".to_owned(),
        "CREATE INDEX evil ON traces (hex(zeroblob(1000 * length(tier))))".to_owned(),
        "CREATE INDEX evil ON traces (row) WHERE strength > 0.1".to_owned(),
        "PRAGMA user_version = -1".to_owned(),
        "PRAGMA user_version = 0".to_owned(),
        "PRAGMA encoding = 'UTF-16'; CREATE TABLE more (x)".to_owned(),
        many,
    ];
    let (mut tried, mut refused) = (0, 0);
    for sql in cases {
        // What SQLite itself does not let anybody write is no case.
        let Ok(scratch) = prepared(&sql) else { continue };
        tried += 1;
        match used(&scratch, Duration::from_secs(1)).map_err(|error| format!("{sql:.120}: {error}"))? {
            Ok(loaded) => assert!(loaded <= 3, "{sql:.120}"),
            Err(_) => refused += 1,
        }
    }
    println!("bad inputs: {tried} tried as schemas, {refused} refused, panics 0");
    assert!(tried > 20 && refused > 8, "{tried} {refused}");
    Ok(())
}

/// Whoever can write to the file gets around a strict table.
#[test]
fn cell_of_wrong_type_is_damage() -> Outcome {
    let strict = |change: &str| {
        format!(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')') WHERE name = 'store';
             PRAGMA writable_schema = RESET;
             {change};
             PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = sql || ' STRICT' WHERE name = 'store';"
        )
    };
    let schema =
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = CAST(sql AS BLOB) WHERE name = 'links'";
    let not_text = "PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = sql || ' /*' || CAST(x'ff' AS TEXT) || '*/' WHERE name = 'links'";
    for sql in [
        &strict("UPDATE store SET watermark = 1.5"),
        &strict("UPDATE store SET watermark = 'many'"),
        &strict("UPDATE store SET boot = 'mine'"),
        &strict("UPDATE store SET clean = x'01'"),
        schema,
        not_text,
    ] {
        let scratch = prepared(sql)?;
        let error = TraceStore::open(scratch.path()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{sql}: {error:?}");
        let error = mnemon::inspect(scratch.path()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{sql}: {error:?}");
    }
    Ok(())
}

/// SQLite calls it an error of ours.
#[test]
fn unknown_schema_format_is_damage() -> Outcome {
    let scratch = prepared("")?;
    let mut file = std::fs::read(scratch.path())?;
    file[44..48].copy_from_slice(&9_u32.to_be_bytes()); // https://www.sqlite.org/fileformat2.html#schema_format_number
    std::fs::write(scratch.path(), &file)?;
    for error in [
        TraceStore::open(scratch.path()).map(drop).unwrap_err(),
        mnemon::inspect(scratch.path()).map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
    assert_eq!(std::fs::read(scratch.path())?, file, "and it is left as it was");
    Ok(())
}
