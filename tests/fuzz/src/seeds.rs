//! What the corpora begin with: input that is well formed, made by the crate itself.

use super::sealed::seal;
use super::template;
use harness::{Outcome, TestDir, clock, manual_flush, note};
use mnemon::{NewTrace, Snapshots};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Writes the seeds into the folders of the targets in `corpus`.
///
/// # Errors
///
/// If they can't be made or written.
pub fn write(corpus: &Path) -> Outcome {
    let put = |target: &str, name: &str, bytes: &[u8]| -> Outcome {
        fs::create_dir_all(corpus.join(target))?;
        Ok(fs::write(corpus.join(target).join(name), bytes)?)
    };
    for (n, line) in LINES.iter().enumerate() {
        put("line", &format!("seed-{n}"), line.as_bytes())?;
    }
    put("database", "seed-store", template::file()?)?;
    put("database", "seed-empty", b"")?;
    let snapshot = snapshot()?;
    put("snapshot", "seed-whole", &[b"w", &*snapshot].concat())?;
    put("snapshot", "seed-lines", &[b"s", unsealed(&snapshot)].concat())?;
    let spill = spill()?;
    put("spill", "seed-whole", &[b"w", &*seal(&spill)].concat())?;
    put("spill", "seed-lines", &[b"s", &*spill].concat())?;
    let numbers: Vec<u8> = (0..=255).collect();
    put("cells", "seed-numbers", &numbers)?;
    put("legion", "seed-numbers", &numbers)?;
    put("script", "seed-numbers", &numbers)
}

const LINES: [&str; 4] = [
    r#"{"type":"semantic","payload":{"fact":"tides turn twice a day"},"ref":"chat/12","tags":["sea","日本"],"parent_ref":"chat/1"}"#,
    r#"{"type":"episodic","payload":[1,-2.5e3,null,true,"\u00e9\n"],"id":"0199c0de-0000-7000-8000-000000000001","created_at":"2026-03-03T07:30:00Z"}"#,
    r#"{"type":"sensory","payload":"x","partition":"p","confidence":0.5,"emotional_valence":-1,"emotional_intensity":1.0}"#,
    r#"{"type":"procedural","payload":{},"ref":"r","tags":["a","b"],"partition":"p","created_at":"1969-12-31T23:59:59.5-01:00","parent_ref":"q","confidence":1,"emotional_valence":0.1,"emotional_intensity":1e-9}"#,
];

fn unsealed(file: &[u8]) -> &[u8] {
    let end = file.strip_suffix(b"\n").and_then(|file| file.iter().rposition(|byte| *byte == b'\n'));
    &file[..end.map_or(0, |end| end + 1)]
}

fn snapshot() -> Outcome<Vec<u8>> {
    let scratch = TestDir::new()?;
    fs::write(scratch.path(), template::file()?)?;
    let store = manual_flush().clock(&clock()).open(scratch.path())?;
    let saved = store.save_snapshot(&Snapshots::in_folder(scratch.folder()))?;
    store.close()?;
    Ok(fs::read(saved.path)?)
}

/// Of every kind of line one; without the seal.
fn spill() -> Outcome<Vec<u8>> {
    let scratch = TestDir::new()?;
    fs::write(scratch.path(), template::file()?)?;
    let path = scratch.path().with_file_name("memory.db.spill");
    let store =
        manual_flush().clock(&clock()).close_timeout(Duration::from_millis(50)).open(scratch.path())?;
    let lock = scratch.reader()?;
    lock.execute_batch("BEGIN IMMEDIATE")?;
    store.update(template::id(0), |trace| trace.confidence(0.9))?;
    store.remove(template::id(1))?;
    let new = store.insert(note("new").id(template::id(3)))?;
    store.insert(NewTrace::sensory(json!("seen")).id(template::id(4)))?;
    store.co_activate(template::id(0), new)?;
    store.spill()?;
    let text = fs::read_to_string(&path)?;
    fs::remove_file(&path)?;
    lock.execute_batch("ROLLBACK")?;
    store.close()?;
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.pop();
    let header: serde_json::Value = serde_json::from_str(&lines[0])?;
    for (field, value) in
        [("session", json!(template::BOOT)), ("watermark", json!(1_000_000)), ("erased", json!(2))]
    {
        let said = |value: &serde_json::Value| format!("\"{field}\":{value}");
        lines[0] = lines[0].replacen(&said(&header[field]), &said(&value), 1);
    }
    lines.insert(1, r#"{"kind":"erased-type","type":"episodic"}"#.to_owned());
    lines.insert(2, r#"{"kind":"erased-partition","partition":"other"}"#.to_owned());
    Ok((lines.join("\n") + "\n").into_bytes())
}
