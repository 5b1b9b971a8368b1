//! After Ctrl-C a command cleans up, says what it has done, and ends with 130.
#![cfg(all(feature = "cli", unix))]

use crate::program::TestDir;
use harness::{Outcome, wait_until};
use mnemon::{Group, NewTrace, TraceStore, inspect};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn start(place: &TestDir, arguments: &str) -> Outcome<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mnemon"));
    command.current_dir(place.path("")).args(arguments.split(' '));
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

/// As a terminal does after Ctrl-C; answers what the command said, and how it ended.
fn interrupt(child: Child) -> Outcome<(Output, String)> {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status()?.success());
    let output = child.wait_with_output()?;
    let told = String::from_utf8(output.stderr.clone())?;
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    Ok((output, told))
}

fn files(folder: &Path) -> Outcome<BTreeSet<String>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    entries.collect()
}

/// Enough to be at it for a while.
const MANY: usize = 20_000;

fn with_many() -> Outcome<TestDir> {
    let place = TestDir::new()?;
    let store = TraceStore::open(place.path("memory.db"))?;
    for some in (0..MANY).collect::<Vec<_>>().chunks(Group::MAX_STEPS) {
        let new = |n| NewTrace::semantic(json!(format!("{n} {}", "tide ".repeat(50))));
        store.insert_many(some.iter().map(new))?;
    }
    store.close()?;
    Ok(place)
}

#[test]
fn interrupt_leaves_no_partial_file() -> Outcome {
    let place = with_many()?;
    fs::create_dir(place.path("to"))?;
    for command in [
        "backup memory.db to/copy.db",
        "export memory.db to/a.jsonl",
        "snapshot save memory.db --dir to",
        "export-legion memory.db to/original.db",
    ] {
        let child = start(&place, command)?;
        wait_until(|| files(&place.path("to")).is_ok_and(|files| !files.is_empty()));
        let (output, told) = interrupt(child)?;
        assert!(told.starts_with("error: interrupted") && told.lines().count() == 1, "{command}: {told}");
        assert_eq!(&*output.stdout, b"", "{command}");
        assert_eq!(files(&place.path("to"))?, BTreeSet::new(), "{command}");
    }
    Ok(())
}

#[test]
fn interrupted_ingest_can_go_on() -> Outcome {
    let place = TestDir::new()?;
    let record =
        |n| json!({"type": "semantic", "payload": "tide ".repeat(40), "ref": format!("{n}")}).to_string();
    fs::write(place.path("a.jsonl"), (0..60_000).map(|n| record(n) + "\n").collect::<String>())?;
    let child = start(&place, "ingest memory.db a.jsonl --json")?;
    wait_until(|| inspect(place.path("memory.db")).is_ok_and(|file| file.traces > 0));
    let (output, told) = interrupt(child)?;
    let report: Value =
        serde_json::from_slice(output.stdout.split(|byte| *byte == b'\n').nth(8).ok_or("no report")?)?;
    let stored = report["inserted"].as_u64().ok_or("no count")?;
    assert!((1..60_000).contains(&stored) && report["lines"] == 60_000, "{report}");
    assert!(told.starts_with("interrupted after ") && told.contains(" of 60,000 good records: "), "{told}");
    let file = inspect(place.path("memory.db"))?;
    assert_eq!((file.traces, file.clean), (stored, true));
    let ran = place.run("ingest memory.db a.jsonl --json")?;
    let report: Value = serde_json::from_str(ran.stdout.lines().last().ok_or("no report")?)?;
    assert_eq!((&report["unchanged"], &report["inserted"]), (&json!(stored), &json!(60_000 - stored)));
    Ok(())
}

#[test]
fn a_demo_leaves_nothing_behind() -> Outcome {
    let place = TestDir::new()?;
    let record = |n| json!({"type": "semantic", "payload": "tide", "ref": format!("{n}")}).to_string() + "\n";
    fs::write(place.path("a.jsonl"), (0..30_000).map(record).collect::<String>())?;
    fs::create_dir(place.path("temporary"))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_mnemon"));
    command.args(["demo", "a.jsonl"]).current_dir(place.path("")).env("TMPDIR", place.path("temporary"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    wait_until(|| files(&place.path("temporary")).is_ok_and(|files| !files.is_empty()));
    interrupt(child)?;
    assert_eq!(files(&place.path("temporary"))?, BTreeSet::new());
    Ok(())
}

#[test]
fn interrupted_import_is_whole_or_absent() -> Outcome {
    let place = with_many()?;
    assert_eq!(place.run("export memory.db a.jsonl")?.code, Some(0));
    let child = start(&place, "import other.db a.jsonl")?;
    wait_until(|| place.path("other.db").exists());
    let (_, told) = interrupt(child)?;
    let store = TraceStore::open(place.path("other.db"))?;
    let expected = if told.contains("interrupted: nothing is imported") { 0 } else { MANY };
    assert_eq!(store.len(), expected, "{told}");
    Ok(())
}

#[test]
fn interrupted_host_closes_and_verifies() -> Outcome {
    let place = TestDir::new()?;
    let child = start(&place, "host memory.db --traces 200 --seconds 600 --flush-every 60000 --status")?;
    let status =
        || -> Outcome<Value> { Ok(serde_json::from_slice(&fs::read(place.path("memory.db.status"))?)?) };
    wait_until(|| status().is_ok_and(|status| status["writes"].as_u64() > Some(6_000)));
    let (output, told) = interrupt(child)?;
    let said = String::from_utf8(output.stdout)?;
    assert!(said.contains("The store holds what the writers were told: "), "{said}{told}");
    assert_eq!(status()?["health"], "closed");
    assert!(inspect(place.path("memory.db"))?.clean);
    Ok(())
}
