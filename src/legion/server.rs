//! Reads the tables that the original has in PostgreSQL: they are copied into tables in memory, and those are read like
//! the original's file.

use super::import::Original;
use super::reading::Reading;
use super::{ASSOCIATIONS, PAIR_TIMES, SERVER_COLUMNS, TRACE_COLUMNS, TRACES};
use crate::backend::postgres::original;
use crate::error::{Error, ErrorKind, Result};
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params_from_iter};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Reads the tables `memory_traces` and `memory_associations` that the original has in the PostgreSQL database that
/// `url` names, as of one moment, and changes nothing. Needs memory for several copies of the whole content. Requires
/// the feature `postgres`.
///
/// `tenant` is the one whose rows are read, where an empty name stands for none; it can be `None` if all rows are of
/// one tenant. A row without a partition gets its agent's name for one. The two rows that the original may have for a
/// pair, one for each order of its traces, are one link with the sum of their counts, and with their times. Everything
/// else is as in [`read`](super::read), also the names of columns in findings.
///
/// # Errors
///
/// [`NotAStore`](ErrorKind::NotAStore) if the database has no table of traces;
/// [`InvalidInput`](ErrorKind::InvalidInput) if `tenant` is `None` and there are several, which are named; and those
/// of [`StoreBuilder::connect`](crate::StoreBuilder::connect).
pub fn read_server(url: &str, tenant: Option<&str>) -> Result<Original> {
    let rows = original(url, tenant.map(str::to_owned))?;
    let traces = objects(&rows.traces)?;
    if tenant.is_none() {
        let tenants: BTreeSet<_> = traces
            .iter()
            .map(|row| row.get("tenant_id").and_then(Value::as_str).unwrap_or_default())
            .collect();
        if tenants.len() > 1 {
            return Err(Error::invalid("tenant", "None", format_args!("give one of {tenants:?}")));
        }
    }
    copied(&traces, &objects(&rows.pairs)?).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "copying the tables of the original failed").because(error)
    })
}

fn objects(rows: &[String]) -> Result<Vec<Map<String, Value>>> {
    let parsed = rows.iter().map(|row| serde_json::from_str(row)).collect::<Result<_, _>>();
    parsed.map_err(|error| Error::new(ErrorKind::Corrupt, "a row is no JSON object").because(error))
}

fn copied(traces: &[Map<String, Value>], pairs: &[Map<String, Value>]) -> rusqlite::Result<Original> {
    let connection = Connection::open_in_memory()?;
    let columns = [&TRACE_COLUMNS[..], &SERVER_COLUMNS].concat();
    fill(&connection, TRACES, &columns, traces)?;
    fill(
        &connection,
        ASSOCIATIONS,
        &[&["trace_id_a", "trace_id_b", "coactivation_count"][..], &PAIR_TIMES].concat(),
        pairs,
    )?;
    let mut reading = Reading::default();
    reading.traces(&connection)?;
    reading.associations(&connection)?;
    Ok(reading.done())
}

fn fill(
    connection: &Connection,
    table: &str,
    columns: &[&str],
    rows: &[Map<String, Value>],
) -> rusqlite::Result<()> {
    let names = columns.join(", ");
    let places = vec!["?"; columns.len() + 1].join(", ");
    connection.execute_batch(&format!("CREATE TABLE {table} ({names}); BEGIN"))?;
    let mut insert =
        connection.prepare(&format!("INSERT INTO {table} (rowid, {names}) VALUES ({places})"))?;
    for row in rows {
        let cells = columns.iter().map(|column| cell(value(row, column)));
        insert.execute(params_from_iter([cell(row.get("id"))].into_iter().chain(cells)))?;
    }
    connection.execute_batch("COMMIT")
}

/// The value of a column, by the name that the original's file has for it.
fn value<'r>(row: &'r Map<String, Value>, column: &str) -> Option<&'r Value> {
    let of = |name| row.get(name).filter(|value| !value.is_null());
    match column {
        "parent_id" => of("parent_trace_id"),
        "associated_traces" => of("associations"),
        "partition_id" => of("partition_id").or_else(|| of("agent_id")),
        column => of(column),
    }
}

fn cell(value: Option<&Value>) -> Cell {
    match value {
        None | Some(Value::Null) => Cell::Null,
        Some(Value::Bool(flag)) => Cell::Integer((*flag).into()),
        Some(Value::String(text)) => Cell::Text(text.clone()),
        Some(Value::Number(number)) => {
            let integer = number.as_i64().map(Cell::Integer);
            integer.or_else(|| number.as_f64().map(Cell::Real)).unwrap_or(Cell::Null)
        }
        Some(json) => Cell::Text(json.to_string()),
    }
}
