//! Files of schema 1, made by the code before schema 2, are read as they are and brought forward when they are opened.
#![cfg(feature = "sqlite")]

mod content;

use harness::{Outcome, TestDir, by_id, manual_flush};
use mnemon::{ErrorKind, Progress, Trace, TraceStore, inspect, verify};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// A copy of a file, with the WAL beside it if it has one.
fn copy(name: &str) -> Outcome<TestDir> {
    let (file, from) =
        (TestDir::new()?, Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/promises/schema_1"));
    fs::copy(from.join(name), file.path())?;
    let log = from.join(format!("{name}-wal"));
    if log.exists() {
        fs::copy(log, file.path().with_extension("db-wal"))?;
    }
    Ok(file)
}

const FILES: [&str; 2] = ["closed.sqlite", "logged.sqlite"];

fn expected() -> Outcome<Vec<Arc<Trace>>> {
    let traces = content::traces()?.into_iter().map(|new| new.into_trace().map(Arc::new));
    let mut traces = traces.collect::<mnemon::Result<Vec<_>>>()?;
    traces.sort_unstable_by_key(|trace| trace.id());
    Ok(traces)
}

fn check(store: &TraceStore, file: &str) -> Outcome {
    assert_eq!(by_id(store), expected()?, "{file}");
    assert_eq!(store.link_count(), content::links().len());
    for (a, b, count) in content::links() {
        assert_eq!(store.link(a, b).map(|link| link.count()), Some(count), "{file}");
    }
    let unreadable: Vec<_> = store.stats().quarantined.iter().map(|row| row.id).collect();
    let expected = if file == "closed.sqlite" { vec![Some(content::unreadable())] } else { Vec::new() };
    assert_eq!(unreadable, expected);
    Ok(())
}

fn version(file: &TestDir) -> Outcome<i64> {
    Ok(file.reader()?.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

#[test]
fn opening_brings_old_file_forward() -> Outcome {
    for name in FILES {
        let file = copy(name)?;
        let store = manual_flush().open(file.path())?;
        check(&store, name)?;
        let until = "2026-12-01T00:00:00Z".parse::<jiff::Timestamp>()?;
        store.update(content::id(1), |trace| trace.valid_until(until).superseded_by(content::id(2)))?;
        store.close()?;
        assert_eq!((version(&file)?, inspect(file.path())?.schema_version), (2, 2));
        let store = manual_flush().open(file.path())?;
        let changed = harness::held(&store, content::id(1))?;
        assert_eq!((changed.valid_until(), changed.superseded_by()), (Some(until), Some(content::id(2))));
        let others =
            |traces: Vec<Arc<Trace>>| traces.into_iter().filter(|trace| trace.id() != content::id(1));
        assert!(others(by_id(&store)).eq(others(expected()?)));
        // A file that was brought forward has the tables of one that was made so.
        let findings = verify(file.path(), Progress::ignore)?.findings;
        let parts: Vec<_> = findings.iter().map(|finding| finding.part).collect();
        assert_eq!(parts, if name == "closed.sqlite" { vec!["traces"] } else { Vec::new() }, "{findings:?}");
        store.close()?;
    }
    Ok(())
}

#[test]
fn reading_leaves_old_file_unchanged() -> Outcome {
    for name in FILES {
        let file = copy(name)?;
        let log = file.path().with_extension("db-wal");
        let before = (fs::read(file.path())?, fs::read(&log).unwrap_or_default());
        let report = inspect(file.path())?;
        let rows = expected()?.len() as u64 + u64::from(name == "closed.sqlite");
        assert_eq!((report.schema_version, report.traces, report.links), (1, rows, 3));
        let report = verify(file.path(), Progress::ignore)?;
        assert_eq!((report.schema_version, report.traces, report.links), (1, expected()?.len() as u64, 3));
        assert_eq!(report.findings.len(), usize::from(name == "closed.sqlite"), "{:?}", report.findings);
        check(&TraceStore::builder().detached(file.path())?, name)?;
        let to = file.folder().join("copy.db");
        assert_eq!(mnemon::backup(file.path(), &to, Progress::ignore)?.schema_version, 1);
        check(&TraceStore::open(&to)?, name)?;
        assert!((fs::read(file.path())?, fs::read(&log).unwrap_or_default()) == before, "{name}");
    }
    Ok(())
}

/// SQLite itself would look at each row to add a column, and fail at this one.
#[test]
fn row_of_wrong_type_stays_quarantined() -> Outcome {
    let file = copy("closed.sqlite")?;
    let reader = file.reader()?;
    let sql: String =
        reader.query_row("SELECT sql FROM sqlite_schema WHERE name = 'traces'", [], |row| row.get(0))?;
    let loose = |sql: &str| -> Outcome {
        reader.execute_batch("PRAGMA writable_schema = ON")?;
        reader.execute("UPDATE sqlite_schema SET sql = ?1 WHERE name = 'traces'", [sql])?;
        Ok(reader.execute_batch("PRAGMA writable_schema = RESET")?)
    };
    loose(&sql.replace(" STRICT", "").replace(" REAL", ""))?;
    reader
        .execute("UPDATE traces SET strength = 'strong' WHERE id = ?1", [content::unreadable().as_bytes()])?;
    loose(&sql)?;
    drop(reader);
    let store = manual_flush().open(file.path())?;
    check(&store, "closed.sqlite")?;
    store.close()?;
    assert_eq!(version(&file)?, 2);
    Ok(())
}

#[test]
fn altered_table_in_old_file_refused() -> Outcome {
    let file = copy("closed.sqlite")?;
    file.reader()?.execute_batch("ALTER TABLE traces ADD COLUMN valid_until TEXT")?;
    let before = fs::read(file.path())?;
    let error = TraceStore::open(file.path()).err().ok_or("opened")?;
    assert_eq!(error.kind(), ErrorKind::NotAStore, "{error}");
    assert_eq!(verify(file.path(), Progress::ignore)?.findings[0].part, "schema");
    assert!(fs::read(file.path())? == before);
    Ok(())
}

#[test]
fn schema_to_come_is_refused() -> Outcome {
    let file = copy("closed.sqlite")?;
    file.reader()?.execute_batch("PRAGMA user_version = 3")?;
    let error = TraceStore::open(file.path()).err().ok_or("opened")?;
    assert_eq!(error.kind(), ErrorKind::NewerSchema);
    assert!(
        error.to_string().contains("schema version 3, and this version of mnemon knows up to 2"),
        "{error}"
    );
    Ok(())
}
