//! `mnemon top` shows how a host is doing that says so, and says when it can't.
#![cfg(feature = "cli")]

use crate::program::TestDir;
use harness::{Outcome, wait_until};
use mnemon::{NewTrace, StatusFile, TraceStore};
use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Stdio};

/// As a host has written it just now, but for what a test changes.
fn status(changes: Value) -> Value {
    let mut status = json!({
        "mnemon_status": 1, "at": jiff::Timestamp::now().to_string(), "process": 4242, "health": "healthy",
        "trouble": null, "traces": 10_000, "links": 1_203, "dirty": 532, "lag_seconds": 0.0871, "writes": 51_200,
        "flushes": 17, "rows": 47_268, "last_flush_seconds": 0.0062, "mean_flush_seconds": 0.00591, "seconds": 1.0,
        "writes_per_second": 12_345.4, "flushes_per_second": 9.94, "rows_per_second": 4_321.0,
        "wal_bytes": 4_300_000, "committed": 24, "durable": 23, "quarantined": 0, "of_a_later_format": [1],
    });
    for (name, value) in changes.as_object().into_iter().flatten() {
        status[name] = value.clone();
    }
    status
}

fn write(place: &TestDir, name: &str, status: &Value) -> Outcome {
    Ok(fs::write(place.path(name), status.to_string())?)
}

/// Without what varies with the time: ages, and the time of day.
fn settled(work: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"process 4242, (now|\d s ago)", "process 4242, [age]");
    settings.add_filter(r"(?m)^\d\d:\d\d:\d\dZ", "[time]");
    settings.bind(work);
}

#[test]
fn one_picture_shows_rates_and_health() -> Outcome {
    let place = TestDir::new()?;
    let trouble = json!({"health": "degraded", "trouble": "memory.db can't be written: the disk is full: make room, and flushing goes on\u{9b}2J", "quarantined": 2});
    let fresh = json!({"writes": null, "writes_per_second": null, "flushes_per_second": null, "dirty": 0, "lag_seconds": 0.0,
        "rows_per_second": null, "last_flush_seconds": null, "mean_flush_seconds": null, "wal_bytes": 0});
    for (name, changes) in [("healthy", json!({})), ("degraded", trouble), ("fresh", fresh)] {
        write(&place, "memory.status", &status(changes))?;
        let ran = place.run("top memory.status --once")?;
        assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{ran:?}");
        settled(|| insta::assert_snapshot!(format!("top_{name}"), ran.stdout));
        for width in [56, 55, 40, 28] {
            let ran = place.run_in("top memory.status --once", &[("COLUMNS", &width.to_string())])?;
            let longest = ran.stdout.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(width), "{width}: {}", ran.stdout);
            let values =
                ran.stdout.split_whitespace().filter(|word| ["wal", "durable"].contains(word)).count();
            assert_eq!(values, 2, "nothing is left out: {}", ran.stdout);
            if width == 40 {
                settled(|| insta::assert_snapshot!(format!("top_{name}_40"), ran.stdout));
            }
        }
    }
    Ok(())
}

#[test]
fn without_terminal_prints_lines_until_closed() -> Outcome {
    let place = TestDir::new()?;
    let closed = status(json!({"health": "closed"}));
    write(&place, "memory.status", &closed)?;
    let ran = place.run("top memory.status")?;
    assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{ran:?}");
    settled(|| insta::assert_snapshot!("top_line", ran.stdout));
    let ran = place.run("top memory.status --json")?;
    assert_eq!(
        (ran.code, serde_json::from_str::<Value>(&ran.stdout)?),
        (Some(0), closed),
        "all fields, one object"
    );
    assert_eq!(ran.stdout.lines().count(), 1);
    Ok(())
}

#[test]
fn store_path_shows_its_status_file() -> Outcome {
    let place = TestDir::new()?;
    let store = TraceStore::open(place.path("memory.db"))?;
    store.insert(NewTrace::semantic(json!("slack water at noon")))?;
    store.flush()?;
    let ran = place.run("top memory.db --once")?;
    assert_eq!((ran.code, &*ran.stdout), (Some(1), ""), "{ran:?}");
    insta::assert_snapshot!("top_of_a_host_that_does_not_say", ran.stderr);
    StatusFile::new(place.path("memory.db.status")).write(&store, Some(1))?;
    let ran = place.run("top memory.db --once --json")?;
    let shown: Value = serde_json::from_str(&ran.stdout)?;
    assert_eq!((&shown["traces"], &shown["rows"], &shown["writes"]), (&json!(1), &json!(1), &json!(1)));
    let picture = place.run("top memory.db --once")?.stdout;
    assert!(picture.starts_with(&format!("memory.db.status  process {}, ", std::process::id())), "{picture}");
    store.close()?;
    Ok(())
}

#[test]
fn unusable_status_is_named() -> Outcome {
    let place = TestDir::new()?;
    write(&place, "old", &status(json!({"at": "2026-01-01T00:00:00Z"})))?;
    write(&place, "closed", &status(json!({"at": "2026-01-01T00:00:00Z", "health": "closed"})))?;
    write(&place, "coming", &status(json!({"at": "9999-01-01T00:00:00Z"})))?;
    write(&place, "other", &json!({"some": "object"}))?;
    fs::write(place.path("torn"), &status(json!({})).to_string()[..100])?;
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"is \d+ \w+ old", "is [age] old");
    let mut errors = String::new();
    for name in ["old", "closed", "coming", "other", "torn", "missing"] {
        for once in [" --once", ""] {
            let ran = place.run(&format!("top {name}{once}"))?;
            assert_eq!((ran.code, &*ran.stdout), (Some(1), ""), "{name}: {ran:?}");
            if !once.is_empty() {
                errors.push_str(&ran.stderr);
            }
        }
    }
    settings.bind(|| insta::assert_snapshot!("top_errors", errors));
    Ok(())
}

#[test]
fn host_writes_status_throughout() -> Outcome {
    let place = TestDir::new()?;
    let mut host = Command::new(env!("CARGO_BIN_EXE_mnemon"));
    host.current_dir(place.path("")).args(["host", "memory.db", "--traces", "200", "--status"]);
    let mut host = host.args(["--seconds", "2"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let file = place.path("memory.db.status");
    let read = || fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    wait_until(|| read().is_some_and(|status| status["writes_per_second"].as_f64() > Some(0.0)));
    let ran = place.run("top memory.db --once")?;
    assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{ran:?}");
    assert!(host.wait()?.success());
    let last = read().ok_or("the status file is there")?;
    assert_eq!(
        (&last["health"], &last["dirty"], &last["process"]),
        (&json!("closed"), &json!(0), &json!(host.id()))
    );
    assert!(last["writes"].as_u64() > Some(200), "{last}");

    let ran = place.run("host memory.db --seconds 0.1 --status no/such/folder")?;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("cannot write no/such/folder: "), "{}", ran.stderr);
    let ran = place.run("host memory.db --seconds 0.1 --status memory.db")?;
    assert!(
        ran.code == Some(1) && ran.stderr.contains("memory.db is there, and is no status file"),
        "{ran:?}"
    );
    assert!(place.store()?.len() > 100, "the store is still there");
    Ok(())
}
