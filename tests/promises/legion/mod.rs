//! The database of the original system, read and written.
#![cfg(feature = "legion")]

mod export;
mod import;

use harness::Outcome;
use mnemon::legion::{self, Report};
use mnemon::{Finding, Progress, TraceId, TraceStore};
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub const ORIGINAL: &str = "../shared/data/legion_local.db";

/// The columns of a table of the original's, by name.
type Row = BTreeMap<String, Cell>;

/// A database of the original to be filled.
pub struct Database {
    folder: TempDir,
    connection: Connection,
}

impl Database {
    pub fn new() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("original.db");
        legion::export(&TraceStore::in_memory(), &path, Progress::ignore)?;
        Ok(Self { folder, connection: Connection::open(path)? })
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("original.db")
    }

    /// A trace with this cell, and answers its row.
    pub fn cell(&self, column: &str, cell: impl Into<Cell>) -> Outcome<i64> {
        let id = self.trace(TraceId::new(), "{}")?;
        let sql = format!("UPDATE memory_traces SET {column} = ?2 WHERE id = ?1");
        self.connection.execute(&sql, params![id, cell.into()])?;
        Ok(id)
    }

    pub fn trace(&self, id: TraceId, content: &str) -> Outcome<i64> {
        self.connection.execute(
            "INSERT INTO memory_traces (trace_id, trace_type, content, created_at) VALUES (?1, 'semantic', ?2, ?3)",
            params![id.to_string(), content, "2024-05-01 12:00:00.000000"],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    pub fn pair(&self, a: impl ToString, b: impl ToString, count: i64) -> Outcome<i64> {
        self.connection.execute(
            "INSERT INTO memory_associations (trace_id_a, trace_id_b, coactivation_count) VALUES (?1, ?2, ?3)",
            params![a.to_string(), b.to_string(), count],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    pub fn import(&self) -> Outcome<(TraceStore, Report)> {
        let store = TraceStore::in_memory();
        let imported = legion::read(self.path())?.store_in(&store)?;
        Ok((store, imported))
    }
}

pub fn table(path: &Path, table: &str) -> Outcome<Vec<Row>> {
    let connection = Connection::open(path)?;
    let mut statement = connection.prepare(&format!("SELECT * FROM {table}"))?;
    let names: Vec<_> = statement.column_names().map(str::to_owned).collect();
    let rows = statement.query_map([], |row| {
        names.iter().enumerate().map(|(at, name)| Ok((name.clone(), row.get(at)?))).collect()
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub fn text(cell: &Cell) -> Outcome<&str> {
    match cell {
        Cell::Text(text) => Ok(text),
        other => Err(format!("{other:?} is no text").into()),
    }
}

/// By id, with sets as sets and without what numbers the rows.
pub fn comparable(mut rows: Vec<Row>) -> Outcome<BTreeMap<String, Row>> {
    let mut by_id = BTreeMap::new();
    for mut row in rows.drain(..) {
        row.remove("id");
        for column in ["domain_tags", "associated_traces"] {
            if let Some(Cell::Text(list)) = row.get_mut(column) {
                let set: BTreeSet<String> = serde_json::from_str(list)?;
                *list = json!(set).to_string();
            }
        }
        let key = match row.get("trace_id") {
            Some(id) => text(id)?.to_owned(),
            None => format!("{} {}", text(&row["trace_id_a"])?, text(&row["trace_id_b"])?),
        };
        by_id.insert(key, row);
    }
    Ok(by_id)
}

pub fn columns(findings: &[Finding]) -> Vec<(i64, &'static str)> {
    findings.iter().filter_map(|finding| Some((finding.row?, finding.column?))).collect()
}
