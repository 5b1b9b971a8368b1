//! A database of the original system whose cells hold anything.

use super::cells::{Cell, cell, in_range};
use super::{Held, holds, same_as, template};
use arbitrary::Unstructured;
use harness::{Outcome, TestDir};
use mnemon::{Progress, TraceStore, legion};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

const TRACE: [&str; 22] = [
    "trace_id",
    "trace_type",
    "content",
    "strength",
    "peak_strength",
    "base_decay_rate",
    "emotional_valence",
    "emotional_intensity",
    "domain_tags",
    "origin",
    "created_at",
    "last_reinforced",
    "last_decayed",
    "reinforcement_count",
    "confidence",
    "storage_tier",
    "partition_id",
    "associated_traces",
    "parent_id",
    "child_ids",
    "unresolved",
    "consolidation_candidate",
];
const PAIR: [&str; 4] = ["trace_id_a", "trace_id_b", "coactivation_count", "partition_id"];

/// Each row becomes a trace, or a finding says why not; every trace and link has values in range; stored again they
/// change nothing; and what was taken in can be written for the original, whole, and is the same when it is read
/// from there.
pub fn check(data: &[u8]) -> Outcome {
    static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();
    let scratch = TestDir::new()?;
    let path = scratch.folder().join("original.db");
    fs::write(&path, template::once(&EMPTY, empty)?)?;
    let connection = template::hasty(&path)?;
    let (traces, _) = fill(&connection, data)?;
    drop(connection);

    let original = legion::read(&path)?;
    let without: BTreeSet<i64> = original
        .findings()
        .iter()
        .filter(|finding| finding.part == "memory_traces" && finding.reason.contains("left out"))
        .filter(|finding| ["trace_id", "trace_type", "content"].contains(&finding.column.unwrap_or_default()))
        .filter_map(|finding| finding.row)
        .collect();
    holds(original.traces() + without.len() == traces, "a row is neither a trace nor told")?;
    holds(original.findings().iter().all(|it| it.reason.len() < 400), "a finding says too much")?;
    let (store, imported) = take_in(&path)?;
    // More tags or children than a trace has.
    holds(imported.traces + without.len() <= traces, "there are more traces than rows")?;
    let held = Held::of(&store);
    held.traces.iter().try_for_each(|trace| in_range(trace))?;
    holds(held.links.iter().all(|link| link.count() > 0), "a link of nothing")?;
    let again = legion::read(&path)?.store_in(&store)?;
    holds((again.traces, again.links) == (0, 0), "the same again changes something")?;
    same_as("stored again", &held, &Held::of(&store))?;

    let written = scratch.folder().join("written.db");
    let exported = legion::export(&store, &written, Progress::ignore)?;
    holds(exported.findings.is_empty(), format_args!("what came from there does not go back: {exported:?}"))?;
    let (back, imported) = take_in(&written)?;
    holds(imported.findings.is_empty(), format_args!("what was written can't be read: {imported:?}"))?;
    same_as("written and read", &held, &Held::of(&back))
}

fn take_in(path: &Path) -> Outcome<(TraceStore, legion::Report)> {
    let store = TraceStore::in_memory();
    let imported = legion::read(path)?.store_in(&store)?;
    Ok((store, imported))
}

/// Its tables, without types and demands.
fn empty() -> Outcome<Vec<u8>> {
    let scratch = TestDir::new()?;
    let connection = template::hasty(scratch.path())?;
    connection.execute_batch(&format!(
        "PRAGMA page_size = 512;
         CREATE TABLE memory_traces (id INTEGER PRIMARY KEY, {});
         CREATE TABLE memory_associations (id INTEGER PRIMARY KEY, {});",
        TRACE.join(", "),
        PAIR.join(", ")
    ))?;
    drop(connection);
    Ok(fs::read(scratch.path())?)
}

/// Answers how many rows of each table there are.
fn fill(connection: &Connection, data: &[u8]) -> Outcome<(usize, usize)> {
    let mut data = Unstructured::new(data);
    let traces = data.int_in_range(1..=5).unwrap_or(1);
    for n in 0..traces {
        let changes = cells(&mut data, &TRACE).unwrap_or_default();
        let mut row = vec![
            text(template::id(n)),
            text("semantic"),
            text(r#"{"fact":"healthy"}"#),
            Cell::Value(Value::Real(0.5)),
        ];
        row.resize_with(TRACE.len(), || Cell::Value(Value::Null));
        changes.into_iter().for_each(|(at, cell)| row[at] = cell);
        insert(connection, "memory_traces", &row)?;
    }
    let pairs = data.int_in_range(0..=5).unwrap_or(0);
    for _ in 0..pairs {
        let changes = cells(&mut data, &PAIR).unwrap_or_default();
        let mut row = vec![text(template::id(0)), text(template::id(1)), text(3), Cell::Value(Value::Null)];
        row[2] = Cell::Value(Value::Integer(3));
        changes.into_iter().for_each(|(at, cell)| row[at] = cell);
        insert(connection, "memory_associations", &row)?;
    }
    Ok((traces as usize, pairs))
}

fn insert(connection: &Connection, table: &str, row: &[Cell]) -> Outcome {
    let places: Vec<_> = row.iter().enumerate().map(|(at, cell)| cell.place(at)).collect();
    let sql = format!("INSERT INTO {table} VALUES (NULL, {})", places.join(", "));
    connection.execute(&sql, params_from_iter(row.iter().map(Cell::value)))?;
    Ok(())
}

fn text(it: impl ToString) -> Cell {
    Cell::Value(Value::Text(it.to_string()))
}

/// Up to six, and where they go.
fn cells(data: &mut Unstructured<'_>, columns: &[&str]) -> arbitrary::Result<Vec<(usize, Cell)>> {
    let mut cells = Vec::new();
    for _ in 0..data.int_in_range(0..=6)? {
        cells.push((data.choose_index(columns.len())?, likely(data)?));
    }
    Ok(cells)
}

/// Anything, or what might stand there.
fn likely(data: &mut Unstructured<'_>) -> arbitrary::Result<Cell> {
    Ok(match data.int_in_range(0..=9)? {
        0 => text(template::id(data.int_in_range(0..=6)?)),
        1 => text(format!("[{}]", list(data)?.join(","))),
        2 => text(format!("{{{}}}", object(data)?.join(","))),
        3 => text(data.choose(&WORDS)?),
        4 => text(data.arbitrary::<f64>()?),
        5 => text(format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{}{}",
            data.int_in_range(0..=9_999)?,
            data.int_in_range(0..=13)?,
            data.int_in_range(0..=32)?,
            data.int_in_range(0..=24)?,
            data.int_in_range(0..=60)?,
            data.int_in_range(0..=60)?,
            data.arbitrary::<u32>()?,
            data.choose(&["", "Z", " UTC", "+01:00", "-23:59"])?,
        )),
        6 => Cell::Value(Value::Real(f64::from(data.int_in_range(-20..=20)?) / 10.0)),
        _ => cell(data)?,
    })
}

fn list(data: &mut Unstructured<'_>) -> arbitrary::Result<Vec<String>> {
    let length = data.int_in_range(0..=5)?;
    let element = |data: &mut Unstructured<'_>| {
        Ok(match data.int_in_range(0..=3)? {
            0 | 1 => format!("\"{}\"", template::id(data.int_in_range(0..=6)?)),
            2 => format!("{:?}", data.choose(&WORDS)?),
            _ => data.arbitrary::<i8>()?.to_string(),
        })
    };
    (0..length).map(|_| element(data)).collect()
}

fn object(data: &mut Unstructured<'_>) -> arbitrary::Result<Vec<String>> {
    let length = data.int_in_range(0..=4)?;
    let member = |data: &mut Unstructured<'_>| {
        let key = data.choose(&["valence", "score", "polarity", "joy", "a"])?;
        Ok(format!("\"{key}\":{}", f64::from(data.arbitrary::<i8>()?) / 50.0))
    };
    (0..length).map(|_| member(data)).collect()
}

const WORDS: [&str; 24] = [
    "",
    " ",
    "firmware",
    "identity",
    "procedural",
    "trust",
    "episodic",
    "sensory",
    "imprint",
    "mesh_transfer",
    "warm",
    "cold",
    "erased",
    "t",
    "f",
    "null",
    "-0",
    "inf",
    "1e400",
    "\u{85}",
    "{",
    "[]",
    "2024-02-29 00:00:00",
    "日本",
];
