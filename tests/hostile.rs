//! A file that an enemy has prepared: what stands in it is data. Nothing of it runs, and what is not as this crate
//! makes it is refused or set aside.
#![cfg(feature = "sqlite")]

mod support;

use mnemon::{ErrorKind, TraceStore};
use rusqlite::Connection;
use support::{Outcome, Scratch, note, rows, scratch};

/// A closed store with three traces, each linked to the others, in which this is done.
fn prepared(sql: &str) -> Outcome<Scratch> {
    let scratch = scratch()?;
    let store = scratch.quiet()?;
    let ids = store.insert_many((0..3).map(note))?;
    for (a, b) in [(0, 1), (1, 2), (2, 0)] {
        store.co_activate(ids[a], ids[b])?;
    }
    store.close()?;
    let enemy = Connection::open(scratch.path())?;
    enemy.execute_batch(sql)?;
    enemy.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(scratch)
}

#[test]
fn a_trigger_of_the_file_never_runs() -> Outcome {
    let scratch = prepared(
        "CREATE TABLE harm (what);
         CREATE TRIGGER one AFTER UPDATE ON traces BEGIN INSERT INTO harm VALUES ('update'); END;
         CREATE TRIGGER two AFTER INSERT ON traces BEGIN DELETE FROM traces WHERE row < NEW.row; END;
         CREATE TRIGGER three BEFORE DELETE ON traces BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER four AFTER INSERT ON links BEGIN SELECT RAISE(ABORT, 'no'); END;
         CREATE TRIGGER five AFTER UPDATE ON store BEGIN UPDATE store SET watermark = 0; END;",
    )?;
    let store = scratch.quiet()?;
    let ids: Vec<_> = store.iter().map(|trace| trace.id()).collect();
    store.update(ids[0], |trace| trace.confidence(0.9))?;
    store.remove(ids[1])?;
    let new = store.insert(note("new"))?;
    store.co_activate(ids[0], new)?;
    let report = store.flush()?;
    assert_eq!((report.rows_refused, report.links_upserted), (0, 1));
    assert_eq!(store.watermark().durable, report.watermark);
    assert!(mnemon::inspect(scratch.path())?.watermark > 0);
    store.close()?;
    let reader = scratch.reader()?;
    assert_eq!(rows(&reader)?, 3);
    let harm: i64 = reader.query_row("SELECT count(*) FROM harm", [], |row| row.get(0))?;
    assert_eq!(harm, 0);
    assert_eq!(scratch.quiet()?.len(), 3);
    Ok(())
}

#[test]
fn a_table_that_is_not_as_we_make_it_is_refused_by_its_name() -> Outcome {
    let cases = [
        ("DROP TABLE links", "links"),
        (
            "DROP VIEW readable; ALTER TABLE traces RENAME TO hidden; CREATE VIEW traces AS SELECT * FROM hidden",
            "traces",
        ),
        (
            "DROP VIEW readable; DROP TABLE traces; CREATE TABLE traces (row INTEGER PRIMARY KEY, id, payload)",
            "traces",
        ),
        ("ALTER TABLE store ADD COLUMN evil TEXT DEFAULT 'x'", "store"),
        ("DROP TABLE store", "store"),
    ];
    for (sql, table) in cases {
        let scratch = prepared(sql)?;
        let before = std::fs::read(scratch.path())?;
        for error in [
            TraceStore::open(scratch.path()).map(drop).unwrap_err(),
            mnemon::inspect(scratch.path()).map(drop).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::NotAStore, "{sql}: {error}");
            assert!(error.to_string().contains(&format!("{table:?}")), "{sql}: {error}");
        }
        assert_eq!(std::fs::read(scratch.path())?, before, "and it is left as it was");
    }
    Ok(())
}

/// An index or a table of one's own is a person's right.
#[test]
fn what_a_person_has_added_for_himself_stays() -> Outcome {
    let scratch = prepared("CREATE INDEX by_type ON traces (type); CREATE TABLE mine (x)")?;
    let store = scratch.quiet()?;
    store.insert(note("new"))?;
    store.close()?;
    assert_eq!(rows(&scratch.reader()?)?, 4);
    Ok(())
}

#[test]
fn rows_that_no_store_would_write_are_set_aside_and_the_rest_is_loaded() -> Outcome {
    let tags = format!("'[{}\"x\"]'", "\"t\",".repeat(5_000));
    let long = format!("'{}'", "x".repeat(5_000));
    let cases = [
        ("tier", "'lukewarm'"),
        ("type", "'dream'"),
        ("strength", "1e308 * 10"),
        ("strength", "-0.1"),
        ("confidence", "2.0"),
        ("base_decay_rate", "9e999"),
        ("created_at", "9223372036854775807"),
        ("last_reinforced", "-9223372036854775808"),
        ("revision", "-1"),
        ("revision", "0"),
        ("reinforcement_count", "99999999999"),
        ("pinned", "7"),
        ("tags", "'not json'"),
        ("tags", "'{\"a\":1}'"),
        ("tags", "'[\"\"]'"),
        ("tags", "CAST(x'ff22' AS TEXT)"),
        ("tags", tags.as_str()),
        ("partition", "''"),
        ("partition", long.as_str()),
        ("partition", "CAST(x'c328' AS TEXT)"),
        ("payload", "CAST(x'22ff22' AS TEXT)"),
        ("embedding", "x'0000c07f'"),
        ("embedding", "x'000000'"),
        ("parent", "x'01'"),
        ("children", "zeroblob(17)"),
        ("children", "zeroblob(16 * 70000)"),
    ];
    for (column, value) in cases {
        let scratch = prepared(&format!("UPDATE traces SET {column} = {value} WHERE row = 1"))?;
        let store = scratch.quiet()?;
        let quarantined = store.stats().quarantined;
        assert_eq!((store.len(), store.link_count()), (2, 1), "{column} = {value:.40}");
        assert_eq!(quarantined.len(), 3, "{column} = {value:.40}: the trace and its links, {quarantined:?}");
        assert!(
            quarantined[0].reason.contains(column.trim_end_matches('s')),
            "{column}: {}",
            quarantined[0].reason
        );
        store.close()?;
        assert_eq!(rows(&scratch.reader()?)?, 3, "it stays where it is");
    }
    Ok(())
}

/// The text of a payload is not parsed as it is loaded: who asks for its value is told.
#[test]
fn a_payload_that_is_not_json_says_so_when_it_is_asked_for() -> Outcome {
    let deep = "[".repeat(100_000);
    for text in ["not json", "", "{\"a\":", "1e999999", deep.as_str()] {
        let scratch = prepared(&format!("UPDATE traces SET payload = '{text}' WHERE row = 1"))?;
        let store = scratch.quiet()?;
        let bad = store.iter().filter(|trace| trace.payload().as_value().is_err()).count();
        assert_eq!((store.len(), bad), (3, 1), "{text:.20}");
        store.close()?;
    }
    Ok(())
}

#[test]
fn links_that_no_store_would_write_are_set_aside() -> Outcome {
    let none = "UPDATE links SET count = 0";
    let negative = "UPDATE links SET count = -5, first_at = 1";
    let late = "UPDATE links SET last_at = 9223372036854775807";
    let nowhere = "UPDATE links SET b = x'ffffffffffffffffffffffffffffffff' WHERE (a, b) = (SELECT a, b FROM links LIMIT 1)";
    for (sql, bad) in [(none, 3), (negative, 3), (late, 3), (nowhere, 1)] {
        let scratch = prepared(sql)?;
        let store = scratch.quiet()?;
        assert_eq!(
            (store.len(), store.link_count(), store.stats().quarantined.len()),
            (3, 3 - bad, bad),
            "{sql}"
        );
    }
    Ok(())
}
