//! What a store holds, and what its file holds, to be compared.

use harness::Outcome;
pub use harness::{State, reader};
use mnemon::TraceId;
use rusqlite::Connection;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Makes sure that the file is sound, and that its rows are this very state, as far as columns are plain: ids,
/// revisions, payloads, and links with both their traces.
pub fn check_rows(reader: &Connection, expected: &State) -> Outcome {
    check_sound(reader)?;
    let mut rows = reader.prepare("SELECT id, revision, payload, strength FROM traces")?;
    let rows = rows.query_map([], |row| Ok((id(row.get(0)?), (row.get(1)?, row.get(2)?, row.get(3)?))))?;
    let rows = rows.collect::<Result<BTreeMap<TraceId, (i64, String, f64)>, _>>()?;
    let memory = expected.traces.iter().map(|(id, trace)| {
        (*id, (trace.revision() as i64, trace.payload().as_str().to_owned(), trace.strength()))
    });
    if rows != memory.collect() {
        return Err(format!("rows and memory differ: {} rows, {}", rows.len(), expected.summary()).into());
    }
    let mut links = reader.prepare("SELECT a, b, count FROM links")?;
    let links = links.query_map([], |row| Ok(((id(row.get(0)?), id(row.get(1)?)), row.get(2)?)))?;
    let links = links.collect::<Result<BTreeMap<(TraceId, TraceId), u32>, _>>()?;
    if links == expected.links.iter().map(|(ends, link)| (*ends, link.count())).collect() {
        Ok(())
    } else {
        Err(format!("links differ: {} rows, {}", links.len(), expected.summary()).into())
    }
}

/// Makes sure that SQLite finds nothing wrong with the file, and that each link has both its traces.
pub fn check_sound(reader: &Connection) -> Outcome {
    let verdict: String = reader.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(format!("integrity_check says {verdict}").into());
    }
    let dangling = "SELECT count(*) FROM links
        WHERE a NOT IN (SELECT id FROM traces) OR b NOT IN (SELECT id FROM traces)";
    match reader.query_row(dangling, [], |row| row.get::<_, i64>(0))? {
        0 => Ok(()),
        dangling => Err(format!("{dangling} links have lost a trace").into()),
    }
}

fn id(bytes: [u8; 16]) -> TraceId {
    Uuid::from_bytes(bytes).into()
}
