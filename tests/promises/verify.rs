//! `verify` finds what is wrong with a store's file, names where and why, and touches nothing.
#![cfg(feature = "sqlite")]

use super::flushed;
use harness::{Outcome, TestDir, flush_always, note};
use mnemon::{ErrorKind, Finding, NewTrace, Progress, TraceId, TraceStore, VerifyReport};
use rusqlite::Connection;
use std::fs;
use std::path::Path;

/// The file of a closed store with 200 traces, each linked to the next, and their ids in the order of their rows.
fn filled() -> Outcome<(TestDir, Vec<TraceId>)> {
    let (file, store, _) = flushed(200)?;
    let ids = file
        .reader()?
        .prepare("SELECT id FROM traces ORDER BY row")?
        .query_map([], |row| row.get(0).map(TraceId::from_bytes))?
        .collect::<Result<Vec<_>, _>>()?;
    for pair in ids.windows(2) {
        store.co_activate(pair[0], pair[1])?;
    }
    store.close()?;
    Ok((file, ids))
}

/// With no rule that SQLite would hold.
fn tamper(path: &Path, sql: &str) -> Outcome {
    let connection = Connection::open(path)?;
    connection.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA writable_schema = ON;")?;
    Ok(connection.execute_batch(sql)?)
}

/// Without a word of its progress.
fn verify(path: &Path) -> mnemon::Result<VerifyReport> {
    mnemon::verify(path, Progress::ignore)
}

/// The one finding.
fn only(report: &VerifyReport) -> Outcome<&Finding> {
    match (&report.findings[..], report.unlisted) {
        ([finding], 0) => Ok(finding),
        _ => Err(format!("not one finding: {:#?}", report.findings).into()),
    }
}

#[test]
fn sound_file_is_said_sound_untouched() -> Outcome {
    let (file, _) = filled()?;
    let before = fs::read(file.path())?;
    let report = verify(file.path())?;
    assert!(report.is_sound(), "{report:?}");
    assert_eq!((report.traces, report.links, report.in_use_by), (200, 199, None));
    assert_eq!(report.watermark, mnemon::inspect(file.path())?.watermark);
    assert_eq!(report.schema_version, mnemon::inspect(file.path())?.schema_version);
    assert!(fs::read(file.path())? == before, "it was written to");
    Ok(())
}

#[test]
fn concurrent_writes_are_no_damage() -> Outcome {
    let file = TestDir::new()?;
    let store = flush_always().open(file.path())?;
    let hub = store.insert(note("hub"))?;
    store.flush()?;
    std::thread::scope(|scope| -> Outcome {
        let writer = scope.spawn(|| -> mnemon::Result<()> {
            for n in 0..2_000 {
                let id = store.insert(note(n))?;
                store.co_activate(hub, id)?;
                if n % 3 == 0 {
                    store.remove(id)?;
                }
            }
            Ok(())
        });
        while !writer.is_finished() {
            let report = verify(file.path())?;
            assert!(report.is_sound(), "{:#?}", report.findings);
            assert_eq!(report.in_use_by, Some(std::process::id()));
            // Each trace but the first is linked to it, and the last one may not be yet.
            assert!(matches!(report.traces - report.links, 1 | 2), "not one moment: {report:?}");
        }
        Ok(writer.join().map_err(|_| "the writer panicked")??)
    })?;
    store.close()?;
    Ok(())
}

#[test]
fn any_overwritten_page_is_found() -> Outcome {
    const PAGE: usize = 4_096;
    let (file, _) = filled()?;
    let sound = fs::read(file.path())?;
    assert!(sound.len() / PAGE > 10, "several pages of each kind");
    for page in 0..sound.len() / PAGE {
        let mut damaged = sound.clone();
        damaged[page * PAGE..][..PAGE].fill(0xff);
        fs::write(file.path(), damaged)?;
        match verify(file.path()) {
            Ok(report) => assert!(!report.is_sound(), "page {page}"),
            Err(error) => {
                assert_eq!((page, error.kind()), (0, ErrorKind::NotAStore), "{error}");
            }
        }
    }
    let mut short = sound.clone();
    short.truncate(sound.len() / 2);
    fs::write(file.path(), short)?;
    assert!(!verify(file.path())?.is_sound());
    fs::write(file.path(), sound)?;
    assert!(verify(file.path())?.is_sound());
    Ok(())
}

#[test]
fn flipped_byte_is_found() -> Outcome {
    let (file, _) = filled()?;
    let connection = Connection::open(file.path())?;
    // A leaf of the table: its first byte says what kind of page it is.
    let leaf: u32 = connection.query_row(
        "SELECT pageno FROM dbstat WHERE name = 'traces' AND pagetype = 'leaf' ORDER BY pageno DESC LIMIT 1",
        [],
        |row| row.get(0),
    )?;
    drop(connection);
    let mut bytes = fs::read(file.path())?;
    bytes[(leaf as usize - 1) * 4_096] ^= 0x01;
    fs::write(file.path(), bytes)?;
    let report = verify(file.path())?;
    let parts: Vec<_> = report.findings.iter().map(|finding| finding.part).collect();
    assert!(parts.contains(&"file") && parts.contains(&"traces"), "{:#?}", report.findings);
    assert!((1..200).contains(&report.traces), "{}", report.traces);
    let stopped = report.findings.iter().find(|finding| finding.part == "traces");
    let expected = format!("nothing after row {} can be read: ", report.traces);
    assert!(stopped.is_some_and(|finding| finding.reason.starts_with(&expected)), "{:#?}", report.findings);
    Ok(())
}

#[test]
fn bad_payload_is_found_with_row() -> Outcome {
    let (file, ids) = filled()?;
    tamper(file.path(), "UPDATE traces SET payload = '{\"note\": 7' WHERE row = 8")?;
    let report = verify(file.path())?;
    let finding = only(&report)?;
    assert_eq!((finding.part, finding.row, finding.id), ("traces", Some(8), Some(ids[7])));
    assert!(finding.reason.contains("payload can't be used"), "{finding}");
    assert_eq!((report.traces, report.links), (199, 199));
    assert!(finding.to_string().starts_with(&format!("traces, row 8, {}: payload", ids[7])), "{finding}");
    Ok(())
}

#[test]
fn link_to_absent_trace_is_found() -> Outcome {
    let (file, ids) = filled()?;
    tamper(file.path(), "DELETE FROM traces WHERE row = 200")?;
    let report = verify(file.path())?;
    let finding = only(&report)?;
    assert_eq!((finding.part, finding.id), ("links", Some(ids[198].min(ids[199]))));
    assert!(finding.reason.ends_with(&format!("there is no trace {}", ids[199])), "{finding}");
    assert_eq!((report.traces, report.links), (199, 198));
    Ok(())
}

#[test]
fn value_out_of_range_is_found() -> Outcome {
    let cases = [
        ("UPDATE traces SET strength = 1.5 WHERE row = 3", "strength is 1.5"),
        ("UPDATE traces SET type = 'dream' WHERE row = 3", "type is \"dream\""),
        ("UPDATE traces SET pinned = 2 WHERE row = 3", "column pinned: 2 is neither 0 nor 1"),
        ("UPDATE traces SET embedding = x'0000' WHERE row = 3", "column embedding: not a whole number"),
        ("UPDATE traces SET tags = '[1]' WHERE row = 3", "tags is \"[1]\": give a JSON array"),
        ("UPDATE traces SET created_at = 9223372036854775807 WHERE row = 3", "column created_at: "),
    ];
    for (sql, expected) in cases {
        let (file, _) = filled()?;
        tamper(file.path(), sql)?;
        let report = verify(file.path())?;
        let finding = only(&report)?;
        assert_eq!((finding.part, finding.row), ("traces", Some(3)), "{sql}");
        assert!(finding.reason.contains(expected), "{sql}: {finding}");
    }
    Ok(())
}

#[test]
fn value_of_wrong_type_is_found() -> Outcome {
    let (file, ids) = filled()?;
    let declared = "UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')') WHERE name = 'traces'";
    tamper(file.path(), declared)?;
    tamper(file.path(), "UPDATE traces SET revision = 'many' WHERE row = 5")?;
    let strict = "UPDATE sqlite_schema SET sql = sql || ' STRICT' WHERE name = 'traces'";
    tamper(file.path(), strict)?;
    let report = verify(file.path())?;
    let of_the_row = report.findings.iter().find(|finding| finding.row == Some(5));
    let finding = of_the_row.ok_or_else(|| format!("{:#?}", report.findings))?;
    assert_eq!((finding.part, finding.id), ("traces", Some(ids[4])));
    assert!(finding.reason.starts_with("column revision: "), "{finding}");
    assert_eq!(report.traces, 199);
    Ok(())
}

#[test]
fn violated_checks_are_found_unrun() -> Outcome {
    let (file, ids) = filled()?;
    tamper(file.path(), "UPDATE traces SET id = x'00' WHERE row = 1")?;
    let (low, high) = (ids[99].min(ids[100]), ids[99].max(ids[100]));
    let connection = Connection::open(file.path())?;
    connection.execute_batch("PRAGMA ignore_check_constraints = ON")?;
    let swapped = "UPDATE links SET a = ?2, b = ?1 WHERE a = ?1 AND b = ?2";
    assert_eq!(connection.execute(swapped, [low.as_bytes(), high.as_bytes()])?, 1);
    drop(connection);
    let report = verify(file.path())?;
    let find = |what: &str| report.findings.iter().find(|finding| finding.to_string().contains(what));
    let short = find("an id has 1 bytes, not 16").ok_or_else(|| format!("{:#?}", report.findings))?;
    assert_eq!((short.part, short.row), ("traces", Some(1)));
    let order =
        find("the smaller id does not stand first").ok_or_else(|| format!("{:#?}", report.findings))?;
    assert_eq!((order.part, order.id), ("links", Some(high)));
    let dangling = find(&format!("there is no trace {}", ids[0]));
    assert_eq!(dangling.map(|finding| finding.part), Some("links"));
    Ok(())
}

#[test]
fn missing_or_altered_table_is_found() -> Outcome {
    for table in ["traces", "links", "store"] {
        let (file, _) = filled()?;
        tamper(file.path(), &format!("DROP TABLE {table}"))?;
        let report = verify(file.path())?;
        let schema = report.findings.iter().find(|finding| finding.part == "schema");
        let named = schema.is_some_and(|finding| finding.reason.contains(&format!("the table {table:?}")));
        assert!(named, "{:#?}", report.findings);
    }
    Ok(())
}

#[test]
fn altered_table_is_named_not_read() -> Outcome {
    let (file, _) = filled()?;
    tamper(file.path(), "ALTER TABLE links ADD COLUMN note TEXT")?;
    let report = verify(file.path())?;
    assert_eq!(only(&report)?.part, "schema");
    assert_eq!((report.traces, report.links), (200, 0));

    // Its rows would be what its declaration computes.
    let (file, _) = filled()?;
    let generated = "CREATE TABLE made (n INTEGER, payload TEXT AS ('\"made up\"'));
        INSERT INTO made (n) VALUES (1);
        DROP TABLE traces;
        ALTER TABLE made RENAME TO traces";
    tamper(file.path(), generated)?;
    let report = verify(file.path())?;
    assert_eq!(only(&report)?.part, "schema");
    assert_eq!((report.traces, report.links), (0, 0));
    Ok(())
}

#[test]
fn store_row_is_verified() -> Outcome {
    let cases = [
        ("DELETE FROM store", "its row is not there"),
        ("UPDATE store SET watermark = -3", "it says that the file is at cut -3"),
        (
            "UPDATE store SET watermark = 9223372036854775807",
            "it says that the file is at cut 9223372036854775807",
        ),
        ("UPDATE store SET boot = x'07'", "its boot is Blob of 1 bytes, not an id"),
        ("UPDATE store SET clean = 7", "its mark of a clean end is 7, not 0 or 1"),
        ("INSERT INTO store VALUES (2, 9, NULL, 1)", "it has more than one row"),
    ];
    for (sql, expected) in cases {
        let (file, _) = filled()?;
        tamper(file.path(), sql)?;
        let report = verify(file.path())?;
        let finding = only(&report)?;
        assert_eq!(finding.part, "store", "{sql}");
        assert!(finding.reason.starts_with(expected), "{sql}: {finding}");
    }
    // No host has had it open.
    let (file, _) = filled()?;
    tamper(file.path(), "UPDATE store SET boot = NULL")?;
    assert!(verify(file.path())?.is_sound());
    Ok(())
}

/// A damaged page ends no verification: what of the file can be read is verified. The first page is the database's own.
#[test]
fn damaged_page_is_found_wherever_it_is() -> Outcome {
    const PAGE: usize = 4_096;
    let (file, _) = filled()?;
    let sound = fs::read(file.path())?;
    assert!(sound.len() > 10 * PAGE, "{} bytes", sound.len());
    for at in 1..sound.len() / PAGE {
        let mut damaged = sound.clone();
        damaged[at * PAGE..][..PAGE].fill(0x6d);
        fs::write(file.path(), &damaged)?;
        let report = verify(file.path())?;
        assert!(!report.is_sound(), "page {at}");
    }
    // The schema is in the first page, behind the database's header.
    let mut damaged = sound;
    damaged[100..PAGE].fill(0x6d);
    fs::write(file.path(), &damaged)?;
    let refused = verify(file.path()).map(|report| report.is_sound());
    assert!(matches!(&refused, Ok(false)) || refused.is_err_and(|error| error.kind() == ErrorKind::Corrupt));
    Ok(())
}

#[test]
fn index_not_fitting_table_is_found() -> Outcome {
    let (file, _) = filled()?;
    // The index is taken for another one of the same shape, which is empty.
    tamper(
        file.path(),
        "CREATE TABLE other (id BLOB UNIQUE);
         UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_other_1')
         WHERE name = 'sqlite_autoindex_traces_1'",
    )?;
    let report = verify(file.path())?;
    let missing = report.findings.iter().filter(|finding| finding.part == "file");
    assert!(missing.count() >= 1, "{:#?}", report.findings);
    assert!(report.findings.iter().any(|finding| finding.reason.contains("missing from index")));
    Ok(())
}

#[test]
fn page_of_two_tables_is_found() -> Outcome {
    let (file, _) = filled()?;
    tamper(
        file.path(),
        "UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'links')
         WHERE name = 'sqlite_autoindex_traces_1'",
    )?;
    let report = verify(file.path())?;
    let is_it = |finding: &Finding| finding.part == "file" && finding.reason.contains("2nd reference");
    assert!(report.findings.iter().any(is_it), "{:#?}", report.findings);
    Ok(())
}

#[test]
fn wrong_number_of_free_pages_is_found() -> Outcome {
    let (file, ids) = filled()?;
    let store = TraceStore::open(file.path())?;
    store.remove_many(ids)?;
    store.close()?;
    let mut bytes = fs::read(file.path())?;
    // <https://www.sqlite.org/fileformat2.html#the_database_header>
    let free = u32::from_be_bytes(bytes[36..40].try_into()?);
    assert!(free > 0);
    bytes[36..40].copy_from_slice(&(free + 1).to_be_bytes());
    fs::write(file.path(), bytes)?;
    let report = verify(file.path())?;
    let found = only(&report)?;
    assert!(found.part == "file" && found.reason.to_lowercase().contains("freelist"), "{found:?}");
    Ok(())
}

#[test]
fn foreign_tables_are_not_judged() -> Outcome {
    let (file, _) = filled()?;
    tamper(
        file.path(),
        "CREATE TABLE mine (n CHECK (n < 5));
         INSERT INTO mine VALUES (7);
         CREATE TABLE empty (n);
         INSERT INTO empty VALUES (NULL);
         UPDATE sqlite_schema SET sql = 'CREATE TABLE empty (n NOT NULL)' WHERE name = 'empty';
         CREATE VIEW broken AS SELECT * FROM nowhere;
         CREATE TRIGGER loud AFTER UPDATE ON traces BEGIN SELECT raise(ABORT, 'it ran'); END",
    )?;
    let report = verify(file.path())?;
    assert!(report.is_sound(), "{:#?}", report.findings);
    Ok(())
}

#[test]
fn files_left_beside_are_named() -> Outcome {
    let (file, _) = filled()?;
    let beside = |suffix: &str| format!("{}{suffix}", file.path().display());
    for suffix in [".spill", ".damaged-17", ".damaged-17-wal", ".orphaned-18-wal", ".orphaned-18-shm"] {
        fs::write(beside(suffix), "left")?;
    }
    for suffix in [".lock", ".note", ".damaged", "-other.damaged-3"] {
        fs::write(beside(suffix), "not ours to name")?;
    }
    let report = verify(file.path())?;
    let left: Vec<_> = report.findings.iter().map(|finding| (finding.part, &*finding.reason)).collect();
    let starts = [".spill", ".damaged-17", ".orphaned-18"].map(|suffix| format!("{} ", beside(suffix)));
    assert_eq!(left.len(), 3, "{left:?}");
    for start in starts {
        assert!(
            left.iter().any(|(part, reason)| *part == "beside" && reason.starts_with(&start)),
            "{left:?}"
        );
    }
    Ok(())
}

#[test]
fn findings_beyond_a_thousand_are_counted() -> Outcome {
    let (file, store, _) = flushed(1_200)?;
    store.close()?;
    tamper(file.path(), "UPDATE traces SET confidence = 2")?;
    let report = verify(file.path())?;
    assert_eq!((report.findings.len(), report.unlisted, report.traces), (1_000, 200, 0));
    assert!(!report.is_sound());
    Ok(())
}

#[test]
fn verifying_no_store_is_an_error() -> Outcome {
    let file = TestDir::new()?;
    let kind = |path: &Path| verify(path).err().map(|error| error.kind());
    assert_eq!(kind(file.path()), Some(ErrorKind::Unreachable));
    assert_eq!(kind(file.folder()), Some(ErrorKind::Unreachable));
    fs::write(file.path(), "")?;
    assert_eq!(kind(file.path()), Some(ErrorKind::NotAStore));
    fs::write(file.path(), "this is a letter, and a long one, as letters were when there was time for them")?;
    assert_eq!(kind(file.path()), Some(ErrorKind::NotAStore));
    fs::remove_file(file.path())?;
    tamper(file.path(), "CREATE TABLE theirs (n)")?;
    assert_eq!(kind(file.path()), Some(ErrorKind::NotAStore));

    let store = TraceStore::open(file.folder().join("newer.db"))?;
    store.insert(NewTrace::semantic(serde_json::json!(1)))?;
    store.close()?;
    tamper(&file.folder().join("newer.db"), "PRAGMA user_version = 99")?;
    assert_eq!(kind(&file.folder().join("newer.db")), Some(ErrorKind::NewerSchema));
    Ok(())
}
