//! A file that an enemy has prepared: what stands in it is data. Nothing of it runs, and what is not as this crate
//! makes it is refused or quarantined.
#![cfg(feature = "sqlite")]

use harness::process::own_process;
use harness::{Outcome, TestDir, manual_flush, note, rows};
use mnemon::{ErrorKind, TraceStore};
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// A closed store with three traces, each linked to the others, in which this is done.
pub(super) fn prepared(sql: &str) -> Outcome<TestDir> {
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    let ids = store.insert_many((0..3).map(note))?;
    for (a, b) in [(0, 1), (1, 2), (2, 0)] {
        store.co_activate(ids[a], ids[b])?;
    }
    store.close()?;
    let enemy = Connection::open(scratch.path())?;
    enemy.execute_batch("PRAGMA synchronous = OFF")?;
    enemy.execute_batch(sql)?;
    enemy.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(scratch)
}

#[test]
fn trigger_in_file_never_runs() -> Outcome {
    let scratch = prepared(
        "CREATE TABLE harm (what);
         CREATE TRIGGER one AFTER UPDATE ON traces BEGIN INSERT INTO harm VALUES ('update'); END;
         CREATE TRIGGER two AFTER INSERT ON traces BEGIN DELETE FROM traces WHERE row < NEW.row; END;
         CREATE TRIGGER three BEFORE DELETE ON traces BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER four AFTER INSERT ON links BEGIN SELECT RAISE(ABORT, 'no'); END;
         CREATE TRIGGER five AFTER UPDATE ON store BEGIN UPDATE store SET watermark = 0; END;",
    )?;
    let store = manual_flush().open(scratch.path())?;
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
    assert_eq!(manual_flush().open(scratch.path())?.len(), 3);
    Ok(())
}

#[test]
fn altered_table_is_refused_by_name() -> Outcome {
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
fn additions_by_people_stay() -> Outcome {
    let scratch = prepared("CREATE INDEX by_type ON traces (type); CREATE TABLE mine (x)")?;
    let store = manual_flush().open(scratch.path())?;
    store.insert(note("new"))?;
    store.close()?;
    assert_eq!(rows(&scratch.reader()?)?, 4);
    Ok(())
}

#[test]
fn impossible_rows_are_quarantined() -> Outcome {
    let tags = format!("'[{}\"x\"]'", "\"t\",".repeat(5_000));
    let long = format!("'{}'", "x".repeat(5_000));
    let cases = [
        ("tier", "'lukewarm'"),
        ("tier", "CAST(x'ff' AS TEXT)"),
        ("type", "'dream'"),
        ("type", "CAST(x'c328' AS TEXT)"),
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
        let report =
            mnemon::inspect(scratch.path()).map_err(|error| format!("{column} = {value:.40}: {error:?}"))?;
        assert_eq!((report.traces, report.by_partition.values().sum::<u64>()), (3, 3), "it is counted");
        let store = manual_flush().open(scratch.path())?;
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
fn bad_payload_says_so_when_read() -> Outcome {
    let deep = "[".repeat(100_000);
    for text in ["not json", "", "{\"a\":", "1e999999", deep.as_str()] {
        let scratch = prepared(&format!("UPDATE traces SET payload = '{text}' WHERE row = 1"))?;
        let store = manual_flush().open(scratch.path())?;
        let bad = store.iter().filter(|trace| trace.payload().as_value().is_err()).count();
        assert_eq!((store.len(), bad), (3, 1), "{text:.20}");
        store.close()?;
    }
    Ok(())
}

#[test]
fn impossible_links_are_quarantined() -> Outcome {
    let none = "UPDATE links SET count = 0";
    let negative = "UPDATE links SET count = -5, first_at = 1";
    let late = "UPDATE links SET last_at = 9223372036854775807";
    let nowhere = "UPDATE links SET b = x'ffffffffffffffffffffffffffffffff' WHERE (a, b) = (SELECT a, b FROM links LIMIT 1)";
    for (sql, bad) in [(none, 3), (negative, 3), (late, 3), (nowhere, 1)] {
        let scratch = prepared(sql)?;
        let store = manual_flush().open(scratch.path())?;
        assert_eq!(
            (store.len(), store.link_count(), store.stats().quarantined.len()),
            (3, 3 - bad, bad),
            "{sql}"
        );
    }
    Ok(())
}

fn replace_in_schema(enemy: &Connection, from: &str, to: &str) -> rusqlite::Result<usize> {
    let sql = "UPDATE sqlite_schema SET sql = replace(sql, ?1, ?2) WHERE type = 'table'";
    enemy.execute_batch("PRAGMA writable_schema = ON; PRAGMA synchronous = OFF")?;
    enemy.execute(sql, [from, to])
}

/// A file whose schema checks nothing.
fn unchecked() -> Outcome<TestDir> {
    let scratch = prepared("")?;
    let enemy = Connection::open(scratch.path())?;
    for (from, to) in [(" STRICT", ""), (" NOT NULL", "/*NN*/"), ("CHECK (", "/*C*/ CHECK (1 OR ")] {
        replace_in_schema(&enemy, from, to)?;
    }
    enemy.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(scratch)
}

/// A copy of an [unchecked] file, in which an enemy has written what he likes, and then put the schema back.
fn checked_again(unchecked: &TestDir, sql: &str) -> Outcome<TestDir> {
    let scratch = TestDir::new()?;
    std::fs::copy(unchecked.path(), scratch.path())?;
    let enemy = Connection::open(scratch.path())?;
    enemy.execute_batch("PRAGMA synchronous = OFF")?;
    enemy.execute_batch(sql).map_err(|error| format!("{sql:.80}: {error}"))?;
    replace_in_schema(&enemy, "/*C*/ CHECK (1 OR ", "CHECK (")?;
    replace_in_schema(&enemy, "/*NN*/", " NOT NULL")?;
    // Without rowid, and strict: the words that were at the very end.
    enemy.execute_batch(
        "UPDATE sqlite_schema SET sql = sql || ' STRICT' WHERE name IN ('traces', 'store');
         UPDATE sqlite_schema SET sql = replace(sql, '),WITHOUT', ') STRICT, WITHOUT') WHERE name = 'links';
         UPDATE sqlite_schema SET sql = replace(sql, '), WITHOUT', ') STRICT, WITHOUT') WHERE name = 'links';
         PRAGMA wal_checkpoint(TRUNCATE);",
    )?;
    Ok(scratch)
}

/// For a close that has nothing in its way, on a machine that has much to do.
const LONG: Duration = Duration::from_secs(60);

/// Opens, writes, flushes, closes and opens again: whatever is in the file, it is an error or a store, never a panic.
pub(super) fn used(scratch: &TestDir, patience: Duration) -> Outcome<Result<usize, mnemon::Error>> {
    let tried = catch_unwind(AssertUnwindSafe(|| -> mnemon::Result<usize> {
        let builder = harness::manual_flush().close_timeout(patience);
        let store = builder.clone().open(scratch.path())?;
        let _ = mnemon::inspect(scratch.path());
        let loaded = store.len();
        let new = store.insert(note("new"))?;
        if let Some(old) = store.iter().find(|trace| trace.id() != new) {
            store.update(old.id(), |trace| trace.confidence(0.75))?;
            store.co_activate(old.id(), new)?;
        }
        store.flush()?;
        store.close().map_err(|failed| failed.error)?;
        let store = builder.open(scratch.path())?;
        assert!(store.contains(new), "what was flushed is there");
        assert_eq!(store.len(), loaded + 1);
        Ok(loaded)
    }));
    Ok(tried.map_err(|panic| {
        panic
            .downcast_ref::<String>()
            .cloned()
            .unwrap_or_else(|| format!("{:?}", panic.downcast_ref::<&str>()))
    })?)
}

#[test]
fn any_cell_is_read_or_quarantined() -> Outcome {
    let columns = [
        "id",
        "strength",
        "peak_strength",
        "base_decay_rate",
        "emotional_valence",
        "emotional_intensity",
        "confidence",
        "last_reinforced",
        "last_decayed",
        "revision",
        "reinforcement_count",
        "tier",
        "unresolved",
        "consolidation_candidate",
        "pinned",
        "type",
        "origin",
        "created_at",
        "partition",
        "source_agent",
        "encryption_key_id",
        "parent",
        "children",
        "tags",
        "embedding",
        "payload",
        "valid_until",
        "superseded_by",
    ];
    let values =
        ["NULL", "-1", "9223372036854775807", "0.5", "-1e308", "'text'", "x'ff00'", "zeroblob(100000)"];
    let file = unchecked()?;
    let (mut tried, mut quarantined) = (0, 0);
    for (column, value) in columns.iter().flat_map(|column| values.map(|value| (column, value))) {
        let scratch = checked_again(&file, &format!("UPDATE traces SET {column} = {value} WHERE row = 1"))?;
        let loaded = used(&scratch, LONG)?.map_err(|error| format!("{column} = {value}: {error:?}"))?;
        assert!(loaded == 2 || loaded == 3, "{column} = {value}: {loaded}");
        tried += 1;
        quarantined += 3 - loaded;
    }
    println!("bad inputs: {tried} tried as cells, {quarantined} quarantined, panics 0");
    assert!(quarantined > 100, "{quarantined}");
    Ok(())
}

#[test]
fn row_numbers_at_limits_are_harmless() -> Outcome {
    let ends = ["0", "-1", "-9223372036854775808", "9223372036854775807", "4611686018427387905"];
    for number in ends {
        let scratch = prepared(&format!("UPDATE traces SET row = {number} WHERE row = 3"))?;
        let store = manual_flush().open(scratch.path())?;
        assert_eq!((store.len(), store.link_count(), store.stats().quarantined.len()), (2, 1, 3), "{number}");
        drop(store);
        assert_eq!(used(&scratch, LONG)??, 2, "{number}");
        assert_eq!(rows(&scratch.reader()?)?, 4, "{number}: it stays, and the new one is there");
    }
    let scratch = prepared("UPDATE traces SET row = 4611686018427380000 WHERE row = 3")?;
    assert_eq!(used(&scratch, LONG)??, 3, "there is room after it");
    Ok(())
}

#[test]
fn unreachable_watermark_is_refused() -> Outcome {
    for number in ["9223372036854775807", "4611686018427387905"] {
        let scratch = prepared(&format!("UPDATE store SET watermark = {number}"))?;
        let error = TraceStore::open(scratch.path()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(number), "{error}");
    }
    for sql in
        ["UPDATE store SET watermark = -5", "UPDATE store SET boot = x'00', clean = -7", "DELETE FROM store"]
    {
        assert_eq!(used(&prepared(sql)?, LONG)??, 3, "{sql}");
    }
    Ok(())
}

/// Runs itself as another process, so that what the process holds at most is that of the opening alone.
#[test]
#[cfg(target_os = "linux")]
fn huge_values_stay_out_of_memory() -> Outcome {
    const PATH: &str = "MNEMON_TEST_HUGE";
    let Some(mut command) = own_process(|| {
        let store = TraceStore::open(std::env::var_os(PATH).ok_or("the parent names a file")?)?;
        let reasons: Vec<_> = store.stats().quarantined.into_iter().map(|row| row.reason).collect();
        let status = std::fs::read_to_string("/proc/self/status")?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("Linux says so")?;
        println!("\nopened {} {} {}", store.len(), reasons.len(), peak.trim());
        assert!(reasons.iter().all(|reason| reason.len() < 1_000), "no reason repeats what it is about");
        Ok(())
    })?
    else {
        return Ok(());
    };
    let huge = "CAST(zeroblob(100000000) AS TEXT)";
    let flood = "replace(hex(zeroblob(4000000)), '0', '\"\",')";
    let cases = [
        format!("payload = {huge}"),
        format!("type = {huge}"),
        format!("partition = {huge}"),
        format!("tags = {huge}"),
        format!("tags = '[' || {flood} || '\"\"]'"),
        "embedding = zeroblob(100000000)".to_owned(),
        "children = zeroblob(60000000)".to_owned(),
        "type = CAST(zeroblob(30000000) AS TEXT)".to_owned(),
    ];
    for case in cases {
        let scratch = prepared(&format!("UPDATE traces SET {case} WHERE row = 2"))?;
        let output = command.env(PATH, scratch.path()).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let said = said
            .lines()
            .find_map(|line| line.strip_prefix("opened "))
            .ok_or_else(|| format!("{case}: {output:?}"))?;
        let words: Vec<_> = said.split_whitespace().collect();
        assert_eq!(words[..2], ["2", "3"], "{case}: the row is quarantined with its links");
        let peak: u64 = words[2].parse()?;
        println!("{case:.60}: at most {} MB", peak / 1_000);
        assert!(peak < 100_000, "{case}: {peak} kB");
    }
    Ok(())
}
