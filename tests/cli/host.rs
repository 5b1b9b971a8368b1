//! Commands around a running host: `mnemon demo`, `stat`, and what errors say.

use crate::program::{TestDir, sample_records};
use assert_cmd::Command;
use harness::Outcome;
use mnemon::{NewTrace, TraceStore};
use serde_json::{Value, json};
use std::fs;

#[test]
fn busy_host_file_has_acknowledged_writes() -> Outcome {
    for durability in ["full", "relaxed"] {
        let place = TestDir::new()?;
        let ran = place.run(&format!(
            "host memory.db --writers 3 --seconds 0.6 --traces 700 --flush-every 20 --durability {durability} --json"
        ))?;
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let report = ran.json()?;
        let count = |pointer: &str| {
            report.pointer(pointer).and_then(Value::as_f64).ok_or_else(|| format!("no {pointer}"))
        };
        // The number of traces stays about level, but for those that faded away.
        let traces = count("/traces")?;
        assert!((550.0..=700.0).contains(&traces), "{report}");
        let links = &report["verify"]["links"];
        assert_eq!(
            report["verify"],
            json!({"rows": report["traces"], "links": links, "missing": 0, "stale": 0, "extra": 0})
        );
        assert_eq!(place.traces()?.len() as f64, traces);
        let rows = ["rows_upserted", "rows_updated", "rows_deleted", "links_upserted", "links_deleted"];
        let work = ["writes", "reinforcements", "co_activations", "queries", "decay/cycles"];
        for busy in rows.iter().chain(&work).chain(&["cuts", "payload_bytes_serialized", "verify/links"]) {
            assert!(count(&format!("/{busy}"))? > 0.0, "{busy} in {report}");
        }
        for percentile in ["p50", "p99", "p999", "max"] {
            assert!(count(&format!("/write_ns/idle/{percentile}"))? > 0.0, "{percentile} in {report}");
            assert!(count(&format!("/write_ns/flushing/{percentile}"))? > 0.0, "{percentile} in {report}");
        }
        assert_eq!(count("/write_ns/idle/count")? + count("/write_ns/flushing/count")?, count("/writes")?);
        for percentile in ["p50", "p99", "max"] {
            assert!(count(&format!("/flush_ms/{percentile}"))? > 0.0, "{percentile} in {report}");
        }
        let numbers = &report["numbers_only"];
        assert_eq!((&numbers["rows_upserted"], &numbers["payload_bytes_serialized"]), (&json!(0), &json!(0)));
        assert_eq!(numbers["writes"], 5_000);
        assert!(numbers["rows_updated"].as_u64() >= Some(500), "{report}");
        let columns = ["in", "the", "store", "rows", "links", "missing", "stale", "extra"];
        assert!(ran.stdout.lines().any(|line| line.split_whitespace().eq(columns)), "{}", ran.stdout);
        assert!(ran.stdout.contains("none of them missing, stale or extra"), "{}", ran.stdout);
    }
    Ok(())
}

#[test]
fn demo_leaves_nothing_behind() -> Outcome {
    let (place, records) = (TestDir::new()?, sample_records()?);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mnemon"));
    command.env("TMPDIR", place.path("")).args(["demo", "--seconds", "0.5", "--json"]);
    let output = command.output()?;
    let stdout = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(0), "{stdout}");
    let first =
        format!("{records} memories of the sample went into a store in a temporary file: {records} new, ");
    assert!(stdout.starts_with(&first), "{stdout}");
    assert!(stdout.contains("\nThe store holds what the writers were told: "), "{stdout}");
    let report: Value = serde_json::from_str(stdout.lines().last().unwrap_or_default())?;
    assert_eq!((&report["ingest"]["inserted"], &report["ingest"]["bad"]), (&json!(records), &json!(0)));
    let links = &report["verify"]["links"];
    assert_eq!(
        report["verify"],
        json!({"rows": report["traces"], "links": links, "missing": 0, "stale": 0, "extra": 0})
    );
    assert_eq!(report["numbers_only"]["payload_bytes_serialized"], 0);
    assert!(report["rows_updated"].as_u64() > Some(0) && report["writes"].as_u64() > Some(0), "{report}");
    assert_eq!(fs::read_dir(place.path(""))?.count(), 0, "the temporary folder is still there");
    Ok(())
}

#[test]
fn demo_keeps_given_store() -> Outcome {
    let place = TestDir::new()?;
    let records = r#"{"type": "semantic", "payload": 1, "ref": "a"}
                     {"type": "semantic", "payload": 1, "ref": "b", "confidence": 2}"#;
    place.write("a.jsonl", records)?;
    let ran = place.run("demo a.jsonl --db memory.db --seconds 0.2 --json")?;
    assert_eq!(ran.code, Some(2), "a bad line: {ran:?}");
    let first = "1 memory of a.jsonl went into a store in memory.db: 1 new, 0 updated, 0 unchanged, 1 bad.";
    assert!(ran.stdout.starts_with(first), "{}", ran.stdout);
    ran.warned("line 2: confidence is 2");
    assert_eq!(ran.json()?["traces"], place.traces()?.len());
    Ok(())
}

#[test]
fn stat_counts_store_in_use() -> Outcome {
    let place = TestDir::new()?;
    let store = TraceStore::open(place.path("memory.db"))?;
    store.insert_many((0..1_200).map(|n| NewTrace::semantic(json!(n)).partition("p")))?;
    store.insert_many((0..3).map(|n| NewTrace::episodic(json!(n)).partition("q")))?;
    store.flush()?;
    store.insert(NewTrace::sensory(json!("not flushed")))?;
    let json = place.run("stat memory.db --json")?.json()?;
    assert_eq!(json["by_type"], json!({"semantic": 1200, "episodic": 3}));
    assert_eq!(json["by_partition"], json!({"p": 1200, "q": 3}));
    assert_eq!(json["by_tier"], json!({"hot": 1203}));
    assert_eq!((&json["traces"], &json["links"], &json["clean"]), (&json!(1203), &json!(0), &json!(false)));
    assert_eq!(json["in_use_by"], std::process::id());
    assert_eq!(json["watermark"], store.watermark().committed);
    assert!(json["file_bytes"].as_u64() > Some(0) && json["wal_bytes"].as_u64() > Some(0), "{json}");
    assert!(json["schema_version"].as_i64() >= Some(1), "{json}");

    let table = place.run("stat memory.db")?.stdout;
    assert!(table.contains(&format!("in use by process {}", std::process::id())), "{table}");
    let lines: Vec<_> =
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let by_type = lines.iter().position(|line| line == "type traces").ok_or("no counts by type")?;
    assert_eq!(lines[by_type + 1..][..2], ["semantic 1,200", "episodic 3"], "the most first: {table}");

    store.close()?;
    let json = place.run("stat memory.db --json")?.json()?;
    assert_eq!(
        (&json["traces"], &json["clean"], &json["in_use_by"]),
        (&json!(1204), &json!(true), &Value::Null)
    );
    Ok(())
}

#[test]
fn error_has_cause_and_hint() -> Outcome {
    let place = TestDir::new()?;
    place.write("notes.txt", "this is not a database, however long one looks at it")?;
    place.write("a.jsonl", r#"{"type": "semantic", "payload": 1, "ref": "a"}"#)?;
    let cases = [
        (
            "ingest memory.db nowhere.jsonl",
            "nowhere.jsonl can't be read: give the path of a file of records: ",
        ),
        ("ingest notes.txt a.jsonl", "notes.txt is no SQLite database: give the path of a store"),
        ("host notes.txt --seconds 0.1", "notes.txt is no SQLite database: give the path of a store"),
        ("demo a.jsonl --db notes.txt", "notes.txt is no SQLite database: give the path of a store"),
        ("stat notes.txt", "notes.txt is no SQLite database: give the path of a store"),
        ("stat nowhere.db", "nowhere.db: No such file or directory (os error 2)\nhint: check the path\n"),
        ("ingest no/such/folder.db a.jsonl", "no/such is not there\nhint: make the folder, or "),
        ("host memory.db --traces 0", "memory.db holds no traces to work on: give --traces 1 or more"),
        (
            "host memory.db --seconds 0",
            "invalid value '0' for '--seconds <S>': give a number of seconds above 0",
        ),
    ];
    for (arguments, expected) in cases {
        let ran = place.run(arguments)?;
        assert_eq!((ran.code, &*ran.stdout), (Some(1), ""), "{arguments}: {ran:?}");
        assert!(
            ran.stderr.starts_with("error: ") && ran.stderr.contains(expected),
            "{arguments}: {}",
            ran.stderr
        );
        assert!(!ran.stderr.contains("panicked"), "{arguments}: {}", ran.stderr);
    }
    assert_eq!(
        fs::read_to_string(place.path("notes.txt"))?,
        "this is not a database, however long one looks at it"
    );

    let store = TraceStore::open(place.path("memory.db"))?;
    let ran = place.run("ingest memory.db a.jsonl")?;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains(&format!("memory.db is in use by process {}", std::process::id())),
        "{}",
        ran.stderr
    );
    store.close()?;
    Ok(())
}
