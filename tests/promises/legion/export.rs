//! What goes out to the database of the original system comes back as it was.
#![cfg(feature = "legion")]

use super::{ORIGINAL, columns, comparable, table};
use harness::{Outcome, TestDir, manual_flush};
use mnemon::legion::{self, Report};
use mnemon::{ErrorKind, NewTrace, Payload, Progress, Trace, TraceStore};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

#[test]
fn original_database_round_trips_every_cell() -> Outcome {
    let original = Path::new(ORIGINAL);
    if !original.exists() {
        eprintln!("skipped: {ORIGINAL} is not there");
        return Ok(());
    }
    let scratch = TestDir::new()?;
    let store = manual_flush().open(scratch.path())?;
    let imported = legion::read(original)?.store_in(&store)?;
    assert_eq!((imported.traces, imported.links), (2_198, 1_448));
    store.close()?;
    let again = scratch.folder().join("again.db");
    let exported =
        legion::export(&TraceStore::builder().detached(scratch.path())?, &again, Progress::ignore)?;
    assert_eq!(exported, {
        let mut all = Report::default();
        (all.traces, all.links) = (2_198, 1_448);
        all
    });

    let (was, is) =
        (comparable(table(original, "memory_traces")?)?, comparable(table(&again, "memory_traces")?)?);
    assert_eq!(was.len(), 2_198);
    assert_eq!(was.keys().collect::<Vec<_>>(), is.keys().collect::<Vec<_>>());
    let mut differ = Vec::new();
    for (id, row) in &was {
        let number = |(column, _): (&String, _)| column.clone();
        let columns = row.iter().filter(|(column, cell)| is[id][*column] != **cell).map(number);
        differ.extend(columns.map(|column| (id.clone(), column)));
    }
    // What the report of the import names, and nothing else.
    let ids: BTreeMap<i64, String> = Connection::open(original)?
        .prepare("SELECT id, trace_id FROM memory_traces")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let mut told: Vec<_> = columns(&imported.findings)
        .iter()
        .map(|(row, column)| (ids[row].clone(), (*column).to_owned()))
        .collect();
    told.sort();
    assert_eq!(told.len(), 76);
    assert_eq!(differ, told);
    let pairs = [original, &again].map(|path| table(path, "memory_associations"));
    let [was, is] = pairs.map(|rows| comparable(rows?));
    let (was, is) = (was?, is?);
    assert_eq!(was.len(), 2_896);
    assert_eq!(was, is);
    let schema = |path: &Path| -> Outcome<BTreeSet<String>> {
        let sql = "SELECT coalesce(sql, name) FROM sqlite_schema";
        let connection = Connection::open(path)?;
        let mut statement = connection.prepare(sql)?;
        let all = statement.query_map([], |row| row.get::<_, String>(0))?;
        Ok(all.map(|sql| Ok(sql?.split_whitespace().collect())).collect::<rusqlite::Result<_>>()?)
    };
    assert_eq!(schema(original)?, schema(&again)?);
    Ok(())
}

#[test]
fn inexpressible_fields_are_told() -> Outcome {
    let store = TraceStore::in_memory();
    let day = |day: u32| format!("2024-05-{day:02}T00:00:00Z").parse::<jiff::Timestamp>();
    let plain = |payload: Value, at| -> Outcome<NewTrace> {
        Ok(NewTrace::episodic(payload).created_at(day(at)?).last_reinforced(day(at)?).last_decayed(day(at)?))
    };
    let kept = store.insert(plain(json!({"text": "kept"}), 1)?)?;
    let full =
        plain(json!({}), 2)?.embedding([0.5, 1.5]).source_agent("a").encryption_key_id("k").pinned(true);
    let full = store.insert(full.revision(4))?;
    let list = store.insert(plain(json!([1, 2]), 3)?)?;
    let looks = store.insert(plain(json!("{\"a\": 1}"), 4)?)?;
    let plain_text = store.insert(plain(json!("{a"), 5)?)?;
    for _ in 0..3 {
        store.co_activate(kept, plain_text)?;
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("original.db");
    let exported = legion::export(&store, &path, Progress::ignore)?;
    assert_eq!((exported.traces, exported.links), (5, 1));
    let expected = [
        (2, "embedding"),
        (2, "source_agent"),
        (2, "encryption_key_id"),
        (2, "pinned"),
        (2, "revision"),
        (3, "content"),
        (4, "content"),
    ];
    assert_eq!(columns(&exported.findings), expected);
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path)?.permissions()) & 0o777, 0o600);

    let back = TraceStore::in_memory();
    legion::read(&path)?.store_in(&back)?;
    let same = |id| (store.get(id), back.get(id));
    for id in [kept, plain_text] {
        let (was, is) = same(id);
        assert!(is.is_some() && was == is, "{was:?} {is:?}");
    }
    let payload = |id| -> Outcome<Payload> { Ok(back.get(id).ok_or("there")?.payload().clone()) };
    assert_eq!(payload(list)?, Payload::text("[1,2]"));
    assert_eq!(payload(looks)?, Payload::from_json("{\"a\": 1}")?);
    let is_plain = |trace: &Trace| trace.embedding().is_none() && !trace.is_pinned() && trace.revision() == 1;
    assert!(back.get(full).is_some_and(|trace| is_plain(&trace)));
    assert_eq!(back.link(kept, plain_text).map(|link| link.count()), Some(3));
    Ok(())
}

#[test]
fn export_never_overwrites_or_leaves_half() -> Outcome {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("original.db");
    fs::write(&path, "precious")?;
    let error =
        legion::export(&TraceStore::in_memory(), &path, Progress::ignore).err().ok_or("overwritten")?;
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path)?, b"precious");
    let nowhere = folder.path().join("nowhere").join("original.db");
    let error =
        legion::export(&TraceStore::in_memory(), &nowhere, Progress::ignore).err().ok_or("written")?;
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.to_string().contains(&*nowhere.to_string_lossy()), "{error}");
    // What an earlier database has left, and SQLite would delete.
    for left in ["earlier.db-journal", "earlier.db-wal"] {
        let left = folder.path().join(left);
        fs::write(&left, "precious")?;
        let error =
            legion::export(&TraceStore::in_memory(), folder.path().join("earlier.db"), Progress::ignore)
                .err();
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::AlreadyExists));
        assert_eq!(fs::read(&left)?, b"precious");
        fs::remove_file(left)?;
    }
    // A directory where SQLite wants its journal.
    let path = folder.path().join("blocked.db");
    fs::create_dir(folder.path().join("blocked.db-journal"))?;
    assert!(legion::export(&TraceStore::in_memory(), &path, Progress::ignore).is_err());
    assert!(!path.exists(), "a half-written export is left behind");
    let store = TraceStore::in_memory();
    store.insert(NewTrace::semantic(json!("the pilot is aboard")))?;
    let (before, path) = (fs::read_dir(folder.path())?.count(), folder.path().join("broken-off.db"));
    let error = legion::export(&store, &path, |_| ControlFlow::Break(())).err().ok_or("written")?;
    assert_eq!(error.kind(), ErrorKind::Interrupted);
    assert_eq!(fs::read_dir(folder.path())?.count(), before, "a half-written export is left behind");
    Ok(())
}
