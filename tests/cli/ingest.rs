//! `mnemon ingest`: what it takes, and what it says of the rest. What it left in the file is looked at through the
//! library.

use crate::program::{Output, SAMPLE, TestDir, sample_records};
use harness::Outcome;
use mnemon::jiff::Timestamp;
use mnemon::{NewTrace, TraceId};
use serde_json::{Value, json};
use std::fs;

/// The report of an ingest, without its time, which has no promised value.
fn report(ran: &Output) -> Outcome<Value> {
    let mut report = ran.json()?;
    let seconds = report.as_object_mut().and_then(|report| report.remove("seconds"));
    assert!(seconds.is_some_and(|seconds| seconds.as_f64().is_some_and(|seconds| seconds > 0.0)));
    Ok(report)
}

#[test]
fn second_ingest_changes_and_flushes_nothing() -> Outcome {
    let (place, records) = (TestDir::new()?, sample_records()?);
    let first = place.run(&format!("ingest memory.db {SAMPLE} --json"))?;
    assert_eq!(first.code, Some(0), "{first:?}");
    let expected = json!({"lines": records, "inserted": records, "updated": 0, "unchanged": 0, "bad": 0,
        "dangling_parents": 0, "rows_flushed": records});
    assert_eq!(report(&first)?, expected);
    let stored = place.traces()?;
    assert_eq!(stored.len() as u64, records);

    let second = place.run(&format!("ingest memory.db {SAMPLE} --threads 3 --json"))?;
    assert_eq!(second.code, Some(0), "{second:?}");
    let expected = json!({"lines": records, "inserted": 0, "updated": 0, "unchanged": records, "bad": 0,
        "dangling_parents": 0, "rows_flushed": 0});
    assert_eq!(report(&second)?, expected);
    assert_eq!(place.traces()?, stored);
    Ok(())
}

#[test]
fn record_is_stored_byte_for_byte() -> Outcome {
    let place = TestDir::new()?;
    let payload = r#"{"b":1.0,   "a": "caf\u00e9 日本", "b": [1e3]}"#;
    let line = format!(
        r#"{{"type": "trust", "payload": {payload}, "ref": "a", "tags": ["x", "ü"], "partition": "p", "created_at":
        "2026-03-03T07:30:00+01:00", "parent_ref": null, "confidence": 0.25, "emotional_valence": -0.5,
        "emotional_intensity": 0.75}}"#
    );
    place.write("a.jsonl", line.replace('\n', " "))?;
    assert_eq!(place.run("ingest memory.db a.jsonl")?.code, Some(0));
    let expected = NewTrace::trust(mnemon::Payload::from_json(payload)?)
        .id(TraceId::from_reference("a"))
        .tags(["x", "ü"])
        .partition("p")
        .created_at("2026-03-03T06:30:00Z".parse::<Timestamp>()?)
        .confidence(0.25)
        .emotional_valence(-0.5)
        .emotional_intensity(0.75)
        .into_trace()?;
    let stored = place.trace("a")?;
    assert_eq!(*stored, expected);
    assert_eq!(stored.payload().as_str(), payload);
    Ok(())
}

#[test]
fn bad_lines_are_reported_others_stored() -> Outcome {
    let place = TestDir::new()?;
    let lines: [&[u8]; 11] = [
        br#"{"type": "semantic", "payload": 1, "ref": "one"}"#,
        br#"{"type": "semantic", "payload": 1, "ref": "two", "colour": "red"}"#,
        b"",
        b"{\"type\": \"semantic\", \"payload\": \"\xff\"}",
        br#"{"type": "semantic", "payload": 1, "ref": "one"}"#,
        br#"{"type": "semantic", "payload": 1, "ref": "six", "confidence": 1.5}"#,
        b"nonsense",
        br#"{"type": "semantic", "payload": 1, "ref": "eight", "id": "0190163d-8694-739b-aea5-966c26f8ad91"}"#,
        br#"{"type": "semantic", "payload": [1, }"#,
        b"  \r",
        b"{\"type\": \"semantic\", \"payload\": 1, \"ref\": \"eleven\"}\r",
    ];
    place.write("a.jsonl", lines.join(&b'\n'))?;
    let ran = place.run("ingest memory.db a.jsonl --json")?;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    ran.warned("line 2: unknown field `colour`, expected one of `type`, `payload`, ");
    ran.warned("line 4: not UTF-8 at byte 34");
    ran.warned("line 5: its ref or id is that of line 1");
    ran.warned("line 6: confidence is 1.5: give a number from 0 to 1");
    ran.warned("line 7: not a JSON object: write one record a line");
    ran.warned("line 8: both ref and id are given");
    ran.warned("line 9: payload: expected value (column 37)");
    assert_eq!(ran.stderr.lines().count(), 7, "{}", ran.stderr);
    let expected = json!({"lines": 9, "inserted": 2, "updated": 0, "unchanged": 0, "bad": 7,
        "dangling_parents": 0, "rows_flushed": 2});
    assert_eq!(report(&ran)?, expected);
    let stored: Vec<_> = place.traces()?.iter().map(|trace| trace.id()).collect();
    let mut good = ["one", "eleven"].map(TraceId::from_reference);
    good.sort_unstable();
    assert_eq!(stored, good);
    Ok(())
}

#[test]
fn odd_line_ends_and_names_accepted() -> Outcome {
    let place = TestDir::new()?;
    let record = r#"{"type": "semantic", "payload": 1}"#;
    place.write("records.jsonl", format!("\u{feff}{record}\r\n\r\n{record}"))?;
    let ran = place.run("ingest memory.db records.jsonl --json")?;
    assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{ran:?}");
    assert_eq!(mnemon::inspect(place.path("memory.db"))?.traces, 2);

    // As where several such files were put together.
    place.write("joined.jsonl", format!("{record}\n\u{feff}{record}\n \u{feff} {record}\n\u{feff}\n"))?;
    let ran = place.run("ingest memory.db joined.jsonl")?;
    assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{ran:?}");
    assert_eq!(mnemon::inspect(place.path("memory.db"))?.traces, 5);

    place.write("long.jsonl", format!("{{\"{}\": 1}}", "a".repeat(1 << 20)))?;
    let ran = place.run("ingest memory.db long.jsonl")?;
    assert!(
        ran.code == Some(2) && ran.stderr.contains("unknown field") && ran.stderr.len() < 1_100,
        "{ran:?}"
    );
    Ok(())
}

/// A pair of escapes is one character of those that JSON can't escape in one.
#[test]
fn half_a_character_is_named() -> Outcome {
    let place = TestDir::new()?;
    let lines = [
        r#"{"type": "semantic", "payload": "\ud83d\ude00"}"#,
        r#"{"type": "semantic", "payload": "\ud83d"}"#,
        r#"{"type": "semantic", "payload": {"a": "\ude00"}}"#,
        r#"{"type": "semantic", "payload": {"\ud83d\ud83d": 1}}"#,
        r#"{"type": "semantic", "payload": 1, "ref": "a\ud83db"}"#,
    ];
    let mut bytes = lines.join("\n").into_bytes();
    bytes.extend_from_slice(b"\n{\"type\": \"semantic\", \"payload\": \"\xed\xa0\xbd\"}");
    place.write("a.jsonl", bytes)?;
    let ran = place.run("ingest memory.db a.jsonl --json")?;
    assert_eq!((ran.code, &report(&ran)?["bad"]), (Some(2), &json!(5)), "{ran:?}");
    for (line, reason) in ran.stderr.lines().zip(2..).map(|(reason, line)| (line, reason)) {
        assert!(reason.starts_with(&format!("line {line}: ")), "{reason}");
        assert!(reason.contains("lone surrogate") && reason.contains("both halves"), "{reason}");
    }
    Ok(())
}

#[test]
fn time_out_of_range_names_limit() -> Outcome {
    let place = TestDir::new()?;
    let record = |time: &str| format!(r#"{{"type": "semantic", "payload": 1, "created_at": "{time}"}}"#);
    let times = [
        "9999-12-31T00:00:00Z",
        "9999-12-30T22:00:00.999999Z",
        "-009999-01-01T00:00:00Z",
        "9999-13-01T00:00:00Z",
    ];
    place.write("a.jsonl", times.map(record).join("\n"))?;
    let ran = place.run("ingest memory.db a.jsonl")?;
    ran.warned(
        r#"line 1: created_at is "9999-12-31T00:00:00Z": the last time is 9999-12-30T22:00:00.999999Z"#,
    );
    ran.warned(
        r#"line 3: created_at is "-009999-01-01T00:00:00Z": the first time is -009999-01-02T01:59:59Z"#,
    );
    ran.warned(r#"line 4: created_at is "9999-13-01T00:00:00Z": give a time such as "#);
    assert_eq!(ran.stderr.lines().count(), 3, "{}", ran.stderr);
    assert_eq!(place.traces()?[0].created_at().to_string(), times[1]);
    Ok(())
}

#[test]
fn ingest_of_other_file_names_command() -> Outcome {
    let place = TestDir::new()?;
    let record = r#"{"type": "semantic", "payload": 1}"#;
    place.write("records.jsonl", record)?;
    assert_eq!(place.run("ingest other.db records.jsonl")?.code, Some(0));
    assert_eq!(place.run("export other.db export")?.code, Some(0));
    assert_eq!(place.run("snapshot save other.db --dir shots")?.code, Some(0));
    let snapshot = fs::read_dir(place.path("shots"))?.next().ok_or("no snapshot")??.path();
    let utf_16 = |bytes: fn(u16) -> [u8; 2]| record.encode_utf16().flat_map(bytes).collect::<Vec<_>>();
    let marked = [&b"\xff\xfe"[..], &utf_16(u16::to_le_bytes)].concat();
    let cases = [
        (fs::read(place.path("export"))?, "is an export: take it in with `mnemon import`"),
        (fs::read(snapshot)?, "is a snapshot: `mnemon snapshot restore`"),
        (fs::read(place.path("other.db"))?, "is an SQLite database: `mnemon import-legion`"),
        (
            format!("\u{feff} [\n{record},\n{record}]").into_bytes(),
            "is a JSON array: give one object a line, ",
        ),
        (
            record.replace('{', "{\n  ").into_bytes(),
            "has an object over several lines: give one object a line, ",
        ),
        (marked, "is UTF-16: make UTF-8 of it, "),
        (utf_16(u16::to_be_bytes), "is UTF-16: make UTF-8 of it, "),
        (b"\x1f\x8b\x08\0\0\0\0\0".to_vec(), "is compressed: "),
        (b"\x7fELF\x02\x01\x01\0\0".to_vec(), "is binary, and no text: "),
    ];
    for (content, expected) in cases {
        place.write("given", &content)?;
        let commands = if expected.starts_with("is an export") || expected.starts_with("is a snapshot") {
            ["ingest memory.db given", "demo given", "ingest memory.db given --strict"]
        } else {
            ["ingest memory.db given", "demo given", "import memory.db given"]
        };
        for command in commands {
            let ran = place.run(command)?;
            assert_eq!((ran.code, &*ran.stdout, ran.stderr.lines().count()), (Some(1), "", 1), "{ran:?}");
            assert!(ran.stderr.starts_with(&format!("error: given {expected}")), "{}", ran.stderr);
        }
        assert!(!place.path("memory.db").exists(), "nothing was made");
    }
    let ran = place.run("import memory.db records.jsonl")?;
    assert!(ran.code == Some(1) && ran.stderr.contains("`mnemon ingest` takes records"), "{ran:?}");
    Ok(())
}

#[test]
fn first_twenty_bad_lines_are_shown() -> Outcome {
    let place = TestDir::new()?;
    place.write("a.jsonl", "bad\n".repeat(23))?;
    let ran = place.run("ingest memory.db a.jsonl")?;
    let shown: Vec<_> = ran.stderr.lines().collect();
    assert_eq!(
        (shown.len(), shown[19], shown[20]),
        (21, "line 20: not a JSON object: write one record a line", "and 3 more")
    );
    assert!(ran.stdout.contains("bad                 23"), "{}", ran.stdout);
    Ok(())
}

#[test]
fn strict_ingest_is_all_or_nothing() -> Outcome {
    let place = TestDir::new()?;
    place.write("first.jsonl", r#"{"type": "semantic", "payload": 1, "ref": "a"}"#)?;
    assert_eq!(place.run("ingest memory.db first.jsonl --strict")?.code, Some(0));
    let stored = place.traces()?;
    assert_eq!(stored.len(), 1);

    let good = r#"{"type": "semantic", "payload": 2, "ref": "a"}
        {"type": "semantic", "payload": 3, "ref": "b"}"#;
    let bad = ["bad", r#"{"type": "semantic", "payload": 4, "ref": "b"}"#];
    for bad in bad.into_iter().chain([r#"{"type": "episodic", "payload": 4, "ref": "a"}"#]) {
        place.write("second.jsonl", format!("{good}\n{bad}\n"))?;
        let ran = place.run("ingest memory.db second.jsonl --strict --json")?;
        assert_eq!((ran.code, &*ran.stdout), (Some(1), ""), "{ran:?}");
        ran.warned("line 3: ");
        ran.warned(
            "error: nothing of second.jsonl is stored, for its 1 bad line: mend them, or leave out --strict",
        );
        assert_eq!(place.traces()?, stored, "after {bad}");
    }

    place.write("second.jsonl", "bad\n")?;
    assert_eq!(place.run("ingest other.db second.jsonl --strict")?.code, Some(1));
    assert!(!place.path("other.db").exists(), "a store was made for nothing");
    Ok(())
}

#[test]
fn parent_is_found_on_later_line() -> Outcome {
    let place = TestDir::new()?;
    place.write(
        "a.jsonl",
        r#"{"type": "semantic", "payload": 1, "ref": "child", "parent_ref": "parent"}
           {"type": "semantic", "payload": 2, "ref": "parent"}"#,
    )?;
    assert_eq!(place.run("ingest memory.db a.jsonl --json")?.json()?["dangling_parents"], 0);
    place
        .write("b.jsonl", r#"{"type": "semantic", "payload": 3, "ref": "second", "parent_ref": "child"}"#)?;
    assert_eq!(place.run("ingest memory.db b.jsonl --json")?.json()?["dangling_parents"], 0);
    assert_eq!(place.trace("child")?.parent(), Some(TraceId::from_reference("parent")));
    assert_eq!(place.trace("parent")?.parent(), None);
    assert_eq!(place.trace("second")?.parent(), Some(TraceId::from_reference("child")));
    Ok(())
}

#[test]
fn dangling_parents_are_counted_and_dropped() -> Outcome {
    let place = TestDir::new()?;
    // The third names a record that is not stored, for it is bad.
    place.write(
        "a.jsonl",
        r#"{"type": "semantic", "payload": 1, "ref": "a", "parent_ref": "nowhere"}
           {"type": "semantic", "payload": 2, "ref": "bad", "confidence": 2}
           {"type": "semantic", "payload": 3, "ref": "c", "parent_ref": "bad"}"#,
    )?;
    for (inserted, unchanged) in [(2, 0), (0, 2)] {
        let ran = place.run("ingest memory.db a.jsonl --json")?;
        ran.warned("2 records named a parent that is neither in the file nor in the store");
        let report = ran.json()?;
        let counts = [&report["dangling_parents"], &report["inserted"], &report["unchanged"], &report["bad"]];
        assert_eq!(counts, [&json!(2), &json!(inserted), &json!(unchanged), &json!(1)]);
    }
    assert_eq!((place.trace("a")?.parent(), place.trace("c")?.parent()), (None, None));
    Ok(())
}

#[test]
fn record_updates_the_fields_it_gives() -> Outcome {
    let place = TestDir::new()?;
    place.write(
        "a.jsonl",
        r#"{"type": "semantic", "payload": 1, "ref": "a", "tags": ["old"], "confidence": 0.25}
           {"type": "semantic", "payload": 1, "ref": "b", "tags": ["old"], "partition": "p", "created_at": "2026-01-01T00:00:00Z"}"#,
    )?;
    place.run("ingest memory.db a.jsonl")?;
    place.write(
        "b.jsonl",
        r#"{"type": "semantic", "payload": 2, "ref": "a", "emotional_valence": 0.5}
           {"type": "episodic", "payload": 2, "ref": "b"}
           {"type": "semantic", "payload": 2, "ref": "b", "partition": "q"}
           {"type": "semantic", "payload": 2, "ref": "b", "created_at": "2026-01-01T00:00:00.000001Z"}
           {"type": "semantic", "payload": 1, "ref": "b", "tags": ["new"], "created_at": "2026-01-01T01:00:00+01:00"}"#,
    )?;
    let ran = place.run("ingest memory.db b.jsonl --json")?;
    ran.warned("line 2: type is episodic, and semantic in the store, where it can't change");
    ran.warned("line 3: partition is q, and p in the store, where it can't change");
    ran.warned("line 4: created_at is 2026-01-01T00:00:00.000001Z, and 2026-01-01T00:00:00Z in the store");
    let expected = json!({"lines": 5, "inserted": 0, "updated": 2, "unchanged": 0, "bad": 3,
        "dangling_parents": 0, "rows_flushed": 2});
    assert_eq!(report(&ran)?, expected);
    let (a, b) = (place.trace("a")?, place.trace("b")?);
    assert_eq!(
        (a.payload().as_str(), a.confidence(), a.emotional_valence(), a.has_tag("old")),
        ("2", 0.25, 0.5, true)
    );
    assert_eq!((b.payload().as_str(), b.tags().collect::<Vec<_>>()), ("1", vec!["new"]));
    Ok(())
}

#[test]
fn record_without_id_is_always_new() -> Outcome {
    let place = TestDir::new()?;
    let record = r#"{"type": "sensory", "payload": "salt"}"#;
    for stored in 1..=2 {
        let ran = place.run_with("ingest memory.db - --json", record)?;
        assert_eq!(ran.json()?["inserted"], 1, "{ran:?}");
        assert_eq!(place.traces()?.len(), stored);
    }
    let id = "0190163d-8694-739b-aea5-966c26f8ad91";
    place.run_with("ingest memory.db -", &record.replace('}', &format!(r#", "id": "{id}"}}"#)))?;
    let id = id.parse()?;
    assert!(place.traces()?.iter().any(|trace| trace.id() == id));
    Ok(())
}

#[test]
fn ingest_takes_embeddings_of_one_length() -> Outcome {
    let place = TestDir::new()?;
    let record = |n: u8, embedding: &str| {
        format!(r#"{{"type": "semantic", "payload": {n}, "ref": "r/{n}", "embedding": {embedding}}}"#)
    };
    let lines = [record(1, "[0.5, -1.0]"), record(2, "null"), record(3, "[1.0]"), record(4, "[1, 2]")];
    place.write("records.jsonl", lines.join("\n"))?;
    let ran = place.run("ingest memory.db records.jsonl")?;
    assert_eq!(ran.code, Some(2));
    assert!(
        ran.stderr.contains("line 3: embedding is of 1 dimensions, and others of this store of 2"),
        "{ran:?}"
    );
    assert_eq!(place.trace("r/1")?.embedding(), Some(&[0.5, -1.0][..]));
    assert_eq!((place.trace("r/2")?.embedding(), place.traces()?.len()), (None, 3));
    place.write("more.jsonl", record(2, "[1, 2, 3]"))?;
    assert_eq!(place.run("ingest memory.db more.jsonl --strict")?.code, Some(1));
    place.write("more.jsonl", record(2, "[0.25, 1e999]"))?;
    assert_eq!(place.run("ingest memory.db more.jsonl --strict")?.code, Some(1));
    place.write("more.jsonl", record(2, "[0.25, 0]"))?;
    assert_eq!(place.run("ingest memory.db more.jsonl")?.code, Some(0));
    assert_eq!(place.trace("r/2")?.embedding(), Some(&[0.25, 0.0][..]));
    Ok(())
}
