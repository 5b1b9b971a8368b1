//! `mnemon compact` makes a store's file as short as what it holds.
#![cfg(feature = "cli")]

use crate::program::TestDir;
use harness::Outcome;
use mnemon::{NewTrace, TraceStore, TraceType};
use serde_json::{Value, json};
use std::fs;

/// A closed store of which most was removed.
fn mostly_removed(place: &TestDir) -> Outcome {
    let store = TraceStore::open(place.path("memory.db"))?;
    let traces = |kind| (0..300).map(move |n| NewTrace::new(kind, json!("x".repeat(2_000 + n))));
    store.insert_many(traces(TraceType::Sensory))?;
    store.insert_many(traces(TraceType::Semantic).take(30))?;
    store.flush()?;
    for trace in store.iter().filter(|trace| trace.trace_type() == TraceType::Sensory) {
        store.remove(trace.id())?;
    }
    Ok(store.close().map(drop)?)
}

#[test]
fn compact_reports_bytes_before_and_after() -> Outcome {
    let place = TestDir::new()?;
    mostly_removed(&place)?;
    let before = fs::metadata(place.path("memory.db"))?.len();
    let ran = place.run("compact memory.db --json")?;
    assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{ran:?}");
    let after = fs::metadata(place.path("memory.db"))?.len();
    assert!(!place.path("memory.db-wal").exists());
    let report: Value = serde_json::from_str(ran.stdout.lines().last().unwrap_or_default())?;
    assert!(after < before / 4, "{after} of {before} bytes");
    assert_eq!((report["bytes_after"].as_u64(), report["path"].as_str()), (Some(after), Some("memory.db")));
    // Opening has written to the log.
    assert!(report["bytes_before"].as_u64() >= Some(before), "{report}");
    let mut lines = ran.stdout.lines();
    let mut words = || lines.next().unwrap_or_default().rsplit_once("  ");
    assert_eq!(words().map(|(name, _)| name.trim()), Some("bytes before"));
    assert_eq!(words().map(|(_, bytes)| bytes.replace(',', "")), Some(after.to_string()));
    assert!(place.run("verify memory.db")?.code == Some(0) && place.run("stat memory.db")?.code == Some(0));
    Ok(())
}

#[test]
fn compact_refuses_used_or_foreign_file() -> Outcome {
    let place = TestDir::new()?;
    fs::write(place.path("empty.db"), "")?;
    fs::write(place.path("notes.txt"), "not a database, and longer than a header: ".repeat(100))?;
    let store = TraceStore::open(place.path("memory.db"))?;
    for (name, why) in [
        ("nothing.db", "nothing.db: No such file or directory"),
        ("empty.db", "empty.db is empty"),
        ("notes.txt", "notes.txt is no SQLite database"),
        ("memory.db", "memory.db is in use by process"),
    ] {
        let before = fs::metadata(place.path(name)).ok().map(|file| file.len());
        let ran = place.run(&format!("compact {name}"))?;
        assert!(ran.code == Some(1) && ran.stderr.contains(why), "{name}: {ran:?}");
        assert_eq!(fs::metadata(place.path(name)).ok().map(|file| file.len()), before, "{name}");
    }
    store.close()?;
    Ok(())
}

#[test]
fn compact_help_says_exit_codes() -> Outcome {
    let ran = TestDir::new()?.run("compact --help")?;
    assert!(ran.stdout.contains("Exit codes: 0 "), "{ran:?}");
    Ok(())
}
