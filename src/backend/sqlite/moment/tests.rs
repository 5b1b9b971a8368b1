//! Parts, and reading them on several threads.

use super::{Moment, parts_of};
use crate::backend::sqlite::{Claim, Sqlite};
use crate::backend::{Backend, Batch, RowNumber, Stored, TraceChange};
use crate::error::ErrorKind;
use crate::progress::{Progress, Watch};
use crate::trace::{Defaults, Micros, NewTrace};
use crate::{Durability, TraceStore};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// The highest row and what can't be read, or why nothing can.
type Found = Result<(RowNumber, Vec<(RowNumber, String)>), String>;

#[test]
fn parts_cover_each_number_once() {
    let ends = [(0, 0), (1, 1), (1, 1_000_000), (-5, 40), (7, i64::MAX), (i64::MIN, i64::MAX), (1, 17)];
    for (lowest, highest) in ends {
        let parts = parts_of(lowest, highest);
        let (first, last) = (parts.first().map(|part| *part.start()), parts.last().map(|part| *part.end()));
        assert_eq!((first, last), (Some(RowNumber::MIN), Some(RowNumber::MAX)));
        let joined = |pair: &[super::Part]| pair[0].end() + 1 == *pair[1].start() && !pair[0].is_empty();
        assert!(parts.windows(2).all(joined), "{parts:?}");
    }
    assert_eq!(parts_of(1, 1_000_000).len(), 64);
}

/// A file of 400 traces, which is closed: many parts of few rows.
fn file() -> Outcome<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().canonicalize()?.join("memory.db");
    let mut sqlite = Sqlite::open(&path, 1 << 20, None, Claim::default())?;
    let now = Micros::from(jiff::Timestamp::now());
    let defaults = Defaults { partition: &"default".into(), now, imprinting: false };
    let rows = (1..=400).map(|row| {
        let payload = format!("{row} {}", "x".repeat(900));
        let trace = NewTrace::semantic(serde_json::Value::from(payload)).with_defaults(&defaults)?;
        Ok(TraceChange::Upsert { row, trace: Arc::new(trace) })
    });
    let rows = rows.collect::<Outcome<Vec<_>>>()?;
    sqlite.apply(&Batch::new(1, Durability::Durable).traces(&rows))?;
    sqlite.close(1)?;
    Ok((folder, path))
}

fn change(path: &Path, sql: &str) -> Outcome {
    Ok(rusqlite::Connection::open(path)?.execute_batch(sql)?)
}

fn unreadable(moment: &mut Moment<'_>) -> Outcome<Found> {
    let read = moment.traces(None, &|stored| match stored {
        Stored::Trace { row, trace: Err(wrong) } => Some((row, wrong.reason)),
        Stored::Trace { .. } | Stored::Link(_) => None,
    });
    Ok(match read {
        Ok((loaded, unreadable)) => Ok((loaded.last_row, unreadable)),
        Err(error) => Err(format!("{error:?}")),
    })
}

/// Whatever the threads do.
fn reads_as_in_order(path: &Path) -> Outcome<Found> {
    let mut sqlite = Sqlite::open(path, 1 << 20, None, Claim::default())?;
    let mut moment = sqlite.moment()?;
    moment.in_order();
    assert_eq!((moment.parts.len(), moment.others.len()), (1, 0));
    let expected = unreadable(&mut moment)?;
    let readers = std::thread::available_parallelism()?.get().min(super::MOST_READERS);
    for _ in 0..20 {
        let mut moment = sqlite.moment()?;
        let is_parted = moment.parts.len() > 8 && moment.others.len() == readers - 1;
        assert!(is_parted || expected.is_err());
        assert_eq!(unreadable(&mut moment)?, expected);
    }
    Ok(expected)
}

#[test]
fn unreadable_rows_come_in_order() -> Outcome {
    let (_folder, path) = file()?;
    change(
        &path,
        "UPDATE traces SET type = 'none' WHERE row IN (3, 77, 211, 399);
         UPDATE traces SET row = -7 WHERE row = 50;",
    )?;
    let found = reads_as_in_order(&path)??;
    let rows: Vec<_> = found.1.iter().map(|(row, _)| *row).collect();
    assert_eq!((found.0, rows), (400, vec![-7, 3, 77, 211, 399]));
    Ok(())
}

#[test]
fn first_damage_is_told() -> Outcome {
    let (_folder, path) = file()?;
    // Pages of the tree in the middle and near the end.
    let mut bytes = fs::read(&path)?;
    let pages = bytes.len() / 4096;
    for page in [pages / 2, pages - 5] {
        bytes[page * 4096..page * 4096 + 64].fill(0xee);
    }
    fs::write(&path, bytes)?;
    assert!(reads_as_in_order(&path)?.is_err());
    Ok(())
}

#[test]
fn first_of_two_rows_with_one_id_is_taken() -> Outcome {
    let (_folder, path) = file()?;
    let swap = |from, to| {
        format!(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') WHERE name = 'traces';"
        )
    };
    change(&path, &swap("BLOB NOT NULL UNIQUE", "BLOB NOT NULL"))?;
    change(
        &path,
        "PRAGMA writable_schema = ON; DELETE FROM sqlite_schema WHERE name LIKE 'sqlite_autoindex_traces%';",
    )?;
    change(&path, "UPDATE traces SET id = (SELECT id FROM traces WHERE row = 300) WHERE row IN (20, 390);")?;
    change(&path, &swap("BLOB NOT NULL", "BLOB NOT NULL UNIQUE"))?;
    for _ in 0..10 {
        let copy = TraceStore::builder().detached(&path)?;
        let reasons: Vec<_> = copy.stats().quarantined.into_iter().map(|row| row.reason).collect();
        assert_eq!(reasons, ["row 300 has the id of another row", "row 390 has the id of another row"]);
    }
    Ok(())
}

#[test]
fn progress_counts_all_rows_and_may_interrupt() -> Outcome {
    let (_folder, path) = file()?;
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = told.clone();
    let here = std::thread::current().id();
    let builder = TraceStore::builder().on_progress(move |Progress { step, done, total }| {
        assert_eq!((std::thread::current().id(), step, total), (here, "reading rows", 400));
        telling.lock().unwrap_or_else(PoisonError::into_inner).push(done);
        ControlFlow::Continue(())
    });
    builder.open(&path)?.close()?;
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(told.is_sorted() && told.first() == Some(&0) && told.last() == Some(&400), "{told:?}");
    let mut sqlite = Sqlite::open(&path, 1 << 20, None, Claim::default())?;
    let watch = Watch::new(|progress| match progress.done {
        0 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    });
    let read = sqlite.moment()?.traces(Some(&watch), &|_| None::<()>);
    assert_eq!(read.err().map(|error| error.kind()), Some(ErrorKind::Interrupted));
    Ok(())
}
