//! Tests of a store's file, run over a space of a PostgreSQL server in place of each file.

use crate::Outcome;
use rusqlite::Connection;
use rusqlite::types::Value;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

/// Names the environment variable with the URL of the server; without it, a store is in its file.
pub const SERVER: &str = "MNEMON_TEST_POSTGRES";

/// Returns the server's URL and the name of the space that takes the place of a file; `None` if the file is wanted.
pub fn in_place_of(path: &Path) -> Option<(String, String)> {
    Some((std::env::var(SERVER).ok()?, path.display().to_string()))
}

/// A copy of what a space holds now, in the tables that a file would have.
pub(crate) fn copy(url: &str, space: &str) -> Outcome<Connection> {
    let space = format!("(SELECT space FROM mnemon.spaces WHERE name = '{space}')");
    let columns = |table: &str| {
        format!(
            "SELECT json_build_object('table', '{table}', 'columns', json_agg(json_build_array(column_name, data_type)))
             FROM information_schema.columns
             WHERE table_schema = 'mnemon' AND table_name = '{table}' AND column_name <> 'space'"
        )
    };
    // One statement, so that all is of one cut; the columns come first.
    let rows = |table: &str| {
        format!(
            "SELECT json_build_object('table', '{table}', 'row', row_to_json(r)) FROM mnemon.{table} r
             WHERE space = {space}"
        )
    };
    let tables = ["traces", "links"];
    let selects: Vec<_> =
        tables.iter().map(|table| columns(table)).chain(tables.iter().map(|table| rows(table))).collect();
    let output =
        Command::new("psql").args(["-XAtq", "-d", url, "-c", &selects.join(" UNION ALL ")]).output()?;
    if !output.status.success() {
        return Err(String::from_utf8(output.stderr)?.into());
    }
    let connection = Connection::open_in_memory()?;
    let mut tables = HashMap::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let Line { table, columns, row } = serde_json::from_str(line)?;
        if !columns.is_empty() {
            let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
            connection.execute_batch(&format!("CREATE TABLE {table} ({})", names.join(", ")))?;
            let places = vec!["?"; names.len()].join(", ");
            tables.insert(table.clone(), (format!("INSERT INTO {table} VALUES ({places})"), columns));
            continue;
        }
        let (insert, columns) = tables.get(&table).ok_or("a row without its table")?;
        let values = columns.iter().map(|(name, kind)| value(kind, &row[name]));
        connection.execute(insert, rusqlite::params_from_iter(values.collect::<Outcome<Vec<_>>>()?))?;
    }
    Ok(connection)
}

#[derive(Deserialize)]
struct Line {
    table: String,
    /// Names and types.
    #[serde(default)]
    columns: Vec<(String, String)>,
    #[serde(default)]
    row: serde_json::Value,
}

/// A value of a column of this type, as SQLite has it.
fn value(kind: &str, value: &serde_json::Value) -> Outcome<Value> {
    Ok(match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(bool) => Value::Integer((*bool).into()),
        serde_json::Value::Number(number) if kind == "double precision" => {
            Value::Real(number.as_f64().ok_or("a number")?)
        }
        serde_json::Value::Number(number) => Value::Integer(number.as_i64().ok_or("a number")?),
        serde_json::Value::String(hex) if kind == "bytea" || kind == "uuid" => {
            let digits: Vec<_> =
                hex.trim_start_matches("\\x").chars().filter_map(|digit| digit.to_digit(16)).collect();
            Value::Blob(digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect())
        }
        serde_json::Value::String(text) => Value::Text(text.clone()),
        other => return Err(format!("{other} in a column of {kind}").into()),
    })
}
