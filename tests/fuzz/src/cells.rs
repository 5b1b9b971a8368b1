//! Rows whose cells hold anything, in the tables of a file that is sound otherwise.
//!
//! The tables are strict. Whoever can write to the file can get around that: here the schema is loosened, the rows
//! are inserted, and it is put back word for word.

use super::{Held, holds, same_as, says, template};
use arbitrary::Unstructured;
use harness::{Outcome, TestDir, clock, manual_flush, note};
use mnemon::{ErrorKind, StoreBuilder, Trace};
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, params_from_iter};
use std::fs;
use std::sync::OnceLock;

const TRACES: usize = 29;
const LINKS: usize = 5;

/// A row of a table.
#[derive(Debug)]
struct Row {
    table: &'static str,
    cells: Vec<Cell>,
}

#[derive(Clone, Debug)]
pub(super) enum Cell {
    Value(Value),
    /// Text that need not be UTF-8.
    Text(Vec<u8>),
}

/// The template with tables that take anything, and the schema that is to be put back.
struct Loose {
    file: Vec<u8>,
    schema: Vec<(String, String)>,
    healthy: Held,
    trace: Vec<Cell>,
    link: Vec<Cell>,
}

/// If only rows of traces and links are strange, the store opens: healthy rows are there as before, and each
/// other one is a trace or link whose values are in range, or is quarantined. All that is there can be changed,
/// written and read again, and no row is lost. If the store's own row is strange, opening may be refused.
pub fn check(data: &[u8]) -> Outcome {
    static LOOSE: OnceLock<Loose> = OnceLock::new();
    let loose = template::once(&LOOSE, Loose::make)?;
    let scratch = TestDir::new()?;
    fs::write(scratch.path(), &loose.file)?;
    let rows = loose.rows(&mut Unstructured::new(data)).unwrap_or_default();
    let connection = template::hasty(scratch.path())?;
    for row in &rows {
        row.write(&connection)?;
    }
    let is_own_row = rows.iter().any(|row| row.table == "store");
    loose.tighten(&connection)?;
    let (traces, links) = (count(&connection, "traces")?, count(&connection, "links")?);
    drop(connection);

    let store = match builder().open(scratch.path()) {
        Ok(store) => store,
        Err(refused) if is_own_row => return says(&refused, &[ErrorKind::Corrupt, ErrorKind::NotAStore]),
        Err(refused) => return Err(format!("rows keep the store from opening: {refused:?}").into()),
    };
    let quarantined = store.stats().quarantined;
    let aside = quarantined.iter().filter(|row| row.is_link).count();
    holds(store.len() + quarantined.len() - aside == traces, "a row is neither a trace nor quarantined")?;
    holds(store.link_count() + aside == links, "a row is neither a link nor quarantined")?;
    holds(quarantined.iter().all(|row| !row.reason.is_empty()), "a row is quarantined without a reason")?;
    let held = Held::of(&store);
    holds(loose.healthy.traces.iter().all(|trace| held.traces.contains(trace)), "a healthy trace is gone")?;
    holds(loose.healthy.links.iter().all(|link| held.links.contains(link)), "a healthy link is gone")?;
    held.traces.iter().try_for_each(|trace| in_range(trace))?;

    for trace in &held.traces {
        let confidence = if trace.confidence() == 0.25 { 0.75 } else { 0.25 };
        let edited = store.update(trace.id(), |trace| trace.confidence(confidence))?;
        holds(edited.is_some_and(|edited| edited.confidence() == confidence), "an update is lost")?;
    }
    store.insert(note("new"))?;
    let report = store.flush()?;
    holds(report.rows_refused == 0, format_args!("rows are refused: {report:?}"))?;
    let held = Held::of(&store);
    store.close()?;
    let again = builder().open(scratch.path())?;
    same_as("opened again", &held, &Held::of(&again))?;
    holds(again.stats().quarantined == quarantined, "other rows are quarantined than before")?;
    again.close()?;
    Ok(())
}

fn builder() -> StoreBuilder {
    manual_flush().clock(&clock())
}

fn count(connection: &Connection, table: &str) -> Outcome<usize> {
    Ok(connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, u32>(0))?
        as usize)
}

pub(super) fn in_range(trace: &Trace) -> Outcome {
    let unit = [trace.strength(), trace.peak_strength(), trace.emotional_intensity(), trace.confidence()];
    let valence = (-1.0..=1.0).contains(&trace.emotional_valence());
    let rate = trace.base_decay_rate();
    let well =
        unit.iter().all(|number| (0.0..=1.0).contains(number)) && valence && rate.is_finite() && rate >= 0.0;
    let revision = trace.revision() > 0;
    let partition = (1..=1_024).contains(&trace.partition().len());
    holds(well && revision && partition, format_args!("a value is out of range: {trace:?}"))
}

impl Loose {
    fn make() -> Outcome<Self> {
        let scratch = TestDir::new()?;
        fs::write(scratch.path(), template::file()?)?;
        let store = builder().open(scratch.path())?;
        let healthy = Held::of(&store);
        store.close()?;
        fs::write(scratch.path(), template::file()?)?;
        let connection = template::hasty(scratch.path())?;
        let schema = {
            let mut tables =
                connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table'")?;
            let tables = tables.query_map([], |table| Ok((table.get(0)?, table.get(1)?)))?;
            tables.collect::<Result<Vec<(String, String)>, _>>()?
        };
        let trace = cells(&connection, "traces", TRACES)?;
        let link = cells(&connection, "links", LINKS)?;
        connection.execute_batch("PRAGMA writable_schema = ON")?;
        for (table, sql) in &schema {
            connection
                .execute("UPDATE sqlite_schema SET sql = ?2 WHERE name = ?1", [table, &loosened(sql)])?;
        }
        drop(connection);
        Ok(Self { file: fs::read(scratch.path())?, schema, healthy, trace, link })
    }

    fn tighten(&self, connection: &Connection) -> Outcome {
        connection.execute_batch("PRAGMA writable_schema = ON")?;
        for (table, sql) in &self.schema {
            let put_back =
                connection.execute("UPDATE sqlite_schema SET sql = ?2 WHERE name = ?1", [table, sql])?;
            holds(put_back == 1, "the schema is not put back")?;
        }
        Ok(())
    }

    fn rows(&self, data: &mut Unstructured<'_>) -> arbitrary::Result<Vec<Row>> {
        let mut rows = Vec::new();
        for n in 0..data.int_in_range(1..=4)? {
            let (table, mut cells) = match data.int_in_range(0..=7)? {
                0..=4 => ("traces", self.trace.clone()),
                5 | 6 => ("links", self.link.clone()),
                _ => ("store", vec![number(1), number(9), Cell::Value(Value::Null), number(1)]),
            };
            match table {
                "traces" => {
                    cells[0] = Cell::Value(Value::Integer(100 + n));
                    cells[1] = Cell::Value(Value::Blob(vec![n as u8 + 1; 16]));
                }
                "links" => {
                    cells[0] = Cell::Value(Value::Blob(vec![0; 16]));
                    cells[1] = Cell::Value(Value::Blob(vec![n as u8 + 1; 16]));
                }
                _ => {}
            }
            for _ in 0..data.int_in_range(1..=3)? {
                let at = data.choose_index(cells.len())?;
                cells[at] = cell(data)?;
            }
            rows.push(Row { table, cells });
        }
        Ok(rows)
    }
}

fn number(number: i64) -> Cell {
    Cell::Value(Value::Integer(number))
}

/// Of the first row.
fn cells(connection: &Connection, table: &str, columns: usize) -> Outcome<Vec<Cell>> {
    Ok(connection.query_row(&format!("SELECT * FROM {table} LIMIT 1"), [], |row| {
        (0..columns).map(|at| row.get(at).map(Cell::Value)).collect()
    })?)
}

pub(super) fn cell(data: &mut Unstructured<'_>) -> arbitrary::Result<Cell> {
    Ok(match data.int_in_range(0..=6)? {
        0 => Cell::Value(Value::Null),
        1 => number(data.arbitrary::<i8>()?.into()),
        2 => number(*data.choose(&[
            i64::MAX,
            i64::MIN,
            i64::MAX - 1,
            1 << 32,
            1 << 53,
            253_402_207_200_000_000,
        ])?),
        3 => Cell::Value(Value::Real(data.arbitrary()?)),
        4 => Cell::Value(Value::Blob(bytes(data)?)),
        5 => number(data.arbitrary()?),
        _ => Cell::Text(bytes(data)?),
    })
}

fn bytes(data: &mut Unstructured<'_>) -> arbitrary::Result<Vec<u8>> {
    let length = data.int_in_range(0..=64_usize)?.min(data.len());
    Ok(data.bytes(length)?.to_vec())
}

/// The same columns and keys, without types and demands.
fn loosened(sql: &str) -> String {
    let demands = [
        " CHECK (length(id) = 16)",
        " CHECK (length(a) = 16)",
        " CHECK (length(b) = 16)",
        " CHECK (one = 1)",
        " NOT NULL",
    ];
    let sql = demands.iter().fold(sql.to_owned(), |sql, demand| sql.replace(demand, ""));
    let sql = sql.replace(",\n    CHECK (a < b)", "").replace(") STRICT, WITHOUT ROWID", ") WITHOUT ROWID");
    let sql = sql.replace(") STRICT", ")");
    [" REAL", " TEXT"]
        .iter()
        .fold(sql, |sql, kind| sql.replace(kind, ""))
        .replace(" INTEGER,", ",")
        .replace(" INTEGER\n", "\n")
}

impl Cell {
    /// What stands for it in a statement, as the value at this place, from 0 on.
    pub(super) fn place(&self, at: usize) -> String {
        match self {
            Cell::Value(_) => format!("?{}", at + 1),
            Cell::Text(_) => format!("CAST(?{} AS TEXT)", at + 1),
        }
    }

    pub(super) fn value(&self) -> Value {
        match self {
            Cell::Value(value) => value.clone(),
            Cell::Text(bytes) => Value::Blob(bytes.clone()),
        }
    }
}

impl Row {
    /// Unless a key of it is taken, or can't be a key.
    fn write(&self, connection: &Connection) -> Outcome {
        let places: Vec<_> = self.cells.iter().enumerate().map(|(at, cell)| cell.place(at)).collect();
        let verb = if self.table == "store" { "REPLACE" } else { "INSERT" };
        let sql = format!("{verb} INTO {} VALUES ({})", self.table, places.join(", "));
        match connection.execute(&sql, params_from_iter(self.cells.iter().map(Cell::value))) {
            Err(error)
                if matches!(
                    error.sqlite_error_code(),
                    Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch)
                ) =>
            {
                Ok(())
            }
            written => Ok(written.map(drop)?),
        }
    }
}
